"""Calibration: expected calibration errors, reliability curves, and scores after a cross-fitted temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from goodteacher.base.checks import check_labels
from goodteacher.base.errors import DataError, check_choice, check_range
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.base.seeds import torch_stream
from goodteacher.base.types import Labels, Logits, PerExample, Probabilities
from goodteacher.maps.temperature import Score, fit_temperature

Binning = Literal["width", "mass"]


@dataclass(frozen=True)
class Reliability:
    """A reliability curve.

    Attributes:
        confidence: ``(M,)`` mean top probability in each bin that holds any example.
        accuracy: ``(M,)`` share of them that are right.
        share: ``(M,)`` share of all examples in the bin.
    """

    confidence: Tensor
    accuracy: Tensor
    share: Tensor


def reliability(p: Probabilities, labels: Labels, *, bins: int = 15, binning: Binning = "width") -> Reliability:
    """Return the reliability curve of the top probability.

    Args:
        p: ``(N, C)`` probabilities.
        labels: ``(N,)``.
        bins: M.
        binning: ``width``: bins of equal width on [0, 1]; ``mass``: bins of equally many examples.

    Returns:
        The curve; empty bins are left out.

    Raises:
        ConfigError: for an unknown binning or fewer than one bin.

    Source: Guo et al. (2017), section 2; equal mass: Nguyen & O'Connor (2015).
    """
    check_choice("binning", binning, ("width", "mass"))
    check_range("bins", bins, low=1)
    check_labels(labels, examples=p.shape[0], classes=p.shape[1])
    confidence, prediction = p.double().max(dim=1)
    right = (prediction == labels).double()
    if binning == "width":
        place = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    else:
        order = confidence.argsort(stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order)) * min(bins, len(order)) // len(order)
    count = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, torch.ones_like(right))
    full = count > 0
    sums = [torch.zeros(bins, dtype=torch.float64).index_add_(0, place, x)[full] for x in (confidence, right)]
    return Reliability(sums[0] / count[full], sums[1] / count[full], count[full] / len(labels))


def expected_calibration_error(
    p: Probabilities, labels: Labels, *, bins: int = 15, binning: Binning = "width"
) -> float:
    r"""Return the expected calibration error of the top probability.

    .. math:: \mathrm{ECE} = \sum_m \frac{|B_m|}{N} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|

    Args:
        p: ``(N, C)`` probabilities.
        labels: ``(N,)``.
        bins: M.
        binning: ``width`` or ``mass``.

    Returns:
        In [0, 1]. Biased upwards for few examples: a perfect network shows about 0.02 at N = 1000.

    Example:
        >>> expected_calibration_error(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 0, 1]))
        0.0

    Source: Naeini et al. (2015); Guo et al. (2017), equation 3.
    """
    curve = reliability(p, labels, bins=bins, binning=binning)
    return float((curve.share * (curve.accuracy - curve.confidence).abs()).sum())


def confidence_gaps(
    p: Probabilities, labels: Labels, *, bins: int = 15, binning: Binning = "width"
) -> tuple[float, float]:
    r"""Return the parts of the expected calibration error in bins that are too sure and in bins that are not sure enough.

    .. math:: \mathrm{ECE}_o = \sum_m \frac{|B_m|}{N} \max(\mathrm{conf}(B_m) - \mathrm{acc}(B_m), 0), \quad
              \mathrm{ECE}_u = \sum_m \frac{|B_m|}{N} \max(\mathrm{acc}(B_m) - \mathrm{conf}(B_m), 0)

    Args:
        p: ``(N, C)`` probabilities.
        labels: ``(N,)``.
        bins: M.
        binning: ``width`` or ``mass``.

    Returns:
        Over- and underconfidence, whose sum is the expected calibration error.

    Example:
        >>> p = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5], [0.5, 0.5]])
        >>> confidence_gaps(p, torch.tensor([0, 1, 0, 0]))
        (0.125, 0.25)

    Source: Guo et al. (2017), equation 3, split by the sign of the gap.
    """
    curve = reliability(p, labels, bins=bins, binning=binning)
    gap = curve.confidence - curve.accuracy
    return float((curve.share * gap.clamp_min(0)).sum()), float((curve.share * (-gap).clamp_min(0)).sum())


def classwise_calibration_error(p: Probabilities, labels: Labels, *, bins: int = 15) -> float:
    r"""Return the calibration error of every class's probability, averaged over classes.

    .. math:: \frac{1}{C} \sum_c \sum_k \frac{n_{ck}}{N} \left| \bar o_{ck} - \bar p_{ck} \right|

    Args:
        p: ``(N, C)`` probabilities.
        labels: ``(N,)``.
        bins: of equal width on each class's probability.

    Returns:
        In [0, 2/C]: with many classes most probabilities are near 0, and so is this.

    Raises:
        ConfigError: for fewer than one bin.

    Example:
        >>> classwise_calibration_error(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 1, 1]))
        0.25

    Source: Kull et al. (2019), section 2; Nixon et al. (2019).
    """
    check_range("bins", bins, low=1)
    check_labels(labels, examples=p.shape[0], classes=p.shape[1])
    p = p.double()
    place = (p * bins).ceil().long().sub(1).clamp(0, bins - 1)
    # The size of a bin cancels: its share times the gap of its means is the gap of its sums.
    gap = p - torch.nn.functional.one_hot(labels, p.shape[1])
    sums = torch.zeros(bins, p.shape[1], dtype=torch.float64).scatter_add_(0, place, gap)
    return float(sums.abs().sum() / p.numel())


def cross_fitted(
    logits: Logits, labels: Labels, *, score: Score = "brier", seed: int = 0
) -> tuple[PerExample, tuple[float, float]]:
    """Return each example's score after the temperature that minimises it, fitted on the *other* half.

    Scoring where the temperature was fitted would flatter the worst-calibrated teacher most.

    Args:
        logits: ``(N, C)`` on held-out examples.
        labels: ``(N,)``.
        score: ``brier`` or ``nll``.
        seed: of the halves; the same for all candidates, so that they are paired.

    Returns:
        ``(N,)`` scores in float64, and the temperatures of the two halves.

    Raises:
        DataError: for fewer than two examples.
    """
    n = len(labels)
    if n < 2:
        raise DataError("cross-fitting", rule="needs at least 2 held-out examples", received=n)
    order = torch.randperm(n, generator=torch_stream(seed, "cross-fitting", n))
    halves = order[: n // 2], order[n // 2 :]
    scores = torch.empty(n, dtype=torch.float64)
    temperatures = []
    for fitted_on, scored_on in (halves, halves[::-1]):
        temperature = fit_temperature(logits[fitted_on], labels[fitted_on], score=score)
        log_p = log_soften(logits[scored_on].double(), temperature)
        y = labels[scored_on]
        scores[scored_on] = brier_score(log_p.exp(), y) if score == "brier" else nll(log_p, y)
        temperatures.append(temperature)
    return scores, (temperatures[0], temperatures[1])
