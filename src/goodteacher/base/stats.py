"""Statistics of a study: intervals, paired differences by seed, exact permutation p, correction for many comparisons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from goodteacher.base.errors import ConfigError
from goodteacher.base.seeds import numpy_stream

LEVEL = 0.95
EXACT_UP_TO = 16  # 65,536 sign patterns; above that, as many are drawn
RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: of the values.
        low: lower end of the interval; NaN if n is 1.
        high: upper end.
        n: values.
        p: two-sided p of "the mean is zero", for differences; NaN if n is 1.
    """

    mean: float
    low: float
    high: float
    n: int
    p: float = float("nan")

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval; values all alike say nothing of their scatter, so they exclude nothing."""
        return self.high > self.low and (self.low > 0 or self.high < 0)


def mean_interval(values: Sequence[float], *, level: float = LEVEL, kind: str = "t") -> Estimate:
    r"""Return a mean with its interval.

    .. math:: \bar x \pm t_{n-1} \, s / \sqrt n

    Args:
        values: one per seed, or one per example.
        level: of confidence.
        kind: ``t``, or ``bootstrap`` (percentiles of resampled means; for many values of any distribution).

    Returns:
        The estimate; without an interval if there is one value.

    Raises:
        ConfigError: for no values or an unknown kind.

    Example:
        >>> e = mean_interval([1.0, 2.0, 3.0]); round(e.mean, 2), round(e.low, 2), round(e.high, 2)
        (2.0, -0.48, 4.48)
    """
    x = np.asarray(values, dtype=float)
    if x.size == 0:
        raise ConfigError("a mean", rule="needs at least one value", received="none")
    mean = float(x.mean())
    if x.size == 1:
        return Estimate(mean, float("nan"), float("nan"), 1)
    if kind == "t":
        half = float(stats.t.ppf((1 + level) / 2, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size))
        return Estimate(mean, mean - half, mean + half, x.size)
    if kind != "bootstrap":
        raise ConfigError("kind of interval", rule="must be 't' or 'bootstrap'", received=repr(kind))
    rng = numpy_stream(0, "bootstrap")
    means = np.array([x[rng.integers(x.size, size=x.size)].mean() for _ in range(RESAMPLES if x.size < 1000 else 1000)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(mean, float(low), float(high), x.size)


def sign_flip_p(differences: Sequence[float]) -> float:
    r"""Return the two-sided p of "differences are symmetric about zero", exact up to 16 of them.

    .. math:: p = \frac{1}{2^n} \#\{ s \in \{\pm 1\}^n : |\textstyle\sum_i s_i d_i| \ge |\sum_i d_i| \}

    Args:
        differences: paired, one per seed.

    Returns:
        p in [2^(1-n), 1]: five seeds cannot give less than 0.0625.

    Example:
        >>> sign_flip_p([1.0, 2.0, 3.0, 4.0, 5.0])
        0.0625

    Source: Fisher (1935), section 21.
    """
    d = np.asarray(differences, dtype=float)
    # Sums that are equal on paper, to rounding: differences of accuracies are full of ties.
    observed = abs(d.sum()) - 1e-12 * np.abs(d).sum()
    if d.size <= EXACT_UP_TO:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=d.size)))
        return float((np.abs(signs @ d) >= observed).mean())
    draws = numpy_stream(0, "sign flips").choice([-1.0, 1.0], size=(2**EXACT_UP_TO - 1, d.size))
    # The pattern observed counts among the draws, so that p is never zero.
    return float(((np.abs(draws @ d) >= observed).sum() + 1) / 2**EXACT_UP_TO)


def paired_difference(a: Sequence[float], b: Sequence[float], *, level: float = LEVEL) -> Estimate:
    """Return the mean of ``a - b`` paired by seed, its t interval and exact sign-flip p.

    Args:
        a: values, in the order of seeds.
        b: values, in the same order.
        level: of confidence.

    Returns:
        The estimate.

    Raises:
        ConfigError: if the lengths differ.
    """
    if len(a) != len(b):
        raise ConfigError("paired values", rule="must be as many on both sides", received=f"{len(a)} and {len(b)}")
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    estimate = mean_interval(differences.tolist(), level=level)
    p = sign_flip_p(differences.tolist()) if len(differences) > 1 else float("nan")
    return Estimate(estimate.mean, estimate.low, estimate.high, estimate.n, p)


def paired_proportions(a: Sequence[bool], b: Sequence[bool], *, level: float = LEVEL) -> Estimate:
    r"""Return the difference of two shares of the same examples, ``mean(a) - mean(b)``, with its interval.

    .. math:: \tilde d \pm z \sqrt{\frac{n_{10} + n_{01} + 1 - (n_{10} - n_{01})^2 / (n + 2)}{(n + 2)^2}}, \quad
              \tilde d = \frac{n_{10} - n_{01}}{n + 2}

    with the examples that only a, or only b, has. It stays wider than zero where no example differs.

    Args:
        a: whether each example counts on one side.
        b: the same on the other side.
        level: of confidence.

    Returns:
        The plain difference with the adjusted interval.

    Raises:
        ConfigError: if the lengths differ, or there are none.

    Example:
        >>> e = paired_proportions([True] * 98, [True] * 98); e.mean, round(e.low, 3), round(e.high, 3)
        (0.0, -0.02, 0.02)

    Source: Agresti & Min (2005), the adjusted Wald interval.
    """
    if len(a) != len(b) or len(a) == 0:
        raise ConfigError("paired shares", rule="must be as many on both sides", received=f"{len(a)} and {len(b)}")
    x, y = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    n, only_a, only_b = x.size, int((x & ~y).sum()), int((y & ~x).sum())
    middle = (only_a - only_b) / (n + 2)
    spread = only_a + only_b + 1 - (only_a - only_b) ** 2 / (n + 2)
    half = float(stats.norm.ppf((1 + level) / 2) * np.sqrt(spread) / (n + 2))
    return Estimate((only_a - only_b) / n, middle - half, middle + half, n)


def t_test_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of a paired t test; NaN for one value, 1 where nothing differs at all.

    Differences that are all alike say nothing of their scatter (two seeds that both win by one example), so they get the
    exact p of `sign_flip_p`, not zero.
    """
    d = np.asarray(differences, dtype=float)
    if d.size < 2:
        return float("nan")
    if np.ptp(d) <= 1e-12 * np.abs(d).max():
        return sign_flip_p(differences)
    return float(stats.ttest_1samp(d, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for having looked at all of them; NaN stays NaN and does not count.

    Args:
        p_values: uncorrected.

    Returns:
        Corrected, in the same order, never above 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Source: Holm (1979).
    """
    known = [(p, i) for i, p in enumerate(p_values) if not np.isnan(p)]
    corrected = [float("nan")] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(sorted(known)):
        running = max(running, min(1.0, p * (len(known) - rank)))
        corrected[i] = round(running, 15)
    return corrected


def spearman(
    x: Sequence[float], y: Sequence[float], *, groups: Sequence[str] | None = None, level: float = LEVEL
) -> Estimate:
    """Return the rank correlation with a bootstrap interval over pairs, or over groups of them.

    Args:
        x: a predictor, one value per teacher.
        y: what came of it.
        groups: what each pair comes from; pairs of one training are no independent draws, and are resampled together.
        level: of confidence.

    Returns:
        The estimate; all NaN for fewer than 4 pairs or a constant side, and without an interval for fewer than 4 groups.

    Source: Spearman (1904); the interval by Efron's percentiles, of clusters where there are groups.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    nan = float("nan")
    if a.size < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Estimate(nan, nan, nan, int(a.size))
    rho = stats.spearmanr(a, b)
    drawn = [rank_correlation(a[rows], b[rows]) for rows in stacked(resamples(a.size, groups))]
    resampled = np.concatenate(drawn or [np.array([])])
    known = resampled[~np.isnan(resampled)]  # a resample of one pair only has no correlation
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) if known.size else (nan, nan)
    return Estimate(float(rho.statistic), float(low), float(high), int(a.size), float(rho.pvalue))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation along the last axis; NaN where one side is constant."""
    first, second = (rank - rank.mean(axis=-1, keepdims=True) for rank in (_ranks(a), _ranks(b)))
    size = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (first * second).sum(axis=-1) / np.where(size > 0, size, np.nan)
    return found


def _ranks(x: np.ndarray) -> np.ndarray:
    return np.asarray(stats.rankdata(x, axis=-1))


def resamples(count: int, groups: Sequence[str] | None = None, draws: int = 2000) -> list[np.ndarray]:
    """Return rows drawn with replacement, whole groups at a time; none for fewer than 4 groups.

    Args:
        count: of rows.
        groups: what each row belongs to; every row by itself if not given.
        draws: how many.
    """
    names = list(dict.fromkeys(groups if groups is not None else range(count)))
    if len(names) < 4:
        return []
    place = np.array([names.index(name) for name in (groups if groups is not None else range(count))])
    members = [np.flatnonzero(place == k) for k in range(len(names))]
    picks = numpy_stream(0, "bootstrap").integers(len(names), size=(draws, len(names)))
    return [np.concatenate([members[k] for k in picked]) for picked in picks]


def stacked(drawn: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return resamples as tables, one per length, so that all of a length are ranked at once: groups differ in size."""
    alike: dict[int, list[np.ndarray]] = {}
    for rows in drawn:
        alike.setdefault(len(rows), []).append(rows)
    return [np.stack(rows) for rows in alike.values()]
