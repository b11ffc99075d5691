"""Methods that compare logits.

Legend: N examples, C classes, T temperature; z^s, z^t logits of student and teacher, p and q their softened probabilities.
"""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from goodteacher.base.checks import check_labels, check_logits
from goodteacher.base.errors import ConfigError, check_choice, check_range
from goodteacher.base.probability import kl, log_soften, reduce, widen
from goodteacher.base.types import Batch, Labels, Logits, Loss, Needs, Output, Progress, Reduction, Terms


def kd(
    student_logits: Logits, teacher_logits: Logits, *, temperature: float = 4.0, reduction: Reduction = "mean"
) -> Tensor:
    r"""Softened Kullback-Leibler divergence from the teacher to the student.

    .. math:: \ell_n = T^2 \sum_c q_{nc} \log \frac{q_{nc}}{p_{nc}},
              \quad q = \mathrm{softmax}(z^t / T), \; p = \mathrm{softmax}(z^s / T)

    Args:
        student_logits: ``(N, C)``, unnormalised; receives the gradient.
        teacher_logits: ``(N, C)``, unnormalised; treated as constant.
        temperature: ``T > 0``, dimensionless. The factor T² keeps the gradient's size as T grows.
        reduction: over the batch; classes are always summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats times T². The mean is the loss of the CRD benchmark.

    Raises:
        ShapeError: if the shapes differ, or values are not finite.
        ConfigError: if T is not positive.

    Example:
        >>> z = torch.tensor([[2.0, 0.0]])
        >>> kd(z, z)
        tensor(0.)

    Source: Hinton, Vinyals & Dean (2015), section 2.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    teacher = log_soften(teacher_logits.detach(), temperature)
    student = log_soften(student_logits, temperature)
    return reduce(temperature**2 * kl(teacher, student), reduction)


def dkd(
    student_logits: Logits,
    teacher_logits: Logits,
    labels: Labels,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Decoupled distillation: the target's own share, and the other classes among themselves.

    .. math:: \ell_n = T^2 \left[ \alpha\, \mathrm{KL}(b^t_n \Vert b^s_n) + \beta\, \mathrm{KL}(\hat q_n \Vert \hat p_n) \right],
              \quad b = (p_y, 1 - p_y), \; \hat p_c = p_c / (1 - p_y) \text{ for } c \ne y

    With α = 1 and β = 1 - q_y, different for each example, it would be `kd` again.

    Args:
        student_logits: ``(N, C)``, unnormalised; receives the gradient.
        teacher_logits: ``(N, C)``, unnormalised; treated as constant.
        labels: ``(N,)`` int64 in [0, C).
        alpha: weight ≥ 0 of the target's share.
        beta: weight ≥ 0 of the other classes; 2 to 8 on CIFAR-100, by pair.
        temperature: ``T > 0``, dimensionless.
        reduction: over the batch; classes are always summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats times T².

    Raises:
        ShapeError: if shapes or labels do not fit, or values are not finite.
        ConfigError: if an option is out of range.

    Example:
        >>> z = torch.tensor([[2.0, 0.0, 1.0]])
        >>> dkd(z, z, torch.tensor([0]))
        tensor(0.)

    Source: Zhao et al. (2022), equations 5 to 7.

    Differs: released code hides the target by subtracting 1000 from its logit; here all stays in log space, which is the same
    number and also holds for large logits and half precision.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_labels(labels, examples=student_logits.shape[0], classes=student_logits.shape[1])
    check_range("alpha", alpha, low=0.0)
    check_range("beta", beta, low=0.0)
    target_t, others_t = _decouple(log_soften(teacher_logits.detach(), temperature), labels)
    target_s, others_s = _decouple(log_soften(student_logits, temperature), labels)
    return reduce(temperature**2 * (alpha * kl(target_t, target_s) + beta * kl(others_t, others_s)), reduction)


def _decouple(log_p: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
    """Return ``(N, 2)`` logs of target against the rest, and ``(N, C - 1)`` logs of the rest among themselves."""
    column = torch.arange(log_p.shape[1] - 1, device=log_p.device)
    others = log_p.gather(1, column + (column >= labels[:, None]))
    rest = others.logsumexp(dim=1, keepdim=True)
    return torch.cat([log_p.gather(1, labels[:, None]), rest], dim=1), others - rest


def standardise(logits: Logits) -> Logits:
    r"""Logits brought to mean 0 and standard deviation 1 over the classes, to be handed to `kd` or `dkd`.

    .. math:: \tilde z_c = \frac{z_c - \bar z}{\sigma(z) + 10^{-7}},
              \quad \sigma(z)^2 = \frac{1}{C - 1} \sum_c (z_c - \bar z)^2

    Afterwards neither the size nor the spread of the teacher's logits has to be matched, only their order and proportions:
    ``kd(standardise(student), standardise(teacher), temperature=2)``.

    Args:
        logits: ``(N, C)``; the gradient passes through.

    Returns:
        ``(N, C)``, dimensionless; zeros where all logits of an example are equal.

    Raises:
        ShapeError: if the shape does not fit, or values are not finite.

    Example:
        >>> standardise(torch.tensor([[1.0, 3.0, 5.0]]))
        tensor([[-1.,  0.,  1.]])

    Source: Sun et al. (2024), algorithm 1.
    """
    check_logits(logits=logits)
    wide = widen(logits)
    return (wide - wide.mean(dim=-1, keepdim=True)) / (wide.std(dim=-1, keepdim=True) + 1e-7)


@final
class DKD(Loss):
    """Decoupled distillation, growing linearly over the first epochs; see `dkd`.

    Args:
        alpha: weight of the target's share.
        beta: weight of the other classes.
        temperature: T > 0.
        warmup: epochs until full weight; epoch e (from 1) has weight min(e / warmup, 1).
    """

    needs = Needs(uses_teacher=True)

    def __init__(self, *, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0, warmup: int = 20) -> None:
        super().__init__()
        check_range("alpha", alpha, low=0.0)
        check_range("beta", beta, low=0.0)
        check_range("temperature", temperature, low=0.0, open_low=True)
        check_range("warmup", warmup, low=0.0)
        self.alpha, self.beta, self.temperature, self.warmup = alpha, beta, temperature, warmup

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``dkd``."""
        assert teacher is not None, "the plan refuses dkd without a teacher"
        loss = dkd(
            network.logits,
            teacher.logits,
            batch.labels,
            alpha=self.alpha,
            beta=self.beta,
            temperature=self.temperature,
        )
        return {"dkd": _grown(progress, self.warmup) * loss}


@final
class LogitStandardization(Loss):
    """`kd` or `dkd` of logits brought to mean 0 and standard deviation 1, weighted by α; see `standardise`.

    Args:
        base: ``kd`` or ``dkd``.
        alpha: weight of the whole term; 9 to 18.
        temperature: T > 0.
        beta: weight of the other classes, for ``dkd`` only; 2 if not given.
        warmup: epochs until full weight, for ``dkd`` only; 20 if not given.
    """

    needs = Needs(uses_teacher=True)

    def __init__(
        self,
        *,
        base: Literal["kd", "dkd"] = "kd",
        alpha: float = 9.0,
        temperature: float = 2.0,
        beta: float | None = None,
        warmup: int | None = None,
    ) -> None:
        super().__init__()
        check_choice("base", base, ("kd", "dkd"))
        check_range("alpha", alpha, low=0.0)
        check_range("temperature", temperature, low=0.0, open_low=True)
        for name, value in (("beta", beta), ("warmup", warmup)):
            if value is not None and base == "kd":
                raise ConfigError(name, rule="belongs to base: dkd", received=value, remedy="leave it out for base: kd")
            check_range(name, value or 0.0, low=0.0)
        self.base, self.alpha, self.temperature = base, alpha, temperature
        self.beta, self.warmup = 2.0 if beta is None else beta, 20 if warmup is None else warmup

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``logit_standardization``."""
        assert teacher is not None, "the plan refuses logit_standardization without a teacher"
        own, theirs = standardise(network.logits), standardise(teacher.logits)
        if self.base == "kd":
            loss = kd(own, theirs, temperature=self.temperature)
        else:
            loss = dkd(own, theirs, batch.labels, beta=self.beta, temperature=self.temperature)
            loss = loss * _grown(progress, self.warmup)
        return {"logit_standardization": self.alpha * loss}


def _grown(progress: Progress, warmup: int) -> float:
    """Return the share of full weight in this epoch."""
    return min(progress.epoch / warmup, 1.0) if warmup else 1.0
