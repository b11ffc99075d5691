"""Flow between layers: how one map of a network follows from the one before.

Legend: N examples, D features, H height, W width; F_1, F_2 consecutive maps of one network.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, check_range
from goodteacher.base.probability import reduce
from goodteacher.base.shapes import Shape, shapes_of
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Reduction, Setting, Tap, Terms
from goodteacher.methods.connectors import check_maps, check_widths, pool_to_smaller, total, wide

EXTRA_VECTORS = 3
"""How many more singular vectors the student offers than the teacher; Lee et al. (2018), as released."""
RBF_SCALE = 8.0


def fsp(
    student_map: Tensor,
    student_next: Tensor,
    teacher_map: Tensor,
    teacher_next: Tensor,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Mean squared difference between the flow matrices of student and teacher.

    .. math:: \ell_n = \frac{1}{D_1 D_2} \Vert G^s_n - G^t_n \Vert_F^2, \quad G_n = \frac{1}{HW} \sum_{hw}
              F_{1,n \cdot hw} F_{2,n \cdot hw}^\top

    Args:
        student_map: ``(N, D_1, H, W)``; receives the gradient.
        student_next: ``(N, D_2, H', W')``, the student's next map; receives the gradient.
        teacher_map: ``(N, D_1, ...)``; treated as constant. Of two consecutive maps the larger is average-pooled.
        teacher_next: ``(N, D_2, ...)``; treated as constant.
        reduction: over the batch; pairs of features are averaged.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; in fourth powers of the map's unit.

    Raises:
        ShapeError: unless all are maps of the same examples and finite, and student and teacher have equal widths.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 1, 2, 2)
        >>> fsp(one, 3 * one, one, one)
        tensor(4.)

    Source: Yim et al. (2017), equations 1 and 2.
    """
    check_maps(student_map=student_map, student_next=student_next, teacher_map=teacher_map, teacher_next=teacher_next)
    check_widths(student_map=student_map, teacher_map=teacher_map)
    check_widths(student_next=student_next, teacher_next=teacher_next)
    student = _flow(wide(student_map), wide(student_next))
    teacher = _flow(wide(teacher_map.detach()), wide(teacher_next.detach()))
    return reduce((student - teacher).square().mean(dim=(1, 2)), reduction)


def _flow(first: Tensor, second: Tensor) -> Tensor:
    """Return the flow matrices ``(N, D_1, D_2)``."""
    first, second = (x.flatten(2) for x in pool_to_smaller(first, second))
    return first @ second.transpose(1, 2) / first.shape[2]


@final
class FSP(Loss):
    """Flow from stem to first stage and from stage to stage, in a stage of initialisation, weighted by β; see `fsp`.

    After the initialisation the method has no term.

    Args:
        setting: supplies shapes, which must be of equal widths.
        beta: weight.
        initial_epochs: length of the initialisation.
    """

    def __init__(self, setting: Setting, *, beta: float = 1.0, initial_epochs: int = 30) -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        check_range("initial_epochs", initial_epochs, low=1)
        pairs = shapes_of(setting, "fsp", student="stem") + shapes_of(setting, "fsp", student="stages")
        _check_equal_widths("fsp", pairs)
        self.beta, maps = beta, frozenset[Tap]({"stem", "stages"})
        self.needs = Needs(maps, maps, uses_teacher=True, initial_epochs=initial_epochs)

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``fsp`` in the initialisation, summed over pairs of maps, and nothing afterwards."""
        if not progress.initial:
            return {}
        assert teacher is not None and network.stem is not None and teacher.stem is not None, "the loop serves needs"
        pairs = zip(pairwise((network.stem, *network.stages)), pairwise((teacher.stem, *teacher.stages)), strict=False)
        return {"fsp": self.beta * total([fsp(*s, *t) for s, t in pairs])}


def kdsvd(
    student_map: Tensor,
    student_next: Tensor,
    teacher_map: Tensor,
    teacher_next: Tensor,
    *,
    vectors: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Squared difference of a radial basis kernel between the leading singular vectors of consecutive maps.

    .. math:: \ell_n = \sum_{ijk} \bigl( \kappa(v^s_{1,ik}, v^s_{2,jk}) - \kappa(v^t_{1,ik}, v^t_{2,jk}) \bigr)^2,
              \quad \kappa(a, b) = e^{-(a - b)^2 / 8}

    The columns v_k are the right singular vectors of a map as a matrix ``(HW, D)``, times the teacher's singular values,
    which are scaled to a unit vector. The student offers three vectors more; for each of the teacher's the one that is most
    nearly parallel is taken and, where necessary, reversed.

    Args:
        student_map: ``(N, D_1, H, W)``; receives the gradient.
        student_next: ``(N, D_2, H', W')``, the student's next map; receives the gradient.
        teacher_map: ``(N, D_1, ...)``; treated as constant.
        teacher_next: ``(N, D_2, ...)``; treated as constant.
        vectors: how many of the teacher's singular vectors count, at least 1.
        reduction: over the batch; entries and vectors are summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; dimensionless, not changed by a positive factor on any map.

    Raises:
        ShapeError: unless all are maps of the same examples and finite, and student and teacher have equal widths.
        ConfigError: if fewer than one vector is asked for.

    Example:
        >>> import torch
        >>> x = torch.randn(2, 3, 4, 4)
        >>> kdsvd(x, x, x, x)
        tensor(0.)

    Source: Lee, Kim & Song (2018), singular vectors and their radial basis kernel.

    Differs: the sign of a singular vector is arbitrary; here its largest entry is positive. The gradient leaves out pairs of
    singular values that coincide, instead of replacing infinite losses by zero.
    """
    check_maps(student_map=student_map, student_next=student_next, teacher_map=teacher_map, teacher_next=teacher_next)
    check_widths(student_map=student_map, teacher_map=teacher_map)
    check_widths(student_next=student_next, teacher_next=teacher_next)
    check_range("vectors", vectors, low=1)
    first = _aligned(student_map, teacher_map, vectors)
    second = _aligned(student_next, teacher_next, vectors)
    # A shallow map may have fewer singular vectors than are asked for.
    k = min(first[1].shape[2], second[1].shape[2])
    student, teacher = (_kernel(a[..., :k], b[..., :k]) for a, b in zip(first, second, strict=True))
    return reduce((student - teacher).square().flatten(1).sum(dim=1), reduction)


def _aligned(student_map: Tensor, teacher_map: Tensor, vectors: int) -> tuple[Tensor, Tensor]:
    """Return the student's and the teacher's singular vectors ``(N, D, k)``, matched and scaled."""
    with torch.no_grad():
        teacher, values = _right_vectors(teacher_map.detach(), vectors)
        scale = values / torch.linalg.vector_norm(values, dim=1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    student, _ = _right_vectors(student_map, vectors + EXTRA_VECTORS)
    cosine = student.detach().transpose(1, 2) @ teacher
    nearest = cosine.abs().argmax(dim=1, keepdim=True)
    sign = torch.sign(cosine.gather(1, nearest))
    chosen = student.gather(2, nearest.expand(-1, student.shape[1], -1)) * sign
    return chosen * scale[:, None], teacher * scale[:, None]


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return torch.exp(-(first[:, :, None] - second[:, None]).square() / RBF_SCALE)


def _right_vectors(x: Tensor, vectors: int) -> tuple[Tensor, Tensor]:
    """Return the leading right singular vectors ``(N, D, k)`` and values ``(N, k)`` of maps ``(N, D, H, W)``."""
    rows = wide(x).flatten(2)
    norm = torch.linalg.vector_norm(rows.detach(), dim=(1, 2), keepdim=True)
    # The vectors do not depend on the scale; unit scale keeps the squares below from overflowing.
    rows = rows / norm.clamp_min(torch.finfo(rows.dtype).tiny)
    found: tuple[Tensor, Tensor] = _LeadingVectors.apply(rows @ rows.transpose(1, 2), min(vectors, *rows.shape[1:]))
    return found


class _LeadingVectors(torch.autograd.Function):
    """Leading eigenvectors and square roots of eigenvalues of symmetric matrices.

    The derivative of a vector is a sum over the others, divided by the distance of eigenvalues. Only leading vectors are
    differentiated, so the many eigenvalues that are zero in a deep map do no harm.
    """

    @staticmethod
    def forward(ctx: Any, gram: Tensor, vectors: int) -> tuple[Tensor, Tensor]:
        values, basis = torch.linalg.eigh(gram)
        values, basis = values.flip(1), basis.flip(2)
        largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
        basis = basis * torch.where(largest < 0, -1.0, 1.0).to(basis.dtype)
        ctx.save_for_backward(values, basis)
        ctx.vectors = vectors
        roots = values[:, :vectors].clamp_min(0).sqrt()
        ctx.mark_non_differentiable(roots)
        return basis[:, :, :vectors], roots

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        values, basis = ctx.saved_tensors
        gap = values[:, None, : ctx.vectors] - values[:, :, None]
        least = values[:, :1, None].abs() * torch.finfo(values.dtype).eps * values.shape[1]
        distinct = gap.abs() > least
        share = torch.where(distinct, 1 / torch.where(distinct, gap, torch.ones_like(gap)), torch.zeros_like(gap))
        inner = basis.transpose(1, 2) @ gradients[0] * share
        gram = basis @ inner @ basis[:, :, : ctx.vectors].transpose(1, 2)
        return (gram + gram.transpose(1, 2)) / 2, None


@final
class KDSVD(Loss):
    """Singular vectors from stage to stage, weighted by β; see `kdsvd`.

    Args:
        setting: supplies shapes, which must be of equal widths.
        beta: weight.
        vectors: how many of the teacher's singular vectors count.
    """

    needs = Needs(frozenset({"stages"}), frozenset({"stages"}), uses_teacher=True)

    def __init__(self, setting: Setting, *, beta: float = 1.0, vectors: int = 1) -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        check_range("vectors", vectors, low=1)
        self.beta, self.vectors = beta, vectors
        pairs = shapes_of(setting, "kdsvd", student="stages")
        _check_equal_widths("kdsvd", pairs)
        if len(pairs) < 2:
            raise ConfigError("method 'kdsvd'", rule="needs two stages", received=len(pairs))

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``kdsvd``, summed over pairs of stages."""
        assert teacher is not None, "the plan refuses kdsvd without a teacher"
        pairs = zip(pairwise(network.stages), pairwise(teacher.stages), strict=False)
        return {"kdsvd": self.beta * total([kdsvd(*s, *t, vectors=self.vectors) for s, t in pairs])}


def _check_equal_widths(method: str, pairs: list[tuple[Shape, Shape]]) -> None:
    widths = [(student[0], teacher[0]) for student, teacher in pairs]
    if any(s != t for s, t in widths):
        raise ConfigError(
            f"method '{method}'",
            rule="is defined for stages of equal widths in student and teacher",
            received=", ".join(f"{s} and {t}" for s, t in widths),
            remedy="choose networks of one family, or another method",
        )
