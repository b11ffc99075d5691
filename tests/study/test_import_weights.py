from __future__ import annotations

import argparse

import pytest
import torch

import goodteacher as gt
from goodteacher.base.errors import DataError
from goodteacher.base.seeds import seeded
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
