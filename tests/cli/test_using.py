"""Predict and evaluate: a finished run used from the command line, by the beginning of its id."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import goodteacher as gt
from goodteacher.base.errors import DataError, StoreError
from goodteacher.cli.options import app

RECIPE = {"epochs": 3, "batch_size": 32, "precision": "fp32"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("using")


@pytest.fixture(scope="module")
def problem():
    return gt.load("digits", subset=30)


@pytest.fixture(scope="module")
def run(store, problem):
    return gt.teach({"mlp": {"widths": [16]}}, problem, out=store, **RECIPE)


def invoke(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_predictions_are_those_of_the_saved_outputs(run, problem):
    p = run.predict(problem.test.inputs.tensor)
    torch.testing.assert_close(p, run.outputs("test").softmax(dim=1), rtol=1e-4, atol=1e-5)


def test_a_table_of_answers_for_files_and_folders(run, store, problem, tmp_path):
    pictures = problem.test.inputs.tensor[:3, :, :, 0].numpy()
    (tmp_path / "more").mkdir()
    for name, picture in zip(("a.png", "more/b.png", "more/c.png"), pictures, strict=True):
        Image.fromarray(picture).save(tmp_path / name)
    rows = list(
        csv.DictReader(
            io.StringIO(invoke("predict", run.id[:6], tmp_path / "a.png", tmp_path / "more", "--out", store))
        )
    )
    assert [row["input"].rsplit("/", 1)[1] for row in rows] == ["a.png", "b.png", "c.png"]
    table = np.array([[float(row[name]) for name in problem.class_names] for row in rows])
    np.testing.assert_allclose(table, run.outputs("test")[:3].softmax(dim=1), atol=1e-5)
    assert [row["answer"] for row in rows] == [problem.class_names[i] for i in table.argmax(axis=1)]


def test_a_table_goes_to_a_file(run, store, tmp_path):
    Image.new("L", (40, 20)).save(tmp_path / "wide.png")
    said = invoke("predict", run.path, tmp_path / "wide.png", "--to", tmp_path / "answers.csv", "--json")
    assert json.loads(said.splitlines()[-1]) == {"run": run.id, "answers": 1, "table": str(tmp_path / "answers.csv")}
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 2


def test_vectors_come_as_npy(tmp_path):
    problem = gt.load("gaussian", train=60, validation=30, test=30)
    run = gt.teach("mlp", problem, out=tmp_path / "store", epochs=1, precision="fp32")
    np.save(tmp_path / "x.npy", problem.test.inputs.tensor[:4].numpy())
    rows = list(csv.DictReader(io.StringIO(invoke("predict", run.id, tmp_path / "x.npy", "--out", tmp_path / "store"))))
    table = np.array([[float(row[name]) for name in problem.class_names] for row in rows])
    np.testing.assert_allclose(table, run.outputs("test")[:4].softmax(dim=1), atol=1e-5)


def test_scores_of_its_own_test_split_need_no_data(run, store, problem):
    said = invoke("evaluate", run.id[:5], "--out", store, "--json")
    found = json.loads(said.splitlines()[-1])
    right = (run.outputs("test").argmax(dim=1) == problem.test.labels).double().mean()
    assert found["scores"]["accuracy"]["mean"] == pytest.approx(float(right))
    assert [row["examples"] for row in found["classes"]] == torch.bincount(problem.test.labels, minlength=10).tolist()
    assert "balanced accuracy %" in said and "Class by class" in said


def test_the_beginning_of_an_id_must_be_one_runs(store, problem, run):
    other = gt.teach({"mlp": {"widths": [17]}}, problem, out=store, **{**RECIPE, "epochs": 1})
    shared = gt.Store(store)
    assert shared.run(run.id[:6]).id == run.id and shared.find(str(other.path)) == other.id
    with pytest.raises(StoreError, match="must be finished in"):
        shared.run("abc")
    clash = other.path.with_name(run.id[:4] + "0" * 12)
    clash.mkdir()
    (clash / "result.json").write_text("{}")
    with pytest.raises(StoreError, match="must be the beginning of one run's id, got that of 2"):
        shared.run(run.id[:4])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.zeros((2, 8, 8, 4)), "must be whole numbers from 0 to 255"),
        (np.full((2, 8, 8), 0.5), "float64 of shape (2, 8, 8, 1) from 0.5 to 0.5"),
        (np.full((2, 8, 8), 300), "int64 of shape (2, 8, 8, 1) from 300 to 300"),
        ([], "must hold at least one picture"),
        ("a.png", "give [path]"),
    ],
)
def test_what_is_no_raw_picture_is_refused(run, values, text):
    with pytest.raises(DataError) as caught:
        run.predict(values)
    assert text in str(caught.value)


def test_a_command_names_what_to_take_away_and_what_to_do_with_it(store):
    arguments = (
        "distill",
        "mlp",
        "--data",
        "digits",
        "--teacher",
        "mlp",
        "--epochs",
        1,
        "--set",
        "problem.subset=10",
        "--quiet",
    )
    said = invoke(*arguments, "--engine", "local", "--out", store, "--json")
    best = json.loads(said.splitlines()[-1])["studies"][0]["best"]
    assert f"Best on validation: {best['run']}" in said and f"goodteacher evaluate {best['run']}" in said
    assert gt.Store(store).run(best["run"]).spec.kind == "student"
