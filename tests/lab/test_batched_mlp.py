"""Gradients written by hand equal autograd's."""

from __future__ import annotations

import pytest
import torch

from goodteacher.models.mlp import MLP
from goodteacher_lab.batched_mlp import STACK_LOSSES, forward, gradients, layers_of, logit_gradient


def loss_of(z, q, loss):
    p = z.softmax(dim=-1)
    values = {
        "kl": (q * (q.log() - z.log_softmax(dim=-1))).sum(dim=-1).mean(dim=1),
        "brier_sum": (p - q).square().sum(dim=-1).mean(dim=1),
        "brier_mean": (p - q).square().mean(dim=(1, 2)),
    }
    return values[loss].sum()


@pytest.mark.parametrize("loss", STACK_LOSSES)
def test_the_gradient_of_the_logits_is_that_of_autograd(loss):
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(2, 5, 4, generator=draws, dtype=torch.float64, requires_grad=True)
    q = torch.softmax(torch.randn(2, 5, 4, generator=draws, dtype=torch.float64), dim=-1)
    (expected,) = torch.autograd.grad(loss_of(z, q, loss), z)
    assert torch.allclose(logit_gradient(z.detach(), q, loss), expected, atol=1e-12)


@pytest.mark.parametrize("widths", [(), (5,), (6, 4)])
@pytest.mark.parametrize("loss", STACK_LOSSES)
def test_the_gradient_of_every_weight_is_that_of_autograd(loss, widths):
    torch.manual_seed(0)
    models = [MLP(3, input_shape=(7,), widths=widths).double() for _ in range(2)]
    x, q = torch.randn(2, 9, 7).double(), torch.softmax(torch.randn(2, 9, 3).double(), dim=-1)
    shapes = [tuple(p.shape) for p in models[0].parameters() if p.dim() == 2]
    flat = torch.stack([torch.nn.utils.parameters_to_vector(m.parameters()).detach() for m in models])
    found = torch.full_like(flat, float("nan"))
    gradients(layers_of(flat, shapes), layers_of(found, shapes), x, q, loss)
    for k, model in enumerate(models):
        loss_of(model(x[k])[None], q[k][None], loss).backward()
        expected = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert torch.allclose(found[k], expected, atol=1e-12)


def test_answers_are_each_network_s_own():
    torch.manual_seed(0)
    models = [MLP(3, input_shape=(7,), widths=(5,)) for _ in range(3)]
    flat = torch.stack([torch.nn.utils.parameters_to_vector(m.parameters()).detach() for m in models])
    x = torch.randn(600, 7)  # more than are evaluated at a time
    found = forward(layers_of(flat, [(5, 7), (3, 5)]), x)
    assert torch.allclose(found, torch.stack([m(x) for m in models]), atol=1e-6)
