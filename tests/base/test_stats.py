import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from goodteacher.base import stats
from goodteacher.base.errors import ConfigError
from goodteacher.base.stats import (
    Estimate,
    holm,
    mean_interval,
    paired_difference,
    paired_proportions,
    resamples,
    sign_flip_p,
    spearman,
    t_test_p,
)

VALUES = [0.61, 0.65, 0.58, 0.70, 0.66]


def nan(x):
    return math.isnan(x)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_t_interval_against_scipy(level):
    got = mean_interval(VALUES, level=level)
    low, high = scipy_stats.t.interval(level, 4, loc=np.mean(VALUES), scale=scipy_stats.sem(VALUES))
    assert (got.mean, got.low, got.high, got.n) == pytest.approx((np.mean(VALUES), low, high, 5))
    assert nan(got.p) and got.half == pytest.approx((high - low) / 2)


def test_one_value_has_no_interval():
    got = mean_interval([0.5])
    assert got.mean == 0.5 and got.n == 1 and nan(got.low) and nan(got.high) and nan(got.half)
    assert not got.excludes_zero


def test_excludes_zero():
    assert Estimate(1.0, 0.1, 2.0, 3).excludes_zero and Estimate(-1.0, -2.0, -0.1, 3).excludes_zero
    assert not paired_difference([0.5, 0.75], [0.25, 0.5]).excludes_zero  # two seeds that won by one example each
    assert not Estimate(0.0, -1.0, 1.0, 3).excludes_zero and not Estimate(0.0, 0.0, 0.0, 3).excludes_zero


@pytest.mark.parametrize("draw", ["standard_normal", "standard_exponential"])
def test_bootstrap_interval_covers_the_mean_about_as_often_as_it_says(draw, monkeypatch):
    monkeypatch.setattr(stats, "RESAMPLES", 400)
    rng = np.random.default_rng(0)
    mean = 1.0 if draw == "standard_exponential" else 0.0
    intervals = [mean_interval(getattr(rng, draw)(60).tolist(), kind="bootstrap") for _ in range(300)]
    covered = np.mean([e.low <= mean <= e.high for e in intervals])
    assert 0.88 < covered < 0.98


def test_bootstrap_repeats_and_is_near_the_t_interval_for_many_values():
    x = np.random.default_rng(1).standard_normal(2000).tolist()
    got, again, t = (mean_interval(x, kind=k) for k in ("bootstrap", "bootstrap", "t"))
    assert got == again or (got.low, got.high) == (again.low, again.high)
    assert (got.low, got.high) == pytest.approx((t.low, t.high), abs=0.15 * t.half)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: mean_interval([]), "a mean: needs at least one value, got none"),
        (lambda: mean_interval([1, 2], kind="z"), "kind of interval: must be 't' or 'bootstrap', got 'z'"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), "paired values: must be as many on both sides, got 1 and 2"),
    ],
)
def test_mistakes(call, text):
    with pytest.raises(ConfigError, match=text):
        call()


def slow_sign_flip(units):
    """Exact in whole numbers."""
    patterns = list(itertools.product((-1, 1), repeat=len(units)))
    hits = sum(abs(sum(s * u for s, u in zip(p, units, strict=True))) >= abs(sum(units)) for p in patterns)
    return hits / len(patterns)


@pytest.mark.parametrize(
    "units",
    [
        [1, 2, 3, 4, 5],
        [1, 2, -3],
        [5, -1, 2, 2, -7, 3],
        [0, 0, 4],
        [0, 0],
        [3, 3, 3],
        [-1, 1, 1, -1],
        [7, -2, 9, 9, 1, 4, -3],
    ],
)
@pytest.mark.parametrize("unit", [1.0, 0.1, 1 / 539])
def test_sign_flips_against_counting_in_whole_numbers(units, unit):
    assert sign_flip_p([unit * u for u in units]) == slow_sign_flip(units)


def test_ties_on_paper_survive_rounding():
    more, right = [-1, -2, 1, 0, 2], [486, 114, 213, 414, 188]
    differences = [(r + m) / 539 - r / 539 for m, r in zip(more, right, strict=True)]
    assert sum(more) == 0 and sign_flip_p(differences) == slow_sign_flip(more) == 1


@pytest.mark.parametrize("n", range(2, 9))
def test_sign_flip_p_cannot_go_below_its_floor(n):
    assert sign_flip_p(np.linspace(1, 2, n).tolist()) == 2 ** (1 - n) == sign_flip_p([-1.0] * n)


def test_many_differences_are_sampled_and_never_give_zero():
    assert sign_flip_p([1.0] * 30) == 2**-16
    d = np.random.default_rng(3).normal(0.3, 1, 40)
    expected = 2 * scipy_stats.norm.sf(abs(d.sum()) / np.sqrt((d**2).sum()))
    assert sign_flip_p(d.tolist()) == pytest.approx(expected, rel=0.1)
    assert sign_flip_p(d.tolist()) == sign_flip_p(d.tolist())


def test_sign_flip_p_is_uniform_where_nothing_differs():
    rng = np.random.default_rng(4)
    p = np.array([sign_flip_p(rng.standard_normal(8).tolist()) for _ in range(600)])
    for level in (0.05, 0.25, 0.5):
        assert abs((p <= level).mean() - level) < 4 * (level * (1 - level) / 600) ** 0.5 + 2**-7


def test_paired_difference_pairs():
    a, b = [0.9, 0.8, 0.7], [0.88, 0.79, 0.67]
    got = paired_difference(a, b)
    want = mean_interval([0.02, 0.01, 0.03])
    assert (got.mean, got.low, got.high, got.n) == pytest.approx((want.mean, want.low, want.high, 3))
    assert got.p == 0.25 and paired_difference(b, a).mean == pytest.approx(-got.mean)
    assert got.half < mean_interval(a).half / 5
    assert nan(paired_difference([1.0], [0.5]).p) and paired_difference([1.0], [0.5]).mean == 0.5


def test_t_test_against_scipy_and_its_edges():
    assert t_test_p(VALUES) == pytest.approx(scipy_stats.ttest_1samp(VALUES, 0).pvalue)
    assert nan(t_test_p([1.0])) and t_test_p([0.0, 0.0]) == 1.0


def test_differences_all_alike_do_not_look_like_proof():
    assert t_test_p([0.1, 0.1]) == 0.5 and t_test_p([0.3 - 0.2, 0.2 - 0.1, 0.1]) == 0.25


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2, 0.001]) == pytest.approx([0.2, 0.002])
    assert holm([0.6, 0.5, 0.9]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_nan_out_of_the_count():
    got = holm([float("nan"), 0.01, 0.04, float("nan")])
    assert nan(got[0]) and nan(got[3]) and got[1:3] == pytest.approx([0.02, 0.04])


def test_holm_keeps_order_and_never_lowers_a_p():
    p = np.random.default_rng(5).uniform(size=20).tolist()
    got = holm(p)
    assert all(g >= q for g, q in zip(got, p, strict=True))
    assert [got[i] for i in np.argsort(p)] == sorted(got)


def test_spearman_against_scipy():
    rng = np.random.default_rng(6)
    x = rng.standard_normal(30)
    y = x + rng.standard_normal(30)
    got, want = spearman(x.tolist(), y.tolist()), scipy_stats.spearmanr(x, y)
    assert (got.mean, got.p, got.n) == pytest.approx((want.statistic, want.pvalue, 30))
    fisher = np.tanh(np.arctanh(got.mean) + np.array([-1, 1]) * 1.96 * 1.03 / np.sqrt(27))
    assert (got.low, got.high) == pytest.approx(tuple(fisher), abs=0.12)
    assert spearman(x.tolist(), np.exp(y).tolist()).mean == pytest.approx(got.mean)


def test_pairs_of_one_training_are_resampled_together():
    rng = np.random.default_rng(0)
    level = rng.normal(size=12)  # of trainings; their five arms differ by next to nothing
    x = np.repeat(level, 5) + 0.01 * rng.normal(size=60)
    y = np.repeat(level + 1.5 * rng.normal(size=12), 5) + 0.01 * rng.normal(size=60)
    groups = [f"training {k // 5}" for k in range(60)]
    alone, together = spearman(x.tolist(), y.tolist()), spearman(x.tolist(), y.tolist(), groups=groups)
    assert together.mean == alone.mean and together.n == 60
    assert 1.7 < together.half / alone.half < 3.2  # twelve draws and not sixty: sqrt(5) is 2.2
    own = spearman(x.tolist(), y.tolist(), groups=[str(k) for k in range(60)])
    assert (own.low, own.high) == (alone.low, alone.high)
    few = spearman(x[:15].tolist(), y[:15].tolist(), groups=groups[:15])
    assert not nan(few.mean) and nan(few.low) and nan(few.high)


def test_resamples_take_whole_groups():
    rows = resamples(6, ["a", "a", "b", "c", "d", "d"], draws=300)
    assert len(rows) == 300 and {len(r) for r in rows} >= {5, 6, 7}
    for drawn in rows:
        counts = np.bincount(drawn, minlength=6)
        assert counts[0] == counts[1] and counts[4] == counts[5]
    assert resamples(6, ["a", "a", "b", "c", "c", "c"]) == []


def test_spearman_sign_and_ties():
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]).mean == -1
    assert spearman([1, 1, 2, 2, 3], [1, 2, 2, 3, 3]).mean == pytest.approx(
        scipy_stats.spearmanr([1, 1, 2, 2, 3], [1, 2, 2, 3, 3]).statistic
    )


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2, 3], [1, 2, 3]), ([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2, 3, 4], [2, 2, 2, 2])]
)
def test_spearman_of_too_little_says_nothing(x, y):
    got = spearman(x, y)
    assert nan(got.mean) and nan(got.low) and nan(got.high) and got.n == len(x) and not got.excludes_zero


def test_paired_shares_are_compared_on_the_examples_that_differ():
    a = np.array([True] * 80 + [False] * 20)
    b = a.copy()
    b[:8], b[95:] = False, True
    found = paired_proportions(a.tolist(), b.tolist())
    assert found.mean == pytest.approx(0.03) and found.n == 100
    half = 1.959964 * np.sqrt(8 + 5 + 1 - 9 / 102) / 102
    assert (found.low, found.high) == pytest.approx((3 / 102 - half, 3 / 102 + half))
    turned = paired_proportions(b.tolist(), a.tolist())
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    for pair in (([], []), ([True], [True, False])):
        with pytest.raises(ConfigError, match="must be as many on both sides"):
            paired_proportions(*pair)
