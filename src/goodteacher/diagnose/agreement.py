"""Fidelity: how far a student answers as its teacher does."""

from __future__ import annotations

from dataclasses import dataclass

from goodteacher.base.checks import check_logits
from goodteacher.base.probability import kl, log_soften
from goodteacher.base.stats import Estimate, mean_interval
from goodteacher.base.types import Logits, PerExample


@dataclass(frozen=True)
class Fidelity:
    """How far a student answers as its teacher does on one split.

    Attributes:
        agreement: share of examples for which both name the same class.
        divergence: mean KL from teacher to student at T = 1, nats.
    """

    agreement: Estimate
    divergence: Estimate


def top1_agreement(teacher: Logits, student: Logits) -> PerExample:
    r"""Return whether teacher and student name the same class.

    .. math:: [\arg\max_c z^s_c = \arg\max_c z^t_c]

    Args:
        teacher: ``(N, C)``.
        student: ``(N, C)``.

    Returns:
        ``(N,)`` float64 of zeros and ones.

    Raises:
        ShapeError: if the shapes differ.

    Example:
        >>> import torch
        >>> top1_agreement(torch.eye(2), torch.tensor([[2.0, 1.0], [4.0, 3.0]])).tolist()
        [1.0, 0.0]

    Source: Stanton et al. (2021).
    """
    check_logits(teacher=teacher, student=student)
    return (teacher.argmax(dim=1) == student.argmax(dim=1)).double()


def predictive_kl(teacher: Logits, student: Logits) -> PerExample:
    r"""Return the divergence of the student's probabilities from the teacher's.

    .. math:: \mathrm{KL}(p^t \Vert p^s), \quad p = \mathrm{softmax}(z)

    Args:
        teacher: ``(N, C)``, what is handed over.
        student: ``(N, C)``.

    Returns:
        ``(N,)`` float64, nats.

    Raises:
        ShapeError: if the shapes differ.

    Example:
        >>> import torch
        >>> predictive_kl(torch.zeros(1, 2), torch.zeros(1, 2)).tolist()
        [0.0]

    Source: Stanton et al. (2021).
    """
    check_logits(teacher=teacher, student=student)
    return kl(log_soften(teacher.double()), log_soften(student.double()))


def fidelity(teacher: Logits, student: Logits) -> Fidelity:
    """Return agreement and divergence with 95% intervals over examples.

    Args:
        teacher: ``(N, C)``.
        student: ``(N, C)``, on the same examples.

    Returns:
        Both means; their intervals speak of these two networks on other examples, not of other seeds.

    Raises:
        ShapeError: if the shapes differ.

    Source: Stanton et al. (2021).
    """
    same, divergence = top1_agreement(teacher, student), predictive_kl(teacher, student)
    return Fidelity(mean_interval(same.tolist()), mean_interval(divergence.tolist()))
