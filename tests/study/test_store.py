from __future__ import annotations

import json

import pytest

from goodteacher.api import run_study
from goodteacher.base.errors import StoreError
from goodteacher.data.digits import digits_problem
from goodteacher.study.answers import Answers
from goodteacher.study.store import Store, find_studies
from goodteacher.study.teaching import Teaching

STUDY = {
    "name": "one",
    "problem": "digits",
    "recipe": {"epochs": 1, "batch_size": 64},
    "teachers": {"ce": {"model": {"mlp": {"widths": [8]}}, "keep": "best_nll"}},
    "seeds": 2,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    run_study(STUDY, digits_problem(), out=root, quiet=True)
    return Store(root)


def test_a_run_holds_what_it_must(store):
    (run, _) = (store.run(p.name) for p in store.runs())
    names = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    outputs = {"outputs/check.safetensors", "outputs/kept.safetensors"}
    assert names == {"spec.json", "result.json", "records.jsonl", "model.safetensors", *outputs}
    assert run.outputs("validation").shape == (250, 10) and run.outputs("test").shape == (539, 10)
    assert {"torch", "commit", "processor", "cores"} <= set(run.result.environment)
    with pytest.raises(StoreError, match="hold test, validation"):
        run.outputs("train")


def test_it_reads_back_as_a_table(store):
    table = store.table()
    assert len(table) == 4  # two runs, kept and last
    assert {"run", "seed", "model", "loss", "validation_brier", "test_accuracy", "checkpoint"} <= set(table.columns)
    assert table["test_accuracy"].between(0, 1).all()


def test_an_unknown_run_gets_a_suggestion(store):
    known = store.runs()[0].name
    with pytest.raises(StoreError, match=f"did you mean '{known}'"):
        store.run(known[:-1] + "x")


def test_a_store_of_another_version_is_refused(store, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(store.root, copy)
    path = next((copy / "runs").iterdir()) / "spec.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(StoreError, match=r"format 2 or 3, got 99; .*another version"):
        Store(copy).run(path.parent.name)


def test_studies_are_found(store, tmp_path):
    folder = store.root / "studies" / "one"
    assert find_studies(store.root) == [folder] == find_studies(folder)
    with pytest.raises(StoreError, match="no plan"):
        find_studies(tmp_path)


def test_maps_are_fitted_once_and_kept_beside_the_run(store):
    run = store.run(store.runs()[0].name)
    spec = {"temperature": {"score": "brier", "value": None}}

    def fit():
        return Answers(Teaching("network", (run.id,), target_map=spec), store, run.targets, run.spec.problem).map

    fitted = fit()
    (kept,) = (run.path / "maps").iterdir()
    saved = json.loads(kept.read_text())
    assert saved["state"] == {"temperature": fitted.temperature}
    kept.write_text(json.dumps({**saved, "state": {"temperature": 9.0}}))
    assert fit().temperature == 9.0
    kept.unlink()
