from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import goodteacher as gt
from goodteacher import starter
from goodteacher.base.errors import ConfigError
from goodteacher.cli import app
from goodteacher.models.table import MODELS
from goodteacher.starter import offers, pick_student, write_start
from goodteacher.study.known_names import LARGER
from goodteacher.study.spec import read_study


@pytest.fixture(scope="module")
def vectors():
    return gt.load("gaussian", train=90, validation=30, test=30)


@pytest.fixture(scope="module")
def pictures():
    return gt.load("digits")


def test_every_teacher_and_student_that_is_offered_is_in_the_table():
    named = {*LARGER, *LARGER.values(), *starter.SMALL_PICTURES, *starter.LARGE_PICTURES}
    assert named <= set(MODELS)


def test_a_teacher_has_more_parameters_than_its_student(pictures):
    def size(name):
        network = starter.outline({name: {}}, 10, (3, 32, 32))
        return sum(p.numel() for p in network.parameters())

    assert all(size(teacher) > size(student) for student, teacher in LARGER.items())


def test_the_student_within_the_limit_that_computes_most_is_taken(pictures, vectors):
    assert pick_student(pictures, 100_000, None).model == {"resnet8": {}}
    assert pick_student(pictures, 300_000, None).model == {"resnet20": {}} == pick_student(pictures, None, None).model
    assert pick_student(vectors, 200, None).model == {"mlp": {"widths": [4]}}
    assert pick_student(vectors, None, None).model == {"mlp": {"widths": [32]}}
    assert [o.macs for o in offers(vectors)] == sorted((o.macs for o in offers(vectors)), reverse=True)
    with pytest.raises(ConfigError, match=r"--max-params: must allow for the smallest student, mlp of 139, got 5"):
        pick_student(vectors, 5, None)


def test_a_limit_of_time_is_held_by_what_was_timed(vectors, monkeypatch):
    monkeypatch.setattr(starter, "_latency", lambda model, problem: model["mlp"]["widths"][0] / 100)
    assert pick_student(vectors, None, 0.5).model == {"mlp": {"widths": [32]}}
    assert pick_student(vectors, 200, 0.5).model == {"mlp": {"widths": [4]}}
    with pytest.raises(ConfigError, match=r"--max-latency: must allow for the fastest student, 0.04 ms, got 0.01"):
        pick_student(vectors, None, 0.01)


def test_the_file_reads_as_a_study_with_its_comments_and_estimate(vectors, tmp_path):
    words = {"name": "gaussian", "train": 90, "validation": 30, "test": 30}
    start = write_start(tmp_path / "first.yaml", vectors, words, max_params=1000, out=tmp_path / "store")
    text = (tmp_path / "first.yaml").read_text()
    assert text == start.text and text.startswith(f"# About {start.minutes:.3g} minutes of one worker")
    study = read_study(tmp_path / "first.yaml")
    assert list(study.teachers) == ["cross_entropy", "brier", "label_smoothing", "early"]
    assert study.problem == words and study.students["kd"].model == {"mlp": {"widths": [16]}}
    assert "the most capable offered with at most 1,000 parameters" in text and "sampling" not in text
    with pytest.raises(ConfigError, match=r"must not be there yet; another --to"):
        write_start(tmp_path / "first.yaml", vectors, words)


def test_unlike_classes_are_sampled_alike(vectors, tmp_path):
    few = (vectors.train.labels == 0).nonzero().flatten()[:4]
    rest = (vectors.train.labels != 0).nonzero().flatten()
    unlike = replace(vectors, train=vectors.train.take(torch.cat([few, rest])))
    start = write_start(tmp_path / "u.yaml", unlike, {"name": "gaussian"}, max_params=200, out=tmp_path / "store")
    assert start.study.recipe.sampling == "balanced"


def test_a_file_that_cannot_be_finished_is_not_left_behind(vectors, tmp_path, monkeypatch):
    def broken(*given):
        raise ConfigError("x", rule="is broken")

    monkeypatch.setattr(starter, "estimate_cost", broken)
    with pytest.raises(ConfigError, match="is broken"):
        write_start(tmp_path / "first.yaml", vectors, {"name": "gaussian"}, max_params=200)
    assert not (tmp_path / "first.yaml").exists()


def test_the_command_writes_a_file_for_a_folder_that_the_next_command_takes(tmp_path):
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            pixels = draws.integers(0, 256, (10, 14, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{i}.png")
    words = ["init", str(tmp_path / "pets"), "--to", str(tmp_path / "s.yaml"), "--max-params", "100000", "--size", "8"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "store"), "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output.splitlines()[-1])
    assert told["student"] == {"resnet8": {}} and f"Next: goodteacher run {tmp_path / 's.yaml'}" in done.output
    dry = CliRunner().invoke(
        app, ["run", str(tmp_path / "s.yaml"), "--dry-run", "--out", str(tmp_path / "store"), "--json"]
    )
    assert dry.exit_code == 0 and json.loads(dry.output.splitlines()[-1])["runs"] == 27
