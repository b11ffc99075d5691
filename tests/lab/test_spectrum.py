"""Directions of the data: against descent itself, and the theory's own statements."""

from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher_lab.spectrum import at_equal_top, eigendirections, flow, flow_progress, progress, projections


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([4.0, 2.0, 1.0, 0.5])
    return torch.randn(50, 4, generator=generator).double() * scale + 0.3, torch.randn(
        50, 3, generator=generator
    ).double()


def test_eigendirections_are_those_of_the_uncentred_covariance(data):
    x, _ = data
    found = eigendirections(x)
    torch.testing.assert_close(x.T @ x / 50 @ found.vectors, found.vectors * found.values)
    torch.testing.assert_close(found.vectors.T @ found.vectors, torch.eye(4).double())
    assert found.values.tolist() == sorted(found.values.tolist(), reverse=True)
    shifted = eigendirections(x + 100)
    torch.testing.assert_close(shifted.vectors[:, 0].abs(), torch.full((4,), 0.5).double(), atol=0.01, rtol=0)


def test_as_many_directions_as_asked_for_and_images_are_flattened(data):
    x, _ = data
    found = eigendirections(x.view(50, 1, 2, 2), most=2)
    assert found.vectors.shape == (4, 2) and torch.equal(found.values, eigendirections(x).values[:2])
    with pytest.raises(ConfigError, match="directions"):
        eigendirections(x, most=0)


def test_projections_and_progress():
    weights = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[2.0, 3.0]]])
    assert projections(weights, torch.eye(2)).tolist() == [[0, 0], [1, 0], [2, 3]]
    share = progress(weights, weights[0], weights[2], torch.eye(2).double())
    assert share.tolist() == [[0, 0], [0.5, 0], [1, 1]]
    assert torch.isnan(progress(weights, weights[0], weights[1], torch.eye(2).double())[:, 1]).all()
    with pytest.raises(ShapeError, match="read 3 inputs"):
        projections(weights, torch.eye(3))


def descend(x, y, rate, steps, record=None):
    """Return weights ``(O, D)`` after gradient descent from zero on half the sum of squared errors."""
    w = torch.zeros(y.shape[1], x.shape[1], dtype=torch.float64)
    for _ in range(steps):
        w = w - rate * (x @ w.T - y).T @ x
        if record is not None:
            record.append(w)
    return w


def test_the_flow_is_what_slow_descent_does_to_labels_twice_for_a_student(data):
    x, y = data
    rate, steps = 2e-6, 1500
    teacher = x @ descend(x, y, rate, steps).T
    torch.testing.assert_close(flow(x, rate * steps) @ y, teacher, atol=2e-3, rtol=0)
    student = x @ descend(x, teacher, rate, 500).T
    torch.testing.assert_close(flow(x, rate * 500) @ flow(x, rate * steps) @ y, student, atol=2e-3, rtol=0)
    assert float((teacher - y).norm()) > 1 and float((student - teacher).norm()) > 0.1


def test_progress_of_the_flow_is_that_of_the_weights(data):
    x, y = data
    values, vectors = (s := eigendirections(x)).values, s.vectors
    goal = torch.linalg.lstsq(x, y).solution.T
    path: list[torch.Tensor] = []
    end = descend(x, y, 2e-6, 1500, path)
    # The loss here is a sum over 50 examples, so eigenvalues of the covariance count 50 times.
    times = torch.tensor([1500.0]) * 2e-6 * 50
    got = progress(end[None], torch.zeros_like(end), goal, vectors)
    torch.testing.assert_close(flow_progress(values, times), got, atol=2e-3, rtol=0)
    taught = descend(x, x @ end.T, 2e-6, 700)
    want = flow_progress(values, times * 700 / 1500, taught_by=float(times))
    torch.testing.assert_close(progress(taught[None], torch.zeros_like(end), goal, vectors), want, atol=2e-3, rtol=0)


def test_a_student_of_the_flow_is_behind_wherever_both_are_equally_far_along_the_top():
    values, times = torch.tensor([1.0, 0.5, 0.1, 0.01]), torch.linspace(0, 40, 4000)
    teacher = flow_progress(values, times)
    for taught_by in (0.5, 2.0, 10.0):
        own, other = at_equal_top(teacher, flow_progress(values, times, taught_by=taught_by))
        assert other[0] == pytest.approx(float(own[0]), abs=1e-6) and bool((other[1:] < own[1:]).all())
        # The lower the direction, the further behind, in proportion.
        assert (other / own)[1:].tolist() == sorted((other / own)[1:].tolist(), reverse=True)


def test_curves_are_read_where_the_first_direction_gets_that_far_first():
    teacher = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    student = torch.tensor([[0.0, 0.0], [0.5, 0.25], [0.4, 9.0], [1.0, 0.5]])
    own, other = at_equal_top(teacher, student, points=4)
    assert own.tolist() == pytest.approx([0.625, 0.625]) and other.tolist() == pytest.approx([0.625, 0.3125])
    nothing = at_equal_top(teacher + 5, student)
    assert all(torch.isnan(part).all() for part in nothing)
    with pytest.raises(ShapeError, match="same directions"):
        at_equal_top(teacher, student[:, :1])


def test_no_time_changes_nothing_and_time_cannot_be_negative(data):
    x, _ = data
    assert float(flow(x, 0.0).abs().max()) == 0
    values = torch.linalg.eigvalsh(flow(x, 0.01))
    assert float(values.min()) > -1e-12 and float(values.max()) < 1
    with pytest.raises(ConfigError, match="time"):
        flow(x, -1.0)
