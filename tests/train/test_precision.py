from __future__ import annotations

import torch

from goodteacher.models.mlp import MLP
from goodteacher.models.resnet import CifarResNet
from goodteacher.train import precision
from goodteacher.train.precision import choose_precision, lay_out, step_seconds


def test_timing_leaves_the_network_as_it_was():
    model = CifarResNet(10, depth=8)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert step_seconds(model, torch.randn(4, 3, 32, 32), "fp32", repeats=1) > 0
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_auto_takes_bf16_if_it_wins_by_a_quarter(monkeypatch):
    model, x = CifarResNet(10, depth=8), torch.randn(4, 3, 32, 32)
    for bf16, expected in ((0.5, "bf16"), (0.85, "fp32"), (2.0, "fp32")):
        monkeypatch.setattr(precision, "step_seconds", lambda *a, bf16=bf16: 1.0 if a[2] == "fp32" else bf16)
        assert choose_precision(model, x)[0] == expected


def test_perceptrons_on_a_cpu_stay_in_fp32():
    assert choose_precision(MLP(3, input_shape=(30,)), torch.randn(4, 30)) == ("fp32", {})


def test_convolutions_are_laid_out_channels_last():
    model = lay_out(CifarResNet(10, depth=8))
    assert model.conv1.weight.is_contiguous(memory_format=torch.channels_last)
