from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from goodteacher.base.types import Batch, Progress
from goodteacher.methods.labels import HardLabels
from goodteacher.models.mlp import MLP
from goodteacher.train.rounding import INPUT_STEPS, WEIGHT_STEPS, Rounded, rounded_inputs, rounded_weight
from goodteacher.train.task import Task


def test_weights_lie_on_a_grid_per_output_channel_and_the_largest_stays():
    weight = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 9, 0.1, 3, 0]).view(
        5, 1, 1, 1
    )
    found = rounded_weight(weight)
    step = weight.flatten(1).abs().amax(dim=1) / WEIGHT_STEPS
    places = found.flatten(1)[:4] / step[:4, None]
    torch.testing.assert_close(places, places.round(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.flatten(1).abs().amax(dim=1), weight.flatten(1).abs().amax(dim=1))
    assert ((found - weight).flatten(1).abs().amax(dim=1) <= step / 2 + 1e-7).all() and torch.equal(found[4], weight[4])


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-2.0, 3.0), (-4.0, -1.0), (0.0, 0.0), (2.0, 2.0)])
def test_inputs_lie_on_256_values_with_zero_among_them(low, high):
    x = torch.linspace(low, high, 777)
    found = rounded_inputs(x)
    assert len(found.unique()) <= INPUT_STEPS + 1 and rounded_inputs(torch.tensor([0.0, high]))[0] == 0
    assert (found - x).abs().max() <= (max(high, 0) - min(low, 0)) / INPUT_STEPS * 0.51 + 1e-6


def test_gradients_pass_as_if_nothing_were_rounded():
    x, w = torch.randn(4, 6, requires_grad=True), torch.randn(3, 6, requires_grad=True)
    with Rounded():
        functional.linear(x, w).sum().backward()
    torch.testing.assert_close(x.grad, rounded_weight(w.detach()).sum(dim=0).expand(4, 6))
    torch.testing.assert_close(w.grad, rounded_inputs(x.detach()).sum(dim=0).expand(3, 6))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_type(dtype):
    assert (
        rounded_weight(torch.ones(2, 3, dtype=dtype)).dtype == rounded_inputs(torch.ones(2, dtype=dtype)).dtype == dtype
    )


def test_convolutions_and_linear_layers_are_rounded_and_nothing_else():
    conv, norm, x = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3).eval(), torch.randn(2, 2, 5, 5)
    plain = conv(x)
    with Rounded():
        assert torch.equal(norm(plain), norm(plain)) and not torch.equal(conv(x), plain)
    assert torch.equal(conv(x), plain)


def test_a_task_rounds_in_its_steps_alone():
    network = MLP(3, input_shape=(4,), widths=(5,))
    batch = Batch(torch.randn(8, 4), torch.arange(8) % 3, torch.arange(8))
    plain, rounded = (Task(network, HardLabels(), rounds=r)(batch, None, Progress(0, 1, 1)) for r in (False, True))
    assert not torch.equal(plain["cross_entropy"], rounded["cross_entropy"])
    torch.testing.assert_close(plain["cross_entropy"], rounded["cross_entropy"], rtol=0.1, atol=0.02)
