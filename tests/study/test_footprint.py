from __future__ import annotations

import pytest
import torch
from torch import nn

import goodteacher as gt
from goodteacher.models.resnet import CifarResNet
from goodteacher.study.footprint import footprint, macs_of, measure_footprint, milliseconds


def test_multiplications_are_counted_as_by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 16, 5)
    ).eval()
    assert macs_of(network, torch.zeros(1, 3, 8, 8)) == 4 * 4 * 8 * 3 * 9 + 8 * 16 * 5
    # 40.8 million is what the literature gives for ResNet-20 on 32x32 pictures.
    assert macs_of(CifarResNet(10, depth=20).eval(), torch.zeros(1, 3, 32, 32)) == pytest.approx(40.8e6, rel=0.01)


def test_a_run_is_measured_once_and_keeps_it(tmp_path, monkeypatch):
    run = gt.teach({"mlp": {"widths": [8]}}, gt.load("digits", subset=5), out=tmp_path, epochs=1, batch_size=10)
    assert footprint(run) is None
    found = measure_footprint(run)
    assert found.parameters == found.macs + 8 + 10 == 64 * 8 + 8 + 8 * 10 + 10
    assert found.bytes == (run.path / "model.safetensors").stat().st_size and sorted(found.milliseconds) == [1, 64]
    monkeypatch.setattr("goodteacher.study.footprint.milliseconds", lambda *given: pytest.fail("measured again"))
    assert measure_footprint(run) == footprint(run) == found


def test_times_are_of_calls_without_gradient():
    seen = []
    assert milliseconds(lambda x: seen.append(torch.is_grad_enabled()), torch.zeros(1)) >= 0
    assert seen == [False] * 11


def test_a_network_that_cannot_be_run_costs_the_study_nothing(tmp_path, monkeypatch, capsys):
    def broken(run):
        raise RuntimeError("no such operation")

    monkeypatch.setattr("goodteacher.api.measure_footprint", broken)
    study = {
        "problem": "made",
        "teachers": {"t": {"model": {"mlp": {"widths": [4]}}}},
        "seeds": 1,
        "recipe": {"epochs": 1},
    }
    done = gt.run_study(study, gt.load("digits", subset=5), out=tmp_path, page=True)
    assert (done.folder / "report.html").exists() and "no such operation" in " ".join(capsys.readouterr().err.split())
