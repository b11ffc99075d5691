from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError
from goodteacher.data.augment import normalise
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.problem import Problem, Split
from goodteacher.models.mlp import MLP
from goodteacher.models.resnet import CifarResNet
from goodteacher.train.infer import predict
from goodteacher.train.probe import (
    adversarial_change,
    even_rows,
    jacobian_norm,
    local_lipschitz,
    softened,
    view_logits,
)

VECTORS = gaussian_problem(train=60, validation=40, test=10)


def split(n, seed):
    images = torch.randint(0, 256, (n, 8, 8, 3), generator=torch.Generator().manual_seed(seed)).byte()
    return Split(images, torch.arange(n) % 3, torch.arange(n))


PICTURES = Problem("pictures", split(30, 0), split(20, 1), split(5, 2), ("a", "b", "c"), "flip")


def linear(inputs=30, classes=3, scale=1.0, seed=0):
    torch.manual_seed(seed)
    model = nn.Linear(inputs, classes)
    with torch.no_grad():
        model.weight.mul_(scale)
    return model


def inputs_of(problem, rows):
    return normalise(problem.validation.inputs.tensor[rows], *problem.statistics)


def exact_norm(model, x):
    """Return the largest singular value of a linear-softmax model's Jacobian, by hand."""
    p = model(x).softmax(dim=1).double().detach()
    jacobian = (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]) @ model.weight.double().detach()
    return torch.linalg.matrix_norm(jacobian, ord=2).float()


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_rows_are_spread_evenly():
    assert even_rows(10, 3).tolist() == [0, 3, 6] and even_rows(3, 10).tolist() == [0, 1, 2]
    assert even_rows(5000, 1000).tolist() == list(range(0, 5000, 5))
    with pytest.raises(ConfigError, match="limit"):
        even_rows(10, 0)


def test_the_jacobian_of_a_linear_model_is_known():
    model = linear(scale=3.0)
    found = local_lipschitz(model, VECTORS, "validation", limit=35)  # more than a batch of the probe
    torch.testing.assert_close(found["jacobian"], exact_norm(model, inputs_of(VECTORS, even_rows(40, 35))))


def test_the_power_method_finds_it_too():
    model = linear(12, 25, scale=4.0)
    x = torch.randn(9, 12, generator=draws())
    network = softened(model)
    found, exact = jacobian_norm(network, x, 24, draws()), exact_norm(model, x)
    assert bool((found <= exact * (1 + 1e-5)).all())
    torch.testing.assert_close(found, exact, rtol=0.01, atol=0)
    assert bool((jacobian_norm(network, x, 1, draws()) < 0.95 * exact).any())
    torch.testing.assert_close(jacobian_norm(network, x, 25, draws()), exact)  # row by row


def two_classes(w, b):
    """Return a model of two classes whose log-odds are w·x + b."""
    model = nn.Linear(len(w), 2)
    with torch.no_grad():
        model.weight.copy_(torch.stack([w, torch.zeros_like(w)]))
        model.bias.copy_(torch.tensor([b, 0.0]))
    return model


def test_ascent_finds_the_worst_corner_of_the_cube():
    w, radius = torch.randn(30, generator=draws(3)), 0.2
    model = two_classes(w, 0.5)
    found = local_lipschitz(model, VECTORS, "validation", radius=radius, limit=40)["pgd"]
    odds = inputs_of(VECTORS, torch.arange(40)) @ w + 0.5
    # Along the worst direction, at every distance up to the radius, both ways.
    reach = torch.linspace(-radius, radius, 2001)[:, None].double()
    reach = reach[reach.abs().squeeze(1) > 1e-3]
    change = ((odds + reach * w.abs().sum()).sigmoid() - odds.double().sigmoid()).abs() * 2 / reach.abs()
    assert bool((found <= change.max(dim=0).values * 1.001).all())
    at_corner = torch.maximum(change[0], change[-1])
    assert bool((found >= 0.999 * at_corner).all())


def test_ascent_comes_near_the_best_of_many_starts():
    torch.manual_seed(0)
    model = MLP(4, input_shape=(12,), widths=(32, 32)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(3)
    network, x = softened(model), torch.randn(300, 12, generator=draws())
    best = torch.stack([adversarial_change(network, x, 0.3, 40, draws(s)) for s in range(10)]).amax(dim=0).mean()
    means = [adversarial_change(network, x, 0.3, steps, draws(99)).mean() for steps in (1, 10)]
    assert means[0] < 0.85 * best and means[1] > 0.88 * best


def test_random_directions_stay_below_the_steepest_and_grow_with_their_number():
    w = torch.randn(30, generator=draws(3))
    model = two_classes(w, 0.5)
    few, many = (
        local_lipschitz(model, VECTORS, "validation", radius=1e-2, directions=n, limit=30)["random"] for n in (1, 200)
    )
    steepest = 2 * inputs_of(VECTORS, even_rows(40, 30)).matmul(w).add(0.5).sigmoid()
    steepest = steepest * (1 - steepest / 2) * w.norm()
    assert bool((few <= many).all()) and bool((few < many).any())
    assert bool((many <= steepest * 1.02).all())
    assert float((many / steepest).median()) > 1 / math.sqrt(30)  # the typical share in one of 30 directions


@pytest.mark.parametrize("name", ["random", "pgd", "jacobian"])
def test_a_constant_model_does_not_change(name):
    model = linear(scale=0.0)
    assert torch.equal(local_lipschitz(model, VECTORS, "validation", limit=5)[name], torch.zeros(5))


def test_a_network_is_left_as_it_was():
    model = CifarResNet(3, depth=8).train()
    model.bn1.eval()
    model.conv1.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = local_lipschitz(model, PICTURES, "validation", limit=6, steps=2, directions=2)
    view_logits(model, PICTURES, "validation", views=1)
    assert all(v.shape == (6,) and v.dtype == torch.float32 and bool((v > 0).all()) for v in found.values())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training and not model.bn1.training and model.fc.training
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["conv1.weight"]
    assert all(p.grad is None for p in model.parameters())


def test_probes_do_not_depend_on_global_randomness():
    model = CifarResNet(3, depth=8)
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        runs.append(local_lipschitz(model, PICTURES, "validation", limit=4, steps=1, directions=1))
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])


class Attention(nn.Module):
    """Attention over pixels, whose fast kernels have no second derivative."""

    def __init__(self):
        super().__init__()
        self.project, self.head = nn.Linear(3, 24), nn.Linear(8, 21)

    def forward(self, x):
        q, k, v = (part[:, None] for part in self.project(x.flatten(2).mT).chunk(3, dim=-1))
        return self.head(F.scaled_dot_product_attention(q, k, v).mean(dim=(1, 2)))


def test_attention_can_be_probed():
    network = softened(Attention().requires_grad_(False))
    x = torch.randn(3, 3, 4, 4, generator=draws())
    torch.testing.assert_close(
        jacobian_norm(network, x, 20, draws()), jacobian_norm(network, x, 21, draws()), rtol=0.01, atol=0
    )


@pytest.mark.parametrize("option", ["radius", "directions", "steps", "iterations", "limit"])
def test_options_out_of_range(option):
    with pytest.raises(ConfigError, match=f"{option}: must be a number"):
        local_lipschitz(linear(), VECTORS, "validation", **{option: 0})


def test_views_are_answers_to_the_problems_own_augmentation():
    model = CifarResNet(3, depth=8)
    stack = view_logits(model, PICTURES, "validation", views=6, limit=7)
    assert stack.shape == (6, 7, 3) and stack.dtype == torch.float32 and not stack.requires_grad
    rows = even_rows(20, 7)
    plain = predict(model, PICTURES, "validation")[rows]
    mirrored = replace(
        PICTURES, validation=replace(PICTURES.validation, inputs=PICTURES.validation.inputs.tensor.flip(2))
    )
    mirrored = predict(model, mirrored, "validation")[rows]
    near = [torch.isclose(stack, one, atol=1e-4).all(dim=2) for one in (plain, mirrored)]
    assert bool((near[0] | near[1]).all())
    assert 0.2 < float(near[0].double().mean()) < 0.8
    assert torch.equal(stack, view_logits(model, PICTURES, "validation", views=6, limit=7))
    assert not torch.equal(stack, view_logits(model, PICTURES, "validation", views=6, limit=7, seed=1))
    assert torch.equal(stack[:2], view_logits(model, PICTURES, "validation", views=2, limit=7))


def test_without_augmentation_there_are_no_views():
    assert view_logits(linear(), VECTORS, "validation") is None
    assert view_logits(CifarResNet(3, depth=8), replace(PICTURES, augment="none"), "validation") is None
