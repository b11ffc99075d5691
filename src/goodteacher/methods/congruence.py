"""Correlation congruence: neighbours of the batch, or its kernel matrix, after both networks are embedded alike.

Legend: N examples, D features of the embedding, h^s, h^t the embedded vectors of student and teacher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, final

from torch import Tensor, nn

from goodteacher.base.checks import check_same_shape
from goodteacher.base.errors import ConfigError, check_choice, check_range
from goodteacher.base.probability import widen
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Setting, Terms
from goodteacher.methods.relations import check_embeddings, embeddings, unit


def cc(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    r"""Products of the two networks' differences at neighbouring examples of the batch.

    .. math:: L = \frac{1}{N - 1} \sum_{n=1}^{N-1} \sum_d \delta_{nd}\, \delta_{n+1,d}, \quad \delta = |h^s - h^t|

    Args:
        student_embedding: h^s, ``(N, D)``; receives the gradient.
        teacher_embedding: h^t, ``(N, D)``; receives the gradient too, because its linear embedding trains.

    Returns:
        Scalar; depends on the order of the batch. 0, with zero gradient, for a batch of one, which has no neighbours.

    Raises:
        ShapeError: if the shapes differ, or values are not finite.

    Example:
        >>> import torch
        >>> cc(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [5.0]]))
        tensor(3.)

    Source: RepDistiller, from the first author of Peng et al. (2019); the published figures of CC belong to it.

    Differs: the paper compares kernel matrices, which is `cc_kernel`; this pairwise form is the default of the method.
    """
    check_embeddings(student_embedding, teacher_embedding)
    check_same_shape(student_embedding=student_embedding, teacher_embedding=teacher_embedding)
    difference = (widen(student_embedding) - widen(teacher_embedding)).abs()
    return (difference[:-1] * difference[1:]).sum() / max(len(difference) - 1, 1)


def cc_kernel(
    student_embedding: Tensor,
    teacher_embedding: Tensor,
    *,
    sharpness: float = 0.4,
    order: int = 2,
) -> Tensor:
    r"""Squared distance between the batch's Gaussian kernel matrices, each by its Taylor series.

    .. math:: L = \frac{1}{N^2} \Vert K(h^s) - K(h^t) \Vert_F^2,
              \quad K_{ij} = e^{-2\gamma} \sum_{p=0}^{P} \frac{(2\gamma)^p}{p!} \langle h_i, h_j \rangle^p,
              \; \Vert h_i \Vert = 1

    Args:
        student_embedding: h^s, ``(N, D)``, brought to length 1; receives the gradient.
        teacher_embedding: h^t, ``(N, D)``, likewise; receives the gradient too, because its linear embedding trains.
        sharpness: γ > 0 of the kernel exp(-γ‖x - y‖²).
        order: P ≥ 1, terms kept beyond the constant.

    Returns:
        Scalar, dimensionless.

    Raises:
        ShapeError: if the shapes differ, or values are not finite.
        ConfigError: for an option out of range.

    Example:
        >>> import torch
        >>> cc_kernel(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor(0.1266)

    Source: Peng et al. (2019), section 3.

    Differs: torchdistill takes the vectors at their own length, though the factor exp(-2γ) presumes length 1, and the norm
    without its square.
    """
    check_embeddings(student_embedding, teacher_embedding)
    check_same_shape(student_embedding=student_embedding, teacher_embedding=teacher_embedding)
    _check_kernel(sharpness, order)
    own, theirs = widen(student_embedding), widen(teacher_embedding)
    return (_kernel(unit(own), sharpness, order) - _kernel(unit(theirs), sharpness, order)).square().mean()


def _check_kernel(sharpness: float, order: int) -> None:
    check_range("sharpness", sharpness, low=0.0, open_low=True)
    check_range("order", order, low=1)


def _kernel(h: Tensor, sharpness: float, order: int) -> Tensor:
    inner = 2 * sharpness * (h @ h.T)
    series = 1 + inner / order
    for power in range(order - 1, 0, -1):  # Horner's scheme
        series = 1 + inner / power * series
    return math.exp(-2 * sharpness) * series


@final
class CC(Loss):
    """Correlation congruence of two trained linear embeddings, weighted by β; see `cc` and `cc_kernel`.

    Args:
        setting: supplies the lengths of both networks' embeddings.
        beta: weight; 0.02 was published for ``pairs`` and is not to be carried over to ``kernel``.
        form: ``pairs`` for `cc`, ``kernel`` for `cc_kernel`.
        dimensions: D of the common space.
        sharpness: γ of the kernel.
        order: of its series.

    Raises:
        ConfigError: for an option out of range, or a setting without the shapes of the embeddings.

    Source: Peng et al. (2019); the embeddings of RepDistiller, where the teacher's trains too, so that both could collapse.
    """

    needs = Needs(network=frozenset({"embedding"}), teacher=frozenset({"embedding"}), uses_teacher=True)

    def __init__(
        self,
        setting: Setting,
        *,
        beta: float = 0.02,
        form: Literal["pairs", "kernel"] = "pairs",
        dimensions: int = 128,
        sharpness: float = 0.4,
        order: int = 2,
    ) -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        check_choice("form", form, ("pairs", "kernel"))
        check_range("dimensions", dimensions, low=1)
        _check_kernel(sharpness, order)
        self.beta, self.form, self.sharpness, self.order = beta, form, sharpness, order
        self.student = nn.Linear(_length(setting.network_shapes, "student"), dimensions)
        self.teacher = nn.Linear(_length(setting.teacher_shapes, "teacher"), dimensions)

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``cc``."""
        own, theirs = embeddings(network, teacher)
        check_embeddings(own, theirs)
        kind = self.student.weight.dtype
        own, theirs = self.student(own.to(kind)), self.teacher(theirs.detach().to(kind))
        if self.form == "kernel":
            return {"cc": self.beta * cc_kernel(own, theirs, sharpness=self.sharpness, order=self.order)}
        return {"cc": self.beta * cc(own, theirs)}


def _length(shapes: Mapping[str, tuple[tuple[int, ...], ...]], whose: str) -> int:
    if "embedding" not in shapes:
        rule = f"must know the length of the {whose}'s embedding"
        remedy = "pass Setting(network_shapes={'embedding': ((D,),)}, teacher_shapes=...)"
        raise ConfigError("the setting of 'cc'", rule=rule, received="no such shape", remedy=remedy)
    return int(shapes["embedding"][0][0])
