from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from goodteacher.train.optim import build_optimizer, cycle_ends, learning_rate
from goodteacher.train.recipe import Recipe


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


def test_cycles_follow_the_formula_of_snapshot_ensembles():
    n, m = 240, 5
    r = rates(n, lr=0.2, schedule="cyclic", cycles=m, epochs=60)
    length = math.ceil(n / m)
    paper = [0.2 / 2 * (math.cos(math.pi * ((t - 1) % length) / length) + 1) for t in range(1, n + 1)]
    assert r == pytest.approx(paper)
    ends = [4 * epoch for epoch in cycle_ends(60, m)]  # 4 steps per epoch
    assert all(r[end - 1] < 0.001 for end in ends) and all(r[end] == 0.2 for end in ends[:-1])


def test_a_last_short_cycle_falls_to_zero_too():
    assert cycle_ends(10, 4) == (3, 6, 9, 10) and cycle_ends(7, 7) == (1, 2, 3, 4, 5, 6, 7) and cycle_ends(3, 1) == (3,)
    r = rates(100, lr=1.0, schedule="cyclic", cycles=4, epochs=10)
    assert [i for i in range(100) if r[i] == 1.0] == [0, 30, 60, 90]
    assert r[29] == r[59] == r[89] == pytest.approx(0.5 * (1 + math.cos(math.pi * 29 / 30)))
    assert r[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 9 / 10)))


def test_warmup_takes_the_head_of_the_first_cycle():
    plain, warm = (rates(100, lr=1.0, schedule="cyclic", cycles=2, epochs=10, warmup=w) for w in (0.0, 0.1))
    assert warm[:10] == pytest.approx([(i + 1) / 10 for i in range(10)]) and warm[10:] == plain[10:]


@pytest.mark.parametrize("schedule", ["cosine", "multistep", "cyclic"])
def test_the_rate_of_weight_averaging_is_constant_and_ends_the_schedule(schedule):
    r = rates(100, lr=1.0, schedule=schedule, epochs=10, swa=0.75, swa_lr=0.3)
    assert r[75:] == [0.3] * 25
    assert r[:75] == rates(100, lr=1.0, schedule=schedule, epochs=10)[:75]
    assert rates(100, schedule=schedule, epochs=10, swa=0.75) == rates(100, schedule=schedule, epochs=10)


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
