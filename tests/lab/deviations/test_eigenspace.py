"""Progress along eigendirections: descent against gradient flow, and a tiny run."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

from goodteacher.data.digits import digits_problem
from goodteacher_lab.deviations.eigenspace import (
    DIRECTIONS,
    MODELS,
    SOFTMAX,
    curves_of,
    data_of,
    descend,
    eigenspace,
    linear,
    ratios,
    two_layers,
)
from goodteacher_lab.job import Job


@pytest.fixture(scope="module")
def problem():
    return digits_problem()


def test_descent_is_gradient_descent_and_leaves_its_start_alone():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(20, d, generator=generator).double() for d in (4, 3))
    start = torch.zeros(3, 4, dtype=torch.float64)
    found = descend([start], linear, lambda z: 0.5 * (z - y).square().sum() / 20, x, rate=0.1, updates=5)
    w = start
    for _ in range(5):
        w = w - 0.1 * (x @ w.T - y).T @ x / 20
    torch.testing.assert_close(found.weights[-1], w)
    torch.testing.assert_close(found.outputs, x @ w.T)
    assert float(start.abs().max()) == 0 and torch.equal(found.weights[0], start)
    assert found.updates.tolist() == [0, 1, 2, 3, 4, 5] and len(found.weights) == 6


def test_two_layers_are_the_mlp_of_the_library(problem):
    from goodteacher.models.mlp import MLP

    model = MLP(10, input_shape=(64,), widths=(5,))
    x = torch.randn(7, 64)
    torch.testing.assert_close(two_layers(list(model.parameters()), x), model(x))


def test_each_seed_takes_other_examples(problem):
    (x, y), (other, _) = (data_of(problem, 300, seed) for seed in (0, 1))
    assert x.shape == (300, 64) and not torch.equal(x, other) and y.shape == (300,)
    assert len(data_of(problem, 5000, 0)[0]) == len(problem.train) * 4 // 5


def test_slow_descent_on_squared_errors_follows_the_flow(problem):
    found = curves_of("linear-squared", problem, 300, 200, 0)
    assert found.predicted is not None
    for seen, predicted in zip((found.teacher, found.student), found.predicted, strict=True):
        torch.testing.assert_close(seen, predicted, atol=0.02, rtol=0)
    assert found.teacher.shape[1] == 1 + len(DIRECTIONS)


def test_the_linear_student_is_behind_its_teacher_on_every_lower_direction(problem):
    found = curves_of("linear-squared", problem, 300, 40, 0)
    assert float(found.ratio[0]) == pytest.approx(1, abs=1e-6) and bool((found.ratio[1:] < 1).all())
    torch.testing.assert_close(found.ratio, found.predicted_ratio, atol=0.03, rtol=0)


def test_softmax_teachers_end_where_progress_is_one_and_start_where_their_students_do(problem):
    for model in SOFTMAX:
        found = curves_of(model, problem, 200, 20, 0)
        torch.testing.assert_close(found.teacher[-1], torch.ones(6).double())
        assert float(found.student[0].abs().max()) == 0 and float(found.student[-1].min()) > 0
        assert found.predicted is None and found.predicted_ratio is None


def test_only_the_students_differ_by_their_temperature(problem):
    plain, soft = (curves_of(model, problem, 200, 20, 0) for model in ("linear-softmax", "linear-softmax-T4"))
    assert torch.equal(plain.teacher, soft.teacher) and not torch.allclose(plain.student, soft.student, atol=1e-3)


def test_the_softmax_teacher_lowers_its_loss(problem):
    x, y = data_of(problem, 200, 0)
    start = torch.zeros(10, 64, dtype=torch.float64)
    rate = 0.1 / float(torch.linalg.eigvalsh(x.T @ x / 200)[-1])
    found = descend([start], linear, lambda z: F.cross_entropy(z, y), x, rate=rate, updates=50)
    assert float(F.cross_entropy(found.outputs, y)) < 2.15 < float(F.cross_entropy(torch.zeros(200, 10), y))


def test_ratios_are_numbered_as_the_directions(problem):
    rows = ratios([curves_of("linear-squared", problem, 200, 20, seed) for seed in (0, 1)])
    assert [row[0] for row in rows] == list(DIRECTIONS) and all(row[1].n == row[2].n == 2 for row in rows)


def test_a_tiny_run_has_every_model(tmp_path):
    found = eigenspace(Job(epochs=5, seeds=1, out=tmp_path, quiet=True))
    assert {row[0] for row in found.grids[0].rows} == set(MODELS) and len(found.charts) == 5
    assert json.dumps(found.data, allow_nan=False) and all("vega-lite" in chart for chart in found.charts.values())
    one = eigenspace(Job(epochs=1, seeds=1, choices={"model": ("linear-squared",)}))
    assert list(one.charts) == ["progress: linear-squared"]
