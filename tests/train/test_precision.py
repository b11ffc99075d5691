from __future__ import annotations

import pytest
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
        monkeypatch.setattr(precision, "step_seconds", lambda *a, bf16=bf16, **k: 1.0 if a[2] == "fp32" else bf16)
        assert choose_precision(model, x)[0] == expected


def test_a_precision_that_two_examples_show_to_be_hopeless_is_not_timed_on_a_batch(monkeypatch):
    asked = []

    def seconds(model, inputs, kind, repeats=3):
        asked.append((len(inputs), kind))
        return len(inputs) * (0.01 if kind == "fp32" else 1.0)

    monkeypatch.setattr(precision, "step_seconds", seconds)
    choice, times = choose_precision(CifarResNet(10, depth=8), torch.randn(6, 3, 8, 8))
    assert choice == "fp32" and times == {"fp32": 0.06, "bf16": 6.0}
    assert asked == [(2, "fp32"), (2, "bf16"), (6, "fp32")]


def test_perceptrons_on_a_cpu_stay_in_fp32():
    assert choose_precision(MLP(3, input_shape=(30,)), torch.randn(4, 30)) == ("fp32", {})


def test_convolutions_are_laid_out_channels_last():
    model = lay_out(CifarResNet(10, depth=8))
    assert model.conv1.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("capability", "channels", "size", "plain"),
    [
        ("AVX2", 4, 8, True),
        ("AVX2", 8, 64, False),
        ("AVX512", 8, 64, True),
        ("AVX512", 16, 64, False),
        ("AVX512", 8, 32, False),
    ],
)
def test_a_strided_1x1_convolution_stays_plain_where_its_gradient_would_corrupt_memory(
    monkeypatch, capability, channels, size, plain
):
    # The process died of "corrupted size vs. prev_size" in each of the cases that are plain here.
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    x = torch.randn(3, channels, size, size).contiguous(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(channels, 6, 1, stride=2, bias=False)
    model = lay_out(lay_out(torch.nn.Sequential(conv)))
    seen = []
    conv.register_forward_pre_hook(lambda module, given: seen.append(given[0].is_contiguous()))
    with torch.no_grad():
        answer = model(x)
    assert seen == [plain] and list(model.state_dict()) == ["0.weight"]
    torch.testing.assert_close(answer, torch.einsum("oc,nchw->nohw", conv.weight[:, :, 0, 0], x[:, :, ::2, ::2]))


def test_the_gradient_of_such_a_convolution_is_right():
    x = torch.randn(10, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(4, 6, 1, stride=2, bias=False)
    lay_out(torch.nn.Sequential(conv))(x).sum().backward()
    torch.testing.assert_close(
        conv.weight.grad.flatten(1), x[:, :, ::2, ::2].sum(dim=(0, 2, 3)).expand(6, 4), rtol=1e-4, atol=1e-4
    )
