"""Deviations of a student from its teacher: which confidences it exaggerates.

Legend: k the teacher's first class at an example; u and v the probabilities of teacher and student for it; φ log odds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from goodteacher.base.checks import check_labels, check_logits
from goodteacher.base.errors import ShapeError, check_choice
from goodteacher.base.seeds import numpy_stream
from goodteacher.base.stats import LEVEL, Estimate
from goodteacher.base.types import Labels, Logits, PerExample

Version = Literal["log_odds", "margin"]
VERSIONS: tuple[Version, ...] = ("log_odds", "margin")
CLIP = 1e-6
BOUND = math.log((1 - CLIP) / CLIP)
RESAMPLES = 200
BINS = 10
# Fewer points than this have no thirds worth a word.
LEAST = 12
NAN = float("nan")


@dataclass(frozen=True)
class Line:
    """Straight lines through the points (φ(u), φ(v)).

    Attributes:
        slope: by least squares, which scatter of u pulls to zero, with a bootstrap interval over points.
        intercept: of that line.
        orthogonal: slope of the line of least orthogonal distances, which it does not.
        orthogonal_intercept: of that line.
    """

    slope: Estimate
    intercept: float
    orthogonal: Estimate
    orthogonal_intercept: float


@dataclass(frozen=True)
class Deviation:
    """How a student deviates from its teacher on a set of examples.

    Attributes:
        version: ``log_odds``, or ``margin``: against the largest other class alone.
        points: N.
        whole: lines through all points.
        below: lines through those with u below its median.
        above: lines through the others.
        underfit: share of v < u in the third of lowest u, with Wilson's interval.
        overfit: share of v > u in the third of highest u.
        bins: median φ(u), median φ(v) and number of points in bins of equally many points by u.
    """

    version: Version
    points: int
    whole: Line
    below: Line
    above: Line
    underfit: Estimate
    overfit: Estimate
    bins: tuple[tuple[float, float, int], ...]

    @property
    def underfits_low(self) -> bool:
        """Whether the student is less sure than its teacher where the teacher is least sure: the interval is above one half."""
        return self.underfit.low > 0.5

    @property
    def overfits_high(self) -> bool:
        """Whether the student is surer than its teacher where the teacher is surest: the interval is above one half."""
        return self.overfit.low > 0.5

    @property
    def words(self) -> str:
        """Which class of exaggeration this is."""
        said = [
            text
            for holds, text in (
                (self.underfits_low, "underfits low-confidence points"),
                (self.overfits_high, "overfits high-confidence points"),
            )
            if holds
        ]
        return " and ".join(said) or "no exaggeration shown"


def confidences(teacher: Logits, student: Logits, *, version: Version = "log_odds") -> tuple[PerExample, PerExample]:
    r"""Return how sure teacher and student are of the teacher's first class.

    .. math:: \varphi(u) = \log \frac{u}{1 - u} = z_k - \log \sum_{j \ne k} e^{z_j}, \qquad
              \mathrm{margin} = z_k - \max_{j \ne k} z_j, \qquad k = \arg\max_c z^t_c

    Args:
        teacher: ``(N, C)``.
        student: ``(N, C)``.
        version: with more than two classes the complement of u is no class of its own; ``margin`` takes the largest other one.

    Returns:
        Teacher's and student's, each ``(N,)`` float64 in nats, with u and v clipped to [1e-6, 1 - 1e-6].

    Raises:
        ShapeError: if the shapes differ.
        ConfigError: for an unknown version.

    Example:
        >>> x, y = confidences(torch.tensor([[2.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
        >>> x.tolist(), y.tolist()
        ([2.0], [-1.0])

    Source: Nagarajan et al. (2023); the second version is ours.
    """
    check_logits(teacher=teacher, student=student)
    check_choice("version", version, VERSIONS)
    first = teacher.argmax(dim=1, keepdim=True)
    rival: Callable[[Tensor], Tensor] = (lambda z: z.logsumexp(dim=1)) if version == "log_odds" else _largest

    def sure(z: Tensor) -> Tensor:
        others = z.scatter(1, first, -torch.inf)
        return (z.gather(1, first).squeeze(1) - rival(others)).clamp(-BOUND, BOUND)

    return sure(teacher.double()), sure(student.double())


def _largest(z: Tensor) -> Tensor:
    return z.amax(dim=1)


def deviation(teacher: Logits, student: Logits, *, version: Version = "log_odds") -> Deviation:
    """Return how a student deviates from its teacher.

    u is chosen as the teacher's largest probability, so it is high by luck where it is low: two networks trained alike, of
    which neither taught the other, show v < u there too. Compare with such a pair, and with the roles exchanged.

    Args:
        teacher: ``(N, C)``.
        student: ``(N, C)``, on the same examples.
        version: as in `confidences`.

    Returns:
        Lines, shares and bins; a line through fewer than 3 points, or through equal ones, is NaN.

    Raises:
        ShapeError: if the shapes differ, or N is less than 12.
        ConfigError: for an unknown version.

    Source: Nagarajan et al. (2023).

    Differs: the paper's own numerical criterion is not known here; ours is the share below u in the lowest third.
    """
    x, y = confidences(teacher, student, version=version)
    n = len(x)
    if n < LEAST:
        raise ShapeError("a deviation", rule=f"needs at least {LEAST} examples", received=n)
    order = x.argsort(stable=True)
    low, high = order[: n // 3], order[n - n // 3 :]
    below = x < x.median() if n % 2 else x < x.sort().values[n // 2 - 1 : n // 2 + 1].mean()
    bins = tuple(
        (float(x[part].median()), float(y[part].median()), len(part)) for part in order.tensor_split(min(BINS, n // 3))
    )
    return Deviation(
        version, n, fit_line(x, y), fit_line(x[below], y[below]), fit_line(x[~below], y[~below]),
        _share(y[low] < x[low]), _share(y[high] > x[high]), bins,
    )  # fmt: skip


def deviations(
    teacher: Logits, student: Logits, labels: Labels, *, version: Version = "log_odds"
) -> dict[str, Deviation]:
    """Return the deviation on all examples, and apart where the teacher is right and where it is wrong.

    Args:
        teacher: ``(N, C)``.
        student: ``(N, C)``.
        labels: ``(N,)``.
        version: as in `confidences`.

    Returns:
        ``all``, ``teacher right`` and ``teacher wrong``; a part with fewer than 12 examples is left out.

    Raises:
        ShapeError: if the shapes differ, or there are fewer than 12 examples in all.
        ConfigError: for an unknown version.
    """
    check_labels(labels, examples=teacher.shape[0], classes=teacher.shape[1])
    right = teacher.argmax(dim=1) == labels
    found = {"all": deviation(teacher, student, version=version)}
    for name, rows in (("teacher right", right), ("teacher wrong", ~right)):
        if int(rows.sum()) >= LEAST:
            found[name] = deviation(teacher[rows], student[rows], version=version)
    return found


def fit_line(x: PerExample, y: PerExample) -> Line:
    r"""Return the lines of least squares and of least orthogonal distances.

    .. math:: m = \frac{s_{xy}}{s_{xx}}, \qquad
              m_\perp = \frac{s_{yy} - s_{xx} + \sqrt{(s_{yy} - s_{xx})^2 + 4 s_{xy}^2}}{2 s_{xy}}

    Args:
        x: ``(N,)``.
        y: ``(N,)``.

    Returns:
        Both slopes with 95% intervals over 200 Poisson resamples of the points; NaN for fewer than 3 points or equal x.

    Example:
        >>> line = fit_line(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 5.0]))
        >>> round(line.slope.mean, 6), round(line.intercept, 6), round(line.orthogonal.mean, 6)
        (2.0, 1.0, 2.0)

    Source: Deming (1943) for the second, with equal scatter of both.
    """
    a, b = x.double().numpy(), y.double().numpy()
    n = a.size
    if n < 3 or np.ptp(a) == 0:
        none = Estimate(NAN, NAN, NAN, n)
        return Line(none, NAN, none, NAN)
    centre = a.mean(), b.mean()
    a, b = a - centre[0], b - centre[1]
    products = np.stack([np.ones(n), a, b, a * a, a * b, b * b], axis=1)
    rng = numpy_stream(0, "deviation")
    sums = np.stack([rng.poisson(1.0, n) @ products for _ in range(RESAMPLES)])
    own = _slopes(products.sum(axis=0)[None])[:, 0]
    draws = _slopes(sums)
    slope, orthogonal = (_estimate(float(m), resampled, n) for m, resampled in zip(own, draws, strict=True))
    through = [float(centre[1] - e.mean * centre[0]) for e in (slope, orthogonal)]
    return Line(slope, through[0], orthogonal, through[1])


def _slopes(sums: np.ndarray) -> np.ndarray:
    """Return both slopes ``(2, R)`` from ``(R, 6)`` sums of 1, x, y, xx, xy, yy; NaN where a slope is not defined."""
    n, x, y, xx, xy, yy = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        sxx, sxy, syy = xx - x * x / n, xy - x * y / n, yy - y * y / n
        least = sxy / np.where(sxx > 0, sxx, np.nan)
        difference = syy - sxx
        root = np.sqrt(difference**2 + 4 * sxy**2)
        # Two forms of the same number: each is exact where the other subtracts what is almost equal.
        orthogonal = np.where(difference < 0, 2 * sxy / (root - difference), (root + difference) / (2 * sxy))
        return np.stack([least, orthogonal])


def _estimate(value: float, draws: np.ndarray, n: int) -> Estimate:
    known = draws[np.isfinite(draws)]
    if known.size < 2:
        return Estimate(value, NAN, NAN, n)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), n)


def _share(holds: Tensor) -> Estimate:
    """Return a share with Wilson's interval, which is not empty where all or none hold."""
    count, n = int(holds.sum()), len(holds)
    interval = binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return Estimate(count / n, float(interval.low), float(interval.high), n)
