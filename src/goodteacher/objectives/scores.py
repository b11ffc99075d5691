"""Scores a teacher can be trained with: functions of logits and labels, and the Brier score made trainable.

Legend: N examples, C classes; z logits, p = softmax(z), y label, e_y its one-hot vector.
"""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from goodteacher.base.checks import check_labels, check_logits
from goodteacher.base.errors import check_choice, check_range
from goodteacher.base.probability import brier_score, log_soften, nll, one_hot, reduce
from goodteacher.base.probability import cross_entropy as expected_nll
from goodteacher.base.types import Batch, Labels, Logits, Loss, Needs, Output, Progress, Reduction, Terms

PerClass = Literal["sum", "mean"]


def _check(logits: Logits, labels: Labels) -> None:
    check_logits(logits=logits)
    check_labels(labels, examples=logits.shape[0], classes=logits.shape[1])


def cross_entropy(logits: Logits, labels: Labels, *, smoothing: float = 0.0, reduction: Reduction = "mean") -> Tensor:
    r"""Cross-entropy to the label, optionally smoothed.

    .. math:: \ell_n = -\sum_c t_{nc} \log p_{nc}, \quad t_n = (1 - \varepsilon) e_{y_n} + \varepsilon / C

    Args:
        logits: ``(N, C)``, unnormalised; receives the gradient.
        labels: ``(N,)`` int64 in [0, C).
        smoothing: ε in [0, 1), mass spread evenly over *all* C classes.
        reduction: over the batch.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats.

    Raises:
        ShapeError: for shapes, types, labels or values that do not fit.
        ConfigError: if ε is out of range.

    Example:
        >>> cross_entropy(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor(0.6931)

    Source: Szegedy et al. (2016), section 7, for the smoothing.
    """
    _check(logits, labels)
    check_range("smoothing", smoothing, low=0.0, high=1.0, open_high=True)
    log_p = log_soften(logits)
    if smoothing == 0.0:
        return reduce(nll(log_p, labels), reduction)
    target = one_hot(labels, logits.shape[1]).to(log_p.dtype) * (1 - smoothing) + smoothing / logits.shape[1]
    return reduce(expected_nll(target, log_p), reduction)


def brier(logits: Logits, labels: Labels, *, per_class: PerClass = "sum", reduction: Reduction = "mean") -> Tensor:
    r"""Brier score of the softmax: the squared distance to the one-hot label.

    .. math:: \ell_n = \sum_c (p_{nc} - [c = y_n])^2

    A strictly proper score: over fresh labels its mean is :math:`E\|p - p^*\|^2` plus a constant.

    Args:
        logits: ``(N, C)``, unnormalised; receives the gradient ``2 p ⊙ (d - ⟨p, d⟩)`` with ``d = p - e_y``.
        labels: ``(N,)`` int64 in [0, C).
        per_class: ``sum`` as written, in [0, 2]; ``mean`` divides by C.
        reduction: over the batch.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``.

    Raises:
        ShapeError: for shapes, types, labels or values that do not fit.
        ConfigError: for an unknown ``per_class``.

    Example:
        >>> brier(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor(0.5000)

    Source: Brier (1950); Hamidi et al. (2024), theorem 4.1; ``mean`` is the form of their toy code.
    """
    _check(logits, labels)
    check_choice("per_class", per_class, ("sum", "mean"))
    score = brier_score(log_soften(logits).exp(), labels)
    return reduce(score / logits.shape[1] if per_class == "mean" else score, reduction)


def gradient_ratio(logits: Logits, labels: Labels) -> Tensor:
    r"""Size of cross-entropy's gradient in the logits over that of the Brier score's, on a batch.

    .. math:: \sqrt{\frac{\sum_n \|p_n - e_{y_n}\|^2}{\sum_n \|2 p_n \odot (d_n - \langle p_n, d_n \rangle)\|^2}},
              \quad d_n = p_n - e_{y_n}

    Args:
        logits: ``(N, C)``, unnormalised; treated as constant.
        labels: ``(N,)`` int64 in [0, C).

    Returns:
        Scalar: C/2 where all predictions are uniform, about 1/2 where they are right and sure; at most 10,000, where all are
        wrong and sure and the Brier score has no gradient to speak of.

    Raises:
        ShapeError: for shapes, types, labels or values that do not fit.

    Example:
        >>> gradient_ratio(torch.zeros(2, 10), torch.tensor([0, 1]))
        tensor(5.)

    Source: the two gradients; the scaling is this package's own.
    """
    _check(logits, labels)
    p = log_soften(logits.detach()).exp()
    d = p - one_hot(labels, logits.shape[1]).to(p.dtype)
    own = 2 * p * (d - (p * d).sum(dim=1, keepdim=True))
    size = d.square().sum().sqrt()
    return torch.where(size > 0, size / own.square().sum().sqrt().clamp_min(1e-4 * size), torch.ones_like(size))


@final
class Brier(Loss):
    """Brier score of the softmax, scaled so that recipes made for cross-entropy train it; see `brier`.

    At the start, when p = 1/C, the gradient of the score is 2/C times that of cross-entropy, and stays several times smaller
    while predictions are spread out: with a hundred classes a network stands still for thousands of steps. ``scale: auto``
    multiplies each batch's score by the ratio of the two gradients' sizes, so that only the direction is Brier's. The
    warm-up helps at a hundred and a thousand classes and harms nowhere (benchmarks/brier_default.py). ``scale: 1,
    warmup: 0`` is the bare score.

    Args:
        scale: what the score is multiplied by: a number, or ``auto``.
        warmup: share of training in which cross-entropy fades linearly into the scaled score, in [0, 1]; afterwards the
            score alone is minimised.
        per_class: ``sum`` or ``mean`` over classes; ``auto`` makes them the same.
    """

    needs = Needs(weighs_classes=True)
    advice = "use scale: auto, a longer warmup, or per_class: sum"

    def __init__(
        self, *, scale: float | Literal["auto"] = "auto", warmup: float = 0.6, per_class: PerClass = "sum"
    ) -> None:
        super().__init__()
        check_choice("per_class", per_class, ("sum", "mean"))
        if not isinstance(scale, str):
            check_range("scale", scale, low=0.0, open_low=True)
        check_range("warmup", warmup, low=0.0, high=1.0)
        self.scale, self.warmup, self.per_class = scale, warmup, per_class

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``brier`` and, while warming up, ``cross_entropy``."""
        share = 1.0 if self.warmup == 0 else min(1.0, progress.fraction / self.warmup)
        score = batch.weighed_mean(brier(network.logits, batch.labels, per_class=self.per_class, reduction="none"))
        scale: float | Tensor
        if isinstance(self.scale, str):
            classes = network.logits.shape[1] if self.per_class == "mean" else 1
            scale = classes * gradient_ratio(network.logits, batch.labels)
        else:
            scale = self.scale
        if share == 1.0:
            return {"brier": scale * score}
        return {
            "brier": share * scale * score,
            "cross_entropy": (1 - share)
            * batch.weighed_mean(cross_entropy(network.logits, batch.labels, reduction="none")),
        }


def brier_logits(
    logits: Logits,
    labels: Labels,
    *,
    target: float = 1.0,
    true_weight: float = 1.0,
    per_class: PerClass = "mean",
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Squared error of the raw logits to a scaled one-hot label.

    .. math:: \ell_n = \sum_c k_{nc} (z_{nc} - M [c = y_n])^2, \quad k_{nc} = k \text{ if } c = y_n \text{ else } 1

    The estimate of p* is ``z / M`` itself, not ``softmax(z)``: see the target map ``linear``.

    Args:
        logits: ``(N, C)``; receives the gradient.
        labels: ``(N,)`` int64 in [0, C).
        target: M > 0, what the true logit is pulled to; 30 for hundreds of classes.
        true_weight: k > 0 of the true class; 15 for hundreds of classes.
        per_class: ``mean`` divides the sum over classes by C.
        reduction: over the batch.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``.

    Raises:
        ShapeError: for shapes, types, labels or values that do not fit.
        ConfigError: for an option out of range.

    Example:
        >>> brier_logits(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor(0.5000)

    Source: Hui & Belkin (2021), section 2; the released code of Hamidi et al. (2024) means M = k = 1.
    """
    _check(logits, labels)
    check_range("target", target, low=0.0, open_low=True)
    check_range("true_weight", true_weight, low=0.0, open_low=True)
    check_choice("per_class", per_class, ("sum", "mean"))
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    hit = one_hot(labels, logits.shape[1]).to(wide.dtype)
    score = ((1 + (true_weight - 1) * hit) * (wide - target * hit).square()).sum(dim=-1)
    return reduce(score / logits.shape[1] if per_class == "mean" else score, reduction)


def focal(logits: Logits, labels: Labels, *, gamma: float = 2.0, reduction: Reduction = "mean") -> Tensor:
    r"""Focal loss: cross-entropy that eases off on examples already right.

    .. math:: \ell_n = -(1 - p_{ny})^\gamma \log p_{ny}

    Args:
        logits: ``(N, C)``; receives the gradient.
        labels: ``(N,)`` int64 in [0, C).
        gamma: γ ≥ 0; 0 is cross-entropy. Not a proper score for γ > 0: its optimum is flatter than p*.
        reduction: over the batch.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats.

    Raises:
        ShapeError: for shapes, types, labels or values that do not fit.
        ConfigError: if γ is negative.

    Example:
        >>> focal(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor(0.1733)

    Source: Lin et al. (2017), equation 4.
    """
    _check(logits, labels)
    check_range("gamma", gamma, low=0.0)
    loss = nll(log_soften(logits), labels)
    # 1 - p_y from the log, with its gradient finite where p_y rounds to 1.
    miss = -torch.expm1(-loss)
    return reduce(miss.clamp_min(torch.finfo(loss.dtype).tiny) ** gamma * loss, reduction)
