"""Filter-KD, the student's side: distillation from a table of the teacher's averaged predictions.

Legend: N examples, C classes, T temperature; q rows of the table, p the student's probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor

from goodteacher.base.checks import check_float, check_logits, check_same_shape, check_simplex
from goodteacher.base.errors import check_range
from goodteacher.base.probability import kl, log_probabilities, log_soften, reduce
from goodteacher.base.types import Logits, Probabilities, Reduction


def filter_kd(
    student_logits: Logits,
    probabilities: Probabilities,
    *,
    temperature: float = 1.0,
    factor: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Divergence from a given distribution for each example, softened as logits would be.

    .. math:: \ell_n = a T^2 \sum_c \tilde q_{nc} \log \frac{\tilde q_{nc}}{p_{nc}},
              \quad \tilde q_{nc} \propto q_{nc}^{1/T}, \; p = \mathrm{softmax}(z^s / T)

    Args:
        student_logits: ``(N, C)``, unnormalised; receives the gradient.
        probabilities: q, ``(N, C)``, rows on the simplex, zeros allowed: averaged predictions, human votes, the true p*.
            Treated as constant.
        temperature: ``T > 0``, dimensionless, on both sides.
        factor: a ≥ 0; released code has 2.
        reduction: over the batch; classes are always summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats times a T².

    Raises:
        ShapeError: if shapes differ, values are not finite, or a row is no distribution.
        ConfigError: if an option is out of range.

    Example:
        >>> filter_kd(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
        tensor(0.6931)

    Source: Ren, Guo & Sutherland (2022), Filter-KD.

    Differs: released code multiplies by 2T²; here by T², as in `kd`, and ``factor=2`` gives theirs.
    """
    check_logits(student_logits=student_logits)
    check_same_shape(student_logits=student_logits, probabilities=probabilities)
    check_float(probabilities=probabilities)
    probabilities = probabilities.detach()
    # Rows that add up to 1 in float32 need not do so in half precision; softening normalises them again.
    check_simplex(max(1e-3, 2 * torch.finfo(probabilities.dtype).eps), probabilities=probabilities)
    check_range("factor", factor, low=0.0)
    teacher = log_soften(log_probabilities(probabilities), temperature)
    return reduce(factor * temperature**2 * kl(teacher, log_soften(student_logits, temperature)), reduction)
