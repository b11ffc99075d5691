"""Stores of format 2, which did not say what a network expects to see, are read on."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import goodteacher as gt
from goodteacher.api import run_study
from goodteacher.base.errors import ConfigError
from goodteacher.diagnose.results import Results
from goodteacher.report.page import write_page
from goodteacher.study.store import Store, load_study
from goodteacher.train.infer import predict

MLP = {"mlp": {"widths": [6]}}
RECIPE = {"epochs": 1, "batch_size": 32, "lr": 0.02, "precision": "fp32"}
STUDY = {
    "name": "before",
    "problem": "gaussian",
    "recipe": RECIPE,
    "teachers": {"ce": {"model": MLP}, "cooled": {"model": MLP, "objective": "brier", "map": "temperature"}},
    "students": {"kd": {"model": MLP}},
    "seeds": 1,
}
SIZES = {"dimension": 4, "train": 90, "validation": 60, "test": 60}


@pytest.fixture(scope="module")
def problem():
    return gt.load("gaussian", **SIZES)


@pytest.fixture(scope="module")
def other():
    return gt.load("gaussian", seed=1, **SIZES)


@pytest.fixture(scope="module")
def fresh(problem, tmp_path_factory):
    return run_study(STUDY, problem, out=tmp_path_factory.mktemp("fresh"), device="cpu")


def without_inputs(value):
    if isinstance(value, dict):
        return {key: without_inputs(part) for key, part in value.items() if key != "inputs"}
    return [without_inputs(part) for part in value] if isinstance(value, list) else value


@pytest.fixture
def earlier(fresh, tmp_path):
    """The same store as format 2 wrote it: no word of inputs anywhere."""
    root = tmp_path / "store"
    shutil.copytree(fresh.folder.parent.parent, root)
    edited = [path for name in ("spec", "facts", "plan", "study") for path in root.rglob(f"{name}.json")]
    assert len(edited) == 3 + len(fresh.plan.runs)
    for path in edited:
        value = without_inputs(json.loads(path.read_text()))
        path.write_text(json.dumps({**value, "format": 2} if "format" in value else value))
    return Store(root)


def teachers(store):
    return [run for p in store.runs() if (run := store.run(p.name)).spec.kind == "teacher"]


def written_down(store):
    (path,) = store.root.glob("problems/*/facts.json")
    stored = json.loads(path.read_text())
    return stored["format"], stored.get("inputs")


def test_ids_networks_and_results_are_what_they_were(earlier, fresh, problem):
    runs = [earlier.run(p.name) for p in earlier.runs()]
    assert {run.id for run in runs} == {run.spec.id for run in runs} == set(fresh.plan.runs)
    for run in runs:
        assert run.input_spec is None and run.facts.inputs is None
        assert torch.equal(predict(run.model, problem, "test"), run.outputs("test"))
    folder = earlier.study_folder("before")
    assert load_study(folder)[1].cells == fresh.plan.cells
    results = Results(folder)
    assert results.student_values == fresh.results.student_values and results.missing == []
    assert [row.name for row in results.ranked] == [row.name for row in fresh.results.ranked]
    assert write_page(results).exists() and len(earlier.table()) == 2 * len(runs)


def test_they_rank_as_before_with_or_without_their_problem(earlier, fresh, problem):
    new = {r.name: r.scores for r in gt.rank(teachers(Store(fresh.folder.parent.parent)))}
    assert {r.name: r.scores for r in gt.rank(teachers(earlier))} == new
    assert {r.name: r.scores for r in gt.rank(teachers(earlier), problem)} == new


def test_they_teach_on_their_own_problem_to_the_same_bits(earlier, fresh, problem, tmp_path):
    shutil.copytree(fresh.folder.parent.parent, tmp_path / "new")
    teacher, new = (teachers(store)[0] for store in (earlier, Store(tmp_path / "new")))
    assert teacher.id == new.id
    options = {"method": {"kd": {"temperature": 3.0}}, **RECIPE}
    one = gt.distill(MLP, problem, teacher, out=earlier.root, **options)
    two = gt.distill(MLP, problem, new, out=new.root, **options)
    assert one.id == two.id and torch.equal(one.outputs("test"), two.outputs("test"))
    assert all(torch.equal(one.weights[name], value) for name, value in two.weights.items())
    assert written_down(earlier) == (3, json.loads(json.dumps(problem.spec.stored())))


def test_any_study_on_the_problem_writes_down_what_its_networks_see(earlier, fresh, problem):
    assert written_down(earlier) == (2, None)
    again = run_study(STUDY, problem, out=earlier.root, device="cpu")
    assert again.summary.finished == [] and len(again.summary.reused) == len(fresh.plan.runs)
    assert written_down(earlier) == (3, json.loads(json.dumps(problem.spec.stored())))
    assert all(run.input_spec == problem.spec for run in teachers(earlier))


def test_on_another_problem_they_are_refused_until_then(earlier, problem, other):
    teacher = teachers(earlier)[0]
    rule = "must say what its network expects to see, got a run of an earlier version on other data"
    remedy = "run any study on its own data with this store once: that writes it down"
    said = f"run {teacher.id}: {rule}; {remedy}."
    with pytest.raises(ConfigError) as refused:
        gt.distill(MLP, other, teacher, out=earlier.root, **RECIPE)
    assert str(refused.value) == f"teachers.teacher.run, {said}"
    with pytest.raises(ConfigError) as refused:
        gt.rank([teacher], other)
    assert str(refused.value) == f"rank, {said}"
    run_study(STUDY, problem, out=earlier.root, device="cpu")
    teacher = earlier.run(teacher.id)
    student = gt.distill(MLP, other, teacher, out=earlier.root, **RECIPE)
    assert student.input_spec == other.spec and teacher.input_spec == problem.spec
    assert [r.scores["brier"] > 0 for r in gt.rank([teacher], other)] == [True]
