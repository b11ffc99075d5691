"""Attention transfer: where in its maps a network is active.

Legend: N examples, D features, H height, W width; F^s, F^t maps of student and teacher at one depth.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from goodteacher.base.errors import check_choice, check_range
from goodteacher.base.probability import reduce
from goodteacher.base.types import Reduction
from goodteacher.methods.connectors import check_maps, pool_to_smaller, wide

AttentionForm: TypeAlias = Literal["code", "paper"]


def at(
    student_map: Tensor,
    teacher_map: Tensor,
    *,
    power: float = 2.0,
    form: AttentionForm = "code",
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Distance between the attention maps of teacher and student.

    .. math:: \ell_n = \frac{1}{HW} \Bigl\Vert \frac{Q^s_n}{\Vert Q^s_n \Vert} - \frac{Q^t_n}{\Vert Q^t_n \Vert}
              \Bigr\Vert^2, \quad Q_{nhw} = \sum_d |F_{ndhw}|^p

    Args:
        student_map: ``(N, D, H, W)``; receives the gradient.
        teacher_map: ``(N, D', H', W')``; treated as constant. The larger of the two maps is average-pooled to the smaller.
        power: ``p >= 1``, dimensionless.
        form: ``code`` as above; ``paper`` is the norm of the difference, neither squared nor divided by HW.
        reduction: over the batch; places are averaged in ``code`` and summed in ``paper``.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; dimensionless, not changed by a positive factor on either map.

    Raises:
        ShapeError: unless both are maps of the same examples and finite.
        ConfigError: if p < 1 or the form is unknown.

    Example:
        >>> import torch
        >>> x = torch.tensor([[[[3.0, 4.0]]]])
        >>> at(x, x.flip(3), form="paper", power=1.0)
        tensor(0.2828)

    Source: Zagoruyko & Komodakis (2017), equation 2.

    Differs: ``code`` is the form behind the figures of the CRD benchmark (weight 1000), ``paper`` the equation's second term
    without its factor β/2. A weight for one means nothing for the other.
    """
    check_maps(student_map=student_map, teacher_map=teacher_map)
    check_range("power", power, low=1.0)
    check_choice("form", form, ("code", "paper"))
    student, teacher = pool_to_smaller(wide(student_map), wide(teacher_map.detach()))
    gap = _attention(student, power) - _attention(teacher, power)
    each = gap.square().mean(dim=1) if form == "code" else torch.linalg.vector_norm(gap, dim=1)
    return reduce(each, reduction)


def _attention(x: Tensor, power: float) -> Tensor:
    """Return attention ``(N, H W)`` as unit vectors; the mean over features points where their sum does."""
    return F.normalize(x.abs().pow(power).mean(dim=1).flatten(1), dim=1)
