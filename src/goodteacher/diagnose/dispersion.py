"""How predictions are spread: within a class, between classes, over augmented views; and Murphy's split of their score.

Legend: N examples, C classes, V views; p = softmax(z), y label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from goodteacher.base.checks import check_float, check_labels, check_logits, check_simplex
from goodteacher.base.errors import DataError, ShapeError, check_range
from goodteacher.base.probability import brier_score, entropy, kl, log_probabilities, log_soften
from goodteacher.base.types import Labels, Logits, PerExample, Probabilities


@dataclass(frozen=True)
class ConditionalInformation:
    """How much a prediction says of its example beyond the label.

    Attributes:
        cmi: conditional mutual information, nats; 0 where all examples of a class have one prediction.
        separation: mean cross-entropy between predictions of different classes, nats.
        ncmi: their ratio; NaN where every example has one and the same certain prediction, and nothing is separated.
    """

    cmi: float
    separation: float
    ncmi: float


def conditional_mutual_information(
    logits: Logits, labels: Labels, *, leave_one_out: bool = True
) -> ConditionalInformation:
    r"""Return the conditional mutual information of input and prediction given the label, and its ratio to the separation.

    .. math:: \mathrm{CMI} = \frac{1}{N} \sum_n \mathrm{KL}(p_n \Vert Q_{y_n}), \quad
              \Gamma = \operatorname*{mean}_{n, m:\, y_n \ne y_m} \Big( -\sum_c p_{nc} \log p_{mc} \Big), \quad
              \mathrm{NCMI} = \mathrm{CMI} / \Gamma

    Args:
        logits: ``(N, C)`` on held-out examples.
        labels: ``(N,)``.
        leave_one_out: whether Q is the mean over the *other* examples of the class; a class of one is left out. With the example
            itself in it, a class of few looks more alike than it is.

    Returns:
        CMI, Γ and NCMI.

    Raises:
        ShapeError: for shapes, types or labels that do not fit.
        DataError: without two classes, or without two examples of a class.

    Example:
        >>> z = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]]).log()
        >>> found = conditional_mutual_information(z, torch.tensor([0, 0, 1, 1]))
        >>> abs(found.cmi) < 1e-7, round(found.separation, 4)
        (True, 1.1116)

    Source: Yang et al. (2023); Ye et al. (2024).
    """
    check_logits(logits=logits)
    check_labels(labels, examples=logits.shape[0], classes=logits.shape[1])
    log_p = log_soften(logits.double())
    p, classes = log_p.exp(), logits.shape[1]
    count = torch.bincount(labels, minlength=classes).double()
    sums = torch.zeros(classes, classes, dtype=torch.float64).index_add_(0, labels, p)
    if int((count > 0).sum()) < 2 or (leave_one_out and float(count.max()) < 2):
        rule = "needs two classes, and two examples of a class"
        raise DataError("conditional information", rule=rule, received=f"{count.int().tolist()} examples per class")
    left_out = int(leave_one_out)
    size = count[labels]
    centres = (sums[labels] - left_out * p) / (size - left_out).clamp_min(1)[:, None]
    each = kl(log_p, log_probabilities(centres))[size > left_out]
    # Sums over all pairs, less those over pairs of one class, without ever forming the pairs.
    logs = torch.zeros_like(sums).index_add_(0, labels, log_p)
    total = (sums * logs).sum() - (sums.sum(dim=0) * logs.sum(dim=0)).sum()
    separation = float(total / (count.sum() ** 2 - count.square().sum()))
    cmi = float(each.mean())
    return ConditionalInformation(cmi, separation, cmi / separation if separation > 0 else math.nan)


def spread(logits: Logits, *, temperature: float = 1.0) -> dict[str, PerExample]:
    r"""Return how each prediction is spread over the classes, at the temperature actually used.

    .. math:: H = -\sum_c p_c \log p_c, \quad e^H, \quad \max_c p_c, \quad \sigma = \mathrm{std}\{p_c : c \ne \arg\max p\}

    Args:
        logits: ``(N, C)``.
        temperature: T.

    Returns:
        ``entropy`` (nats), ``effective_classes``, ``top_probability`` and ``secondary_deviation`` (divided by C − 1; 0 where
        C = 2), each ``(N,)`` float64.

    Raises:
        ShapeError: for shapes, types or values that do not fit.

    Example:
        >>> {name: round(value.item(), 4) for name, value in spread(torch.tensor([[0.5, 0.4, 0.1]]).log()).items()}
        {'entropy': 0.9433, 'effective_classes': 2.5686, 'top_probability': 0.5, 'secondary_deviation': 0.15}

    Source: Tan & Liu (2022) for σ, the dispersion of secondary probabilities.
    """
    check_logits(logits=logits)
    log_p = log_soften(logits.double(), temperature)
    p = log_p.exp()
    top = p.argmax(dim=1, keepdim=True)
    chosen = torch.zeros_like(p, dtype=torch.bool).scatter_(1, top, True)
    secondary = p[~chosen].reshape(len(p), -1)
    uncertainty = entropy(log_p)
    return {
        "entropy": uncertainty,
        "effective_classes": uncertainty.exp(),
        "top_probability": p.gather(1, top).squeeze(1),
        "secondary_deviation": secondary.std(dim=1, correction=0),
    }


def view_consistency(logits: Tensor) -> dict[str, PerExample]:
    r"""Return how much predictions change between augmented views of the same example.

    .. math:: \frac{1}{V} \sum_v \| p_v - \bar p \|^2, \qquad
              1 - \sum_c \frac{n_c (n_c - 1)}{V (V - 1)}

    Args:
        logits: ``(V, N, C)``, at least two views.

    Returns:
        ``variance`` over views, and ``disagreement``: the share of pairs of views whose top classes differ (n_c of V views have
        top class c), which does not depend on the number of views but for chance; each ``(N,)`` float64.

    Raises:
        ShapeError: for shapes, types or values that do not fit, or fewer than two views.

    Example:
        >>> found = view_consistency(torch.tensor([[[0.75, 0.25]], [[0.25, 0.75]]]).log())
        >>> {name: round(value.item(), 4) for name, value in found.items()}
        {'variance': 0.125, 'disagreement': 1.0}

    Source: Dong, Liu & Shang (2024) penalise the like over the course of training; here it is over views.
    """
    check_float(views=logits)
    if logits.dim() != 3 or logits.shape[0] < 2:
        rule = "must have shape (V, N, C) with at least two views"
        raise ShapeError("views", rule=rule, received=f"shape {tuple(logits.shape)}")
    views, _, classes = logits.shape
    p = log_soften(logits.double()).exp()
    variance = (p - p.mean(dim=0)).square().sum(dim=-1).mean(dim=0)
    count = torch.nn.functional.one_hot(logits.argmax(dim=-1), classes).sum(dim=0).double()
    agreement = (count * (count - 1)).sum(dim=-1) / (views * (views - 1))
    return {"variance": variance, "disagreement": 1 - agreement}


@dataclass(frozen=True)
class MurphySplit:
    """The Brier score in parts: ``brier = reliability - resolution + uncertainty + within``.

    Attributes:
        brier: mean score.
        reliability: squared distance of predicted probabilities to observed frequencies; 0 is calibrated.
        resolution: squared distance of observed frequencies to the base rates; more is better.
        uncertainty: score of the base rates, which no teacher changes.
        within: what binning hides: predictions that differ within a bin.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def murphy_split(p: Probabilities, labels: Labels, *, bins: int = 15) -> MurphySplit:
    r"""Return Murphy's split of the Brier score, class by class over bins of equal width, summed over classes.

    .. math:: \sum_c \Big[ \sum_k \tfrac{n_{ck}}{N} (\bar p_{ck} - \bar o_{ck})^2
              - \sum_k \tfrac{n_{ck}}{N} (\bar o_{ck} - \bar o_c)^2 + \bar o_c (1 - \bar o_c) \Big]

    Args:
        p: ``(N, C)`` probabilities on held-out examples.
        labels: ``(N,)``.
        bins: of each class's probability.

    Returns:
        The parts. With few examples a bin both reliability and resolution are biased upwards.

    Raises:
        ShapeError: for shapes, types or labels that do not fit.
        ConfigError: for fewer than one bin.

    Example:
        >>> parts = murphy_split(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 0, 1]))
        >>> parts.reliability, parts.resolution, parts.uncertainty, parts.brier
        (0.0, 0.0, 0.375, 0.375)

    Source: Murphy (1973); Stephenson, Coelho & Jolliffe (2008) for what is left within bins.
    """
    check_range("bins", bins, low=1)
    check_simplex(p=p)
    check_labels(labels, examples=p.shape[0], classes=p.shape[1])
    p = p.double()
    hit = torch.nn.functional.one_hot(labels, p.shape[1]).double()
    place = (p * bins).long().clamp(0, bins - 1)
    count, forecast, observed = (_sums(place, x, bins) for x in (torch.ones_like(p), p, hit))
    share, size = count / len(p), count.clamp_min(1)
    rate = hit.mean(dim=0)
    reliability = float((share * (forecast / size - observed / size).square()).sum())
    resolution = float((share * (observed / size - rate).square()).sum())
    uncertainty = float((rate * (1 - rate)).sum())
    brier = float(brier_score(p, labels).mean())
    return MurphySplit(brier, reliability, resolution, uncertainty, brier - (reliability - resolution + uncertainty))


def _sums(place: Tensor, values: Tensor, bins: int) -> Tensor:
    """Return sums of values by bin and class, ``(bins, C)``."""
    return torch.zeros(bins, values.shape[1], dtype=torch.float64).scatter_add_(0, place, values)
