from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from goodteacher.train.config import Recipe
from goodteacher.train.optim import build_optimizer, learning_rate


def rates(steps=240, **recipe):
    return [learning_rate(Recipe(**recipe), step, steps) for step in range(steps)]


def test_multistep_drops_with_the_first_step_after_each_milestone():
    r = rates(lr=0.05, schedule="multistep", milestones=(150 / 240, 180 / 240, 210 / 240))
    assert [r[149], r[150], r[179], r[180], r[209], r[210]] == pytest.approx([0.05, 0.005, 0.005, 5e-4, 5e-4, 5e-5])


def test_cosine_falls_from_lr_to_nearly_zero():
    r = rates(lr=0.1)
    assert (
        r[0] == 0.1
        and r[120] == pytest.approx(0.05)
        and r[-1] == pytest.approx(0.05 * (1 + math.cos(math.pi * 239 / 240)))
    )
    assert all(a > b for a, b in itertools.pairwise(r))


def test_warmup_rises_linearly_and_reaches_lr():
    r = rates(lr=1.0, warmup=0.1, schedule="constant")
    assert r[:24] == pytest.approx([(i + 1) / 24 for i in range(24)])
    assert r[24:] == [1.0] * 216


def test_sgd_equals_the_textbook_step():
    layer = nn.Linear(2, 1, bias=False)
    start = layer.weight.detach().clone()
    optimizer = build_optimizer(Recipe(lr=0.1, momentum=0.9, weight_decay=0.01), [layer])
    velocity = torch.zeros_like(start)
    expected = start.clone()
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.tensor([[1.0, 2.0]])).sum().backward()
        optimizer.step()
        velocity = 0.9 * velocity + torch.tensor([[1.0, 2.0]]) + 0.01 * expected
        expected = expected - 0.1 * velocity
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_adamw_decays_matrices_only():
    groups = build_optimizer(Recipe(optimizer="adamw", weight_decay=0.1), [nn.Linear(3, 2)]).param_groups
    assert {g["params"][0].dim(): g["weight_decay"] for g in groups} == {2: 0.1, 1: 0.0}


def test_parameters_of_helper_modules_train_too():
    helper = nn.Linear(4, 4)
    parameters = [p for g in build_optimizer(Recipe(), [nn.Linear(2, 2), helper]).param_groups for p in g["params"]]
    assert any(p is helper.weight for p in parameters)
