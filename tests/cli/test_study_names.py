"""Results of one data set never take the place of another's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from goodteacher.cli.study_names import data_word, joined, word


@pytest.fixture
def files(tmp_path):
    """Three data files of one name, or of names in other scripts, with different numbers in them."""
    for i, name in enumerate(
        ("v1/train.npz", "v2/train.npz", "собаки.npz", "кошки.npz", "数据.npz", f"{'n' * 230}.npz", f"{'n' * 229}m.npz")
    ):
        rng = np.random.default_rng(i)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        x = rng.normal(size=(60, 4)).astype("float32")
        y = (x[:, 0] > 0).astype(int)
        np.savez(path, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.npz"))


def test_every_data_set_has_a_study_of_its_own(call, files, tmp_path):
    places = {}
    for data in files:
        code, out, err = call("teach", "mlp", "--data", data, "--epochs", 1, "--engine", "local", "--quiet", "--json")
        assert code == 0, err
        places[data] = json.loads(out.splitlines()[-1])["studies"][0]["study"]
    assert len(set(places.values())) == len(files)
    assert all((tmp_path / place / "report.html").exists() for place in places.values())
    assert "собаки" in places["собаки.npz"] and "数据" in places["数据.npz"]
    again = call(
        "teach", "mlp", "--data", str(tmp_path / files[0]), "--epochs", 1, "--engine", "local", "--quiet", "--json"
    )
    assert json.loads(again[1].splitlines()[-1])["studies"][0]["study"] == places[files[0]], (
        "the same file by another path"
    )


def test_a_study_of_another_problem_is_not_overwritten(call, tmp_path):
    study = {"name": "one", "problem": {"name": "gaussian", "train": 60, "validation": 30, "test": 30}, "seeds": 1,
             "recipe": {"epochs": 1, "precision": "fp32"}, "teachers": {"ce": {"model": {"mlp": {"widths": [4]}}}}}  # fmt: skip
    other = {**study, "problem": {**study["problem"], "train": 61}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(other))
    ran = ("--engine", "local", "--quiet")
    assert call("run", "a.yaml", *ran)[0] == 0
    kept = (tmp_path / "goodteacher-runs/studies/one/plan.json").read_bytes()
    code, _, err = call("run", "b.yaml", *ran)
    assert code == 2 and "study 'one': is in goodteacher-runs already, on other data, got gaussian (" in err
    assert "; name this one otherwise (--set name=...), or use another --out." in err and err.count("\n") == 1
    assert (tmp_path / "goodteacher-runs/studies/one/plan.json").read_bytes() == kept
    assert len(list((tmp_path / "goodteacher-runs/runs").iterdir())) == 1, "nothing was trained"
    assert call("run", "b.yaml", *ran, "--set", "name=two")[0] == 0
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(other))
    assert call("run", "a.yaml", *ran)[0] == 0, "the same file, changed"


def test_words():
    assert (
        word("crd + kd") == "crd-kd" and word("resnet8") == "resnet8" and word("mobilenetv2_0.1") == "mobilenetv2_0.1"
    )
    assert word("a/net.py:make") != word("b/net.py:make") and word("a/net.py:make").startswith("net-make-")
    assert word("net.py:make").startswith("net-make-")
    assert len(joined([f"resnet{n}" for n in range(100)]).encode()) < 60
    assert joined(["a"] * 60) != joined(["a"] * 61)


def test_options_and_the_folder_are_part_of_what_the_data_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = {"name": "digits", "root": "data"}
    words = [
        base,
        {**base, "noise": 0.1},
        {**base, "noise": 0.2},
        {**base, "root": "other"},
        {**base, "noise": 0.1, "root": "other"},
    ]
    assert data_word(base) == "digits" == data_word("digits")
    assert len({data_word(w) for w in words}) == len(words)
    assert data_word({"name": "a/x"}) == data_word({"name": str(tmp_path / "a" / "x")}) != data_word({"name": "b/x"})
