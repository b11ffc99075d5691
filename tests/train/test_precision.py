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


def test_a_strided_1x1_convolution_of_few_channels_stays_plain_where_its_gradient_would_corrupt_memory(monkeypatch):
    # torch 2.13 on a processor with AVX2 and no AVX-512: the process died of "corrupted size vs. prev_size".
    x = torch.randn(10, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    for capability, plain in (("AVX2", True), ("AVX512", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        few, many = torch.nn.Conv2d(4, 6, 1, stride=2, bias=False), torch.nn.Conv2d(8, 6, 1, stride=2)
        model = lay_out(lay_out(torch.nn.ModuleList([few, many])))
        assert len(few._forward_pre_hooks) == plain and not many._forward_pre_hooks
        assert (few.weight.stride() == (4, 1, 1, 1)) == plain
        if not plain:
            continue
        few(x).sum().backward()
        expected = x[:, :, ::2, ::2].sum(dim=(0, 2, 3)).expand(6, 4)
        torch.testing.assert_close(few.weight.grad.flatten(1), expected, rtol=1e-4, atol=1e-4)
        assert len(model.state_dict()) == 3
