"""Judging predictors: correlation, regret with ties, policies, hindsight, and a combination fitted elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from goodteacher.base.errors import ConfigError
from goodteacher_lab.judging import (
    Cases,
    combination,
    correlation_difference,
    hindsight_regret,
    judge,
    judge_all,
    policy_regret,
)

ARMS = ["a", "b", "c", "d"]
ACCURACY = np.array([[0.5, 0.52], [0.6, 0.58], [0.7, 0.74], [0.65, 0.69]])


def cases(problem="p", accuracy=ACCURACY, **columns):
    return Cases(problem, "s", pd.DataFrame(columns, index=ARMS[: len(accuracy)]), accuracy)


def test_a_perfect_predictor_has_correlation_one_and_no_regret():
    (j,) = judge_all(cases(q=[1.0, 2.0, 4.0, 3.0]))
    assert j.correlation.mean == pytest.approx(1) and j.regret.mean == 0 and j.pick == "c" and j.teachers == 4


def test_regret_is_paired_by_seed_against_the_best_of_the_means():
    j = judge(cases(q=[9.0, 2.0, 3.0, 4.0]), pd.Series([9.0, 2.0, 3.0, 4.0], ARMS), "q")
    assert j.pick == "a"
    assert j.regret.mean == pytest.approx(((0.7 - 0.5) + (0.74 - 0.52)) / 2) and j.regret.n == 2


def test_arms_that_tie_for_the_best_value_are_followed_in_equal_parts():
    j = judge(cases(q=[1.0, 1.0, 5.0, 5.0]), pd.Series([1.0, 1.0, 5.0, 5.0], ARMS), "q")
    assert j.regret.mean == pytest.approx((0.0 + 0.05) / 2)


def test_quantities_that_some_teacher_lacks_are_judged_apart():
    with_gap = cases(q=[1.0, 2.0, 4.0, 3.0], partial=[1.0, np.nan, 2.0, 3.0])
    assert [j.quantity for j in judge_all(with_gap)] == ["q"]
    j = judge(with_gap, with_gap.scores["partial"], "partial")
    assert j.teachers == 3 and j.pick == "d" and j.regret.mean == pytest.approx(0.05)
    with pytest.raises(ConfigError, match="at least 3 teachers"):
        judge(with_gap, pd.Series({"a": 1.0}), "rare")


def test_policies_and_hindsight():
    assert policy_regret(cases(), ["a", "b"]).mean == pytest.approx(np.mean([0.7 - 0.55, 0.74 - 0.55]))
    assert hindsight_regret(cases()).mean == 0  # 'c' is the best at both seeds
    lucky = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.6]])
    assert hindsight_regret(cases(accuracy=lucky)).mean == pytest.approx(
        0.6 - 0.1
    )  # each seed's best fails on the other


def test_a_combination_is_fitted_on_other_problems_only():
    rng = np.random.default_rng(0)

    def draw(problem):
        x = rng.normal(size=(60, 3))
        accuracy = (0.5 + 0.1 * (x[:, 0] + x[:, 1]))[:, None] + 0.001 * rng.normal(size=(60, 2))
        frame = pd.DataFrame(x, columns=["one", "two", "noise"], index=[f"arm{i}" for i in range(60)])
        return Cases(problem, "s", frame, accuracy)

    first, second, third = (draw(name) for name in "abc")
    j = combination([first, second], third, ["one", "two", "noise"])
    assert j.correlation.mean > 0.95 > max(k.correlation.mean for k in judge_all(third))
    with pytest.raises(ConfigError, match="fitted on other problems"):
        combination([first, third], third, ["one"])
    with pytest.raises(ConfigError, match="fitted on other problems"):
        combination([], third, ["one"])


def test_the_difference_of_correlations_is_resampled_together():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(60)
    noise = rng.standard_normal((2, 60))
    b, y = a + noise[0], -a + 0.1 * noise[1]
    e = correlation_difference(a, b, y)
    assert 0 < e.low < e.mean < e.high and e.n == 60
    assert correlation_difference(a, a, y).high == 0  # the same axis twice is the same in every resample
    assert np.isnan(correlation_difference(a[:3], b[:3], y[:3]).mean)
