"""Methods that compare logits.

Legend: N examples, C classes, T temperature; z^s, z^t logits of student and teacher, p and q their softened probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from goodteacher.base.errors import check_logits, check_range
from goodteacher.base.probability import kl, log_soften, reduce
from goodteacher.base.types import Batch, Logits, Needs, Output, Progress, Reduction, Terms


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
        >>> import torch
        >>> z = torch.tensor([[2.0, 0.0]])
        >>> kd(z, z)
        tensor(0.)

    Source: Hinton, Vinyals & Dean (2015), section 2.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    teacher = log_soften(teacher_logits.detach(), temperature)
    student = log_soften(student_logits, temperature)
    return reduce(temperature**2 * kl(teacher, student), reduction)


@dataclass(frozen=True)
class KD:
    """Softened divergence to the teacher, weighted by α; see `kd`."""

    alpha: float = 0.9
    temperature: float = 4.0
    needs: ClassVar[Needs] = Needs(uses_teacher=True)

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, low=0.0)
        check_range("temperature", self.temperature, low=0.0, open_low=True)

    def __call__(self, student: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``kd``."""
        assert teacher is not None, "the plan refuses kd without a teacher"
        return {"kd": self.alpha * kd(student.logits, teacher.logits, temperature=self.temperature)}
