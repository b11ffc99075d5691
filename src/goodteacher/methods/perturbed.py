"""Perturbed distillation: the leading coefficients of the divergence's series are moved.

Legend: N examples, C classes, M coefficients; p^t, p^s probabilities of teacher and student.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from goodteacher.base.checks import check_logits, values_are_trusted
from goodteacher.base.errors import ShapeError
from goodteacher.base.probability import kl, log_soften, reduce
from goodteacher.base.types import Logits, Reduction

UNPERTURBED = (0.0, 0.0, 0.0, 0.0, 0.0)  # five coefficients are searched for; zeros are plain divergence
Coefficients = Sequence[float] | Sequence[Sequence[float]] | Tensor


def ptloss(
    student_logits: Logits, teacher_logits: Logits, *, coefficients: Coefficients, reduction: Reduction = "mean"
) -> Tensor:
    r"""Divergence to the teacher with a polynomial in the student's doubt added.

    .. math:: \ell_n = \mathrm{KL}(p^t_n \Vert p^s_n) + \sum_c p^t_{nc} \sum_{m=1}^{M} \varepsilon_{cm} (1 - p^s_{nc})^m

    Since :math:`-\log p = \sum_m (1 - p)^m / m`, it moves the first M coefficients 1/m of the series by ε. The student's optimum
    is then a *proxy teacher* q* instead of p^t: with M = 1, :math:`q^*_c = p^t_c / (\lambda - \varepsilon_1 p^t_c)`.

    Args:
        student_logits: ``(N, C)``, unnormalised; receives the gradient.
        teacher_logits: ``(N, C)``, unnormalised; treated as constant.
        coefficients: ε, ``(M,)`` shared by the classes, or ``(C, M)``; M ≥ 1.
        reduction: over the batch; classes are always summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats. It can be negative. Zeros give `kd` at T = 1.

    Raises:
        ShapeError: if shapes do not fit, or values are not finite.

    Example:
        >>> z = torch.tensor([[0.0, 0.0]])
        >>> ptloss(z, z, coefficients=[1.0])
        tensor(0.5000)

    Source: Zhang et al. (2023), from secondary sources; Leng et al. (2022) for one coefficient and one-hot teachers.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    log_q, log_p = log_soften(teacher_logits.detach()), log_soften(student_logits)
    try:
        epsilon = torch.as_tensor(coefficients, dtype=log_p.dtype, device=log_p.device)
    except (TypeError, ValueError) as error:
        rule = "must be numbers, or one list of equal length per class"
        raise ShapeError("coefficients", rule=rule, received=repr(coefficients)) from error
    _check_coefficients(epsilon, student_logits.shape[1])
    doubt = -torch.expm1(log_p)  # 1 - p without cancellation
    polynomial = torch.zeros_like(doubt)
    for column in epsilon.flip(-1).unbind(-1):
        polynomial = doubt * (column + polynomial)
    return reduce(kl(log_q, log_p) + (log_q.exp() * polynomial).sum(dim=-1), reduction)


def _check_coefficients(epsilon: Tensor, classes: int) -> None:
    shape = tuple(epsilon.shape)
    if not (len(shape) in (1, 2) and shape[-1] >= 1 and (len(shape) == 1 or shape[0] == classes)):
        rule = f"must have shape (M,) or ({classes}, M) with M >= 1"
        raise ShapeError("coefficients", rule=rule, received=f"shape {shape}")
    if not values_are_trusted() and not torch.isfinite(epsilon).all():
        raise ShapeError("coefficients", rule="must be finite", received="NaN or infinity")
