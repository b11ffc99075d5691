from __future__ import annotations

import argparse
import inspect
import json

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import goodteacher as gt
from goodteacher.base.errors import ConfigError, DataError
from goodteacher.base.seeds import seeded
from goodteacher.cli import app
from goodteacher.models.table import build_model
from goodteacher.report.listing import listing
from goodteacher.study.import_weights import register
from goodteacher.study.store import Store
from goodteacher.train.infer import predict


@pytest.fixture(scope="module")
def problem():
    return gt.load("digits")


@pytest.fixture
def file(tmp_path):
    with seeded(3, "init"):
        network = build_model("resnet8", classes=10, input_shape=(1, 8, 8))
    renamed = {
        k.replace("stage", "layer").replace("shortcut", "downsample"): v for k, v in network.state_dict().items()
    }
    torch.save({"model": renamed, "opt": argparse.Namespace(epochs=240), "epoch": 240}, tmp_path / "ckpt_epoch_240.pth")
    return tmp_path / "ckpt_epoch_240.pth", network


def test_another_toolkits_file_ranks_and_distils_like_any_run(problem, file, tmp_path):
    path, network = file
    run = register("resnet8", path, problem, Store(tmp_path / "runs"))
    torch.testing.assert_close(run.outputs("test"), predict(network, problem, "test"))
    assert register("resnet8", path, problem, Store(tmp_path / "runs")).id == run.id
    trained = gt.teach({"mlp": {"widths": [16]}}, problem, out=tmp_path / "runs", epochs=8, batch_size=64)
    assert gt.rank({"file": run, "trained": trained})[0].name == "trained"
    assert (run.id, "0") in {(row[0], row[5]) for row in listing("runs", out=tmp_path / "runs").rows}
    student = gt.distill({"mlp": {"widths": [8]}}, problem, run, out=tmp_path / "runs", epochs=1)
    assert student.spec.teaching.runs == (run.id,)


def test_a_file_that_does_not_fit(problem, file, tmp_path):
    with pytest.raises(DataError):
        register("resnet14", file[0], problem, Store(tmp_path / "runs"))


def own(classes, input_shape):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )  # fmt: skip


MEAN, STD = (0.5,), (0.25,)


@pytest.fixture(scope="module")
def mine(problem):
    """A network its owner trained, with the normalisation and the accuracy its owner knows."""
    with seeded(0, "init"):
        network = own(10, (1, 8, 8))
    pixels = problem.test.inputs.tensor.permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        answers = network((pixels - MEAN[0]) / STD[0])
    return network, answers


def test_a_network_of_ones_own_sees_what_its_owner_says(mine, problem, tmp_path):
    network, answers = mine
    run = gt.Teacher(network, mean=MEAN, std=STD).register(problem, tmp_path)
    torch.testing.assert_close(run.outputs("test"), answers, rtol=1e-4, atol=1e-4)
    assert (run.input_spec.mean, run.input_spec.size) == (MEAN, (8, 8)) and run.input_spec != problem.spec
    student = gt.distill(
        {"resnet8": {"widths": [8, 8, 8, 8]}}, problem, run, method="at", out=tmp_path, epochs=1, batch_size=64
    )
    assert student.spec.teaching.runs == (run.id,) and gt.rank([run])
    other = gt.Teacher(network, mean=MEAN, std=STD, size=12).register(problem, tmp_path)
    assert other.input_spec.size == (12, 12) and other.id != run.id
    direct = gt.distill({"mlp": {"widths": [4]}}, problem, gt.Teacher(network, MEAN, STD), out=tmp_path, epochs=1)
    assert direct.spec.teaching.runs == (run.id,)


def test_names_of_classes_in_another_order_are_refused(mine, problem, tmp_path):
    with pytest.raises(ConfigError, match=r"Teacher.class_names: must be the problem's in the same order: 0, 1"):
        gt.Teacher(mine[0], MEAN, STD, class_names=tuple(reversed(problem.class_names))).register(problem, tmp_path)
    with pytest.raises(ConfigError, match="must answer the problem's 10 classes"):
        gt.Teacher(own(7, (1, 8, 8)), MEAN, STD).register(problem, tmp_path)


def test_a_file_of_ones_own_network_teaches_by_command(mine, tmp_path, monkeypatch):
    network, answers = mine
    monkeypatch.chdir(tmp_path)
    source = inspect.getsource(own)
    (tmp_path / "net.py").write_text(f"from torch import nn\n\n{source}")
    state = {f"model.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "ema": network.state_dict()}, "mine.ckpt")
    words = ["distill", "mlp", "--data", "digits", "--teacher", "net.py:own", "--weights", "mine.ckpt", "--epochs", "1"]
    words += ["--out", "store", "--engine", "local", "--device", "cpu"]
    refused = CliRunner().invoke(app, words)
    assert "must say what it expects to see" in str(refused.exception) and "--inputs mean=" in str(refused.exception)
    done = CliRunner().invoke(app, [*words, "--inputs", "mean=[0.5]", "--inputs", "std=[0.25]", "--json"])
    assert done.exit_code == 0, done.output
    assert "weights from mine.ckpt: 'state_dict' was taken, and not 'ema'" in done.output
    (study,) = json.loads(done.output.splitlines()[-1])["studies"]
    run = Store("store").run(study["teachers"][0]["runs"][0])
    torch.testing.assert_close(run.outputs("test"), answers, rtol=1e-4, atol=1e-4)
    wrong = CliRunner().invoke(app, [*words, "--inputs", "means=[0.5]"])
    assert "did you mean 'mean'" in str(wrong.exception)
    for command in (
        ["teach", "mlp", "--data", "digits"],
        ["distill", "mlp", "--data", "digits", "--teacher", "mlp"],
        ["rank", "x"],
    ):
        alone = CliRunner().invoke(app, [*command, "--inputs", "size=8", "--out", "store"])
        assert "--inputs: is for a network from a file" in str(alone.exception)
    two = CliRunner().invoke(app, [*words, "--teacher", "mlp"])
    assert "--weights: is for one teacher's model" in str(two.exception)
