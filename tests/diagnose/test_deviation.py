"""Deviations: students made to deviate in a known way are found to do so, and others are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.diagnose.deviation import BOUND, CLIP, LEAST, confidences, deviation, deviations, fit_line


def logits(n=600, classes=6, seed=0):
    return 3 * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def binary(sure):
    return torch.stack([sure, torch.zeros_like(sure)], dim=1)


def test_log_odds_are_those_of_the_probabilities():
    teacher, student = logits(seed=1) / 3, logits(seed=2) / 3
    x, y = confidences(teacher, student)
    u, v = (torch.softmax(z, 1).gather(1, teacher.argmax(1, keepdim=True)).squeeze(1) for z in (teacher, student))
    torch.testing.assert_close(x, (u / (1 - u)).log())
    torch.testing.assert_close(y, (v / (1 - v)).log())


def test_margin_is_against_the_largest_other_class():
    x, y = confidences(torch.tensor([[1.0, 4.0, 2.0]]), torch.tensor([[5.0, 4.0, 3.0]]), version="margin")
    assert (x.item(), y.item()) == (2.0, -1.0)


def test_with_two_classes_both_versions_are_one():
    teacher, student = logits(classes=2, seed=3), logits(classes=2, seed=4)
    for a, b in zip(confidences(teacher, student), confidences(teacher, student, version="margin"), strict=True):
        torch.testing.assert_close(a, b)


def test_probabilities_are_clipped():
    x, y = confidences(torch.tensor([[90.0, 0.0]]), torch.tensor([[-90.0, 0.0]]))
    assert (x.item(), y.item()) == (BOUND, -BOUND) and math.log((1 - CLIP) / CLIP) == BOUND


def test_a_student_that_scales_its_teachers_log_odds_has_that_slope_and_is_named():
    sure = torch.linspace(0.05, 6, 300, dtype=torch.float64)
    found = deviation(binary(sure), binary(1.5 * sure - 3))
    for line in (found.whole, found.below, found.above):
        assert line.slope.mean == pytest.approx(1.5) and line.intercept == pytest.approx(-3)
        assert line.orthogonal.mean == pytest.approx(1.5) and line.orthogonal_intercept == pytest.approx(-3)
        assert line.slope.low == pytest.approx(1.5) and line.slope.high == pytest.approx(1.5)
    # 1.5 x - 3 = x at x = 6: below everywhere.
    assert found.underfit.mean == 1 and found.overfit.mean == 0 and found.words == "underfits low-confidence points"
    both = deviation(binary(sure), binary(1.5 * sure - 1.5))
    assert both.underfits_low and both.overfits_high
    assert both.words == "underfits low-confidence points and overfits high-confidence points"
    softer = deviation(binary(sure), binary(0.5 * sure + 1))
    assert softer.words == "no exaggeration shown" and softer.underfit.mean < 0.5 > softer.overfit.mean


def test_a_copy_deviates_in_nothing():
    teacher = logits()
    found = deviation(teacher, teacher)
    assert found.whole.slope.mean == pytest.approx(1) and found.underfit.mean == found.overfit.mean == 0
    assert all(x == y for x, y, _ in found.bins) and sum(n for *_, n in found.bins) == 600 == found.points


def test_halves_and_thirds_are_by_the_teachers_confidence():
    sure = torch.linspace(0.01, 4, 99, dtype=torch.float64)
    order = torch.randperm(99, generator=torch.Generator().manual_seed(0))
    low, middle = sure < sure[33], sure < sure.median()
    other = torch.where(low, sure - 0.005, torch.where(middle, sure, 3 * sure))
    found = deviation(binary(sure)[order], binary(other)[order])
    assert found.underfit.mean == found.overfit.mean == 1
    assert found.above.slope.mean == pytest.approx(3) and found.below.slope.mean == pytest.approx(1, abs=0.01)
    assert found.below.slope.n + found.above.slope.n == 99 and found.below.slope.n == int(middle.sum())


def test_bins_hold_equally_many_points_and_their_medians():
    teacher, student = logits(n=100, seed=5), logits(n=100, seed=6)
    found = deviation(teacher, student)
    x, y = confidences(teacher, student)
    first = x.argsort()[:10]
    assert [n for *_, n in found.bins] == [10] * 10
    assert found.bins[0][:2] == (float(x[first].median()), float(y[first].median()))
    assert list(found.bins) == sorted(found.bins)


def test_independent_networks_show_the_luck_of_the_largest_probability():
    truth = 2 * torch.randn(3000, 5, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    one, other = (
        truth + torch.randn(3000, 5, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in (8, 9)
    )
    there, back = deviation(one, other), deviation(other, one)
    assert there.underfits_low and back.underfits_low


def test_the_share_has_wilsons_interval():
    sure = torch.linspace(0.1, 3, 30, dtype=torch.float64)
    found = deviation(binary(sure), binary(sure - 1)).underfit
    z2 = 1.959963984540054**2
    assert found.mean == 1 and found.n == 10 and found.high == 1
    assert found.low == pytest.approx(1 / (1 + z2 / 10))


def test_right_and_wrong_teachers_are_apart():
    teacher, student = logits(seed=10), logits(seed=11)
    labels = teacher.argmax(1)
    labels[:200] = (labels[:200] + 1) % 6
    found = deviations(teacher, student, labels)
    assert {name: d.points for name, d in found.items()} == {"all": 600, "teacher right": 400, "teacher wrong": 200}
    assert found["teacher wrong"] == deviation(teacher[:200], student[:200])
    few = deviations(teacher[195:], student[195:], labels[195:])
    assert set(few) == {"all", "teacher right"}


def test_orthogonal_slope_is_the_first_principal_axis_and_is_not_pulled_to_zero():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4000)
    x, y = (torch.from_numpy(truth * k + 0.5 * rng.normal(size=4000)) for k in (1, 1.2))
    line = fit_line(x, y)
    axis = np.linalg.eigh(np.cov(x, y))[1][:, -1]
    assert line.orthogonal.mean == pytest.approx(axis[1] / axis[0])
    assert line.slope.mean == pytest.approx(np.polyfit(x, y, 1)[0]) and line.slope.mean < 1.1 < line.orthogonal.mean
    assert line.orthogonal.low < 1.2 * 1.02 and line.orthogonal.high > 1.2 > line.slope.high


def test_the_bootstrap_interval_is_about_the_textbooks():
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=500))
    y = 2 * x + torch.from_numpy(rng.normal(size=500))
    e = fit_line(x, y).slope
    error = 1 / math.sqrt(500)
    assert e.half == pytest.approx(1.96 * error, rel=0.25) and e.low < 2 < e.high and e == fit_line(x, y).slope


def test_lines_that_are_not_defined_are_nan():
    for x, y in (([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), ([1.0, 2.0], [1.0, 2.0])):
        line = fit_line(torch.tensor(x), torch.tensor(y))
        assert math.isnan(line.slope.mean) and math.isnan(line.intercept) and math.isnan(line.orthogonal.mean)
    flat = fit_line(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.ones(4))
    assert flat.slope.mean == flat.orthogonal.mean == 0 and flat.intercept == 1


def test_mistakes_are_named():
    with pytest.raises(ShapeError, match=f"at least {LEAST} examples, got 5"):
        deviation(logits(n=5), logits(n=5))
    with pytest.raises(ConfigError, match="did you mean 'margin'"):
        confidences(logits(), logits(), version="margins")
    with pytest.raises(ShapeError, match="same shape"):
        deviation(logits(n=20), logits(n=21))
