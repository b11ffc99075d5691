"""Methods that compare how the examples of a batch lie to each other: PKT, SP and RKD.

Legend: N examples, D features (the two networks' may differ); f^s, f^t embeddings or flattened maps of student and teacher.
All couple the batch, so that they return a scalar only. Correlation congruence is in `congruence`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from goodteacher.base.checks import check_float
from goodteacher.base.errors import ShapeError, check_range
from goodteacher.base.probability import widen
from goodteacher.base.types import Output


def check_embeddings(student_embedding: Tensor, teacher_embedding: Tensor) -> None:
    """Raise `ShapeError` unless both are float, finite and ``(N, D)`` with the same N ≥ 1."""
    check_float(student_embedding=student_embedding, teacher_embedding=teacher_embedding)
    own, theirs = tuple(student_embedding.shape), tuple(teacher_embedding.shape)
    if len(own) != 2 or len(theirs) != 2 or own[0] < 1 or own[0] != theirs[0]:
        rule = "must have shapes (N, D) with the same N >= 1"
        raise ShapeError("student_embedding and teacher_embedding", rule=rule, received=f"shapes {own} and {theirs}")


def unit(x: Tensor, *, extra: float = 0.0) -> Tensor:
    """Return vectors of length 1 along the last dimension, ``x / (‖x‖ + extra)``, and 0 for 0.

    The gradient at 0 is not divided by a tiny length: an example whose map has died, or two that coincide, must not throw the
    student out of its course.
    """
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / (length + extra).masked_fill(length == 0, 1.0)


def pkt(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    r"""Divergence between the distributions of each example over its batch, by cosine similarity.

    .. math:: L = \frac{1}{N^2} \sum_{ij} P^t_{ij} \log \frac{P^t_{ij} + \epsilon}{P^s_{ij} + \epsilon},
              \quad P_{ij} = \frac{S_{ij}}{\sum_k S_{ik}}, \; S_{ij} = \frac{1 + \cos(f_i, f_j)}{2}

    Args:
        student_embedding: ``(N, D)``; receives the gradient.
        teacher_embedding: ``(N, D')``; treated as constant.

    Returns:
        Scalar, nats over N: the mean over N² entries, so that at batch N the published strength is β N / 64. For a batch of
        one it is 0.

    Raises:
        ShapeError: if shapes do not fit, or values are not finite.

    Example:
        >>> f = torch.eye(2)
        >>> pkt(f, f)
        tensor(0.)

    Source: Passalis & Tefas (2018), section 3; ε = 1e-7 and the mean over N² of RepDistiller.
    """
    check_embeddings(student_embedding, teacher_embedding)
    p, q = _neighbours(widen(student_embedding)), _neighbours(widen(teacher_embedding).detach())
    return (q * ((q + 1e-7).log() - (p + 1e-7).log())).mean()


def _neighbours(f: Tensor) -> Tensor:
    direction = unit(f, extra=1e-7)
    similarity = (direction @ direction.T + 1) / 2
    return similarity / similarity.sum(dim=1, keepdim=True)


def sp(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    r"""Squared distance between the normalised Gram matrices of the batch.

    .. math:: L = \frac{1}{N^2} \Vert \hat G^s - \hat G^t \Vert_F^2,
              \quad G = F F^\top, \; \hat G_{i\cdot} = G_{i\cdot} / \Vert G_{i\cdot} \Vert_2

    Args:
        student_map: ``(N, ...)``, flattened to F; receives the gradient.
        teacher_map: ``(N, ...)``; treated as constant. Its other dimensions may differ.

    Returns:
        Scalar, dimensionless. 0 for a batch of one.

    Raises:
        ShapeError: if shapes do not fit, or values are not finite.

    Example:
        >>> sp(torch.eye(2), torch.ones(2, 2))
        tensor(0.2929)

    Source: Tung & Mori (2019), section 3.

    Differs: torchdistill normalises rows by their ℓ1 norm by default; here, as in the paper, by ℓ2.
    """
    check_float(student_map=student_map, teacher_map=teacher_map)
    own, theirs = tuple(student_map.shape), tuple(teacher_map.shape)
    if len(own) < 2 or len(theirs) < 2 or own[0] < 1 or own[0] != theirs[0]:
        rule = "must have shapes (N, ...) with the same N >= 1"
        raise ShapeError("student_map and teacher_map", rule=rule, received=f"shapes {own} and {theirs}")
    return (_gram(student_map) - _gram(teacher_map.detach())).square().mean()


def _gram(x: Tensor) -> Tensor:
    flat = widen(x).flatten(1)
    return unit(flat @ flat.T)


def rkd_distance(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    r"""Smooth ℓ1 between the pairwise distances, each side in units of its own mean.

    .. math:: L = \frac{1}{N^2} \sum_{ij} h \Big( \frac{d^s_{ij}}{\bar d^s} - \frac{d^t_{ij}}{\bar d^t} \Big),
              \quad d_{ij} = \Vert f_i - f_j \Vert, \; h(x) = \tfrac12 x^2 \text{ if } |x| < 1 \text{ else } |x| - \tfrac12

    The mean is over pairs i ≠ j; the student's passes the gradient.

    Args:
        student_embedding: ``(N, D)``; receives the gradient.
        teacher_embedding: ``(N, D')``; treated as constant.

    Returns:
        Scalar, dimensionless. 0, with zero gradient, for a batch of one, which has no pairs.

    Raises:
        ShapeError: if shapes do not fit, or values are not finite.

    Example:
        >>> rkd_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [5.0]]))
        tensor(0.)

    Source: Park et al. (2019), section 3.2.1; smooth ℓ1 and its threshold of 1 of RepDistiller.
    """
    check_embeddings(student_embedding, teacher_embedding)
    return F.smooth_l1_loss(_distances(widen(student_embedding)), _distances(widen(teacher_embedding).detach()))


def _distances(f: Tensor) -> Tensor:
    if len(f) == 1:
        return f @ f.T * 0.0
    # Direct differences: the shortcut through the Gram matrix loses close pairs in float32.
    d = torch.cdist(f, f, compute_mode="donot_use_mm_for_euclid_dist").clamp_min(1e-6)
    d = d.masked_fill(torch.eye(len(f), dtype=torch.bool, device=f.device), 0.0)
    return d / (d.sum() / (len(f) * (len(f) - 1)))


def rkd_angle(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    r"""Smooth ℓ1 between the cosines of the angles in all triples of examples.

    .. math:: L = \frac{1}{N^3} \sum_{ijk} h(\psi^s_{ijk} - \psi^t_{ijk}),
              \quad \psi_{ijk} = \langle e_{ij}, e_{kj} \rangle, \; e_{ij} = \frac{f_i - f_j}{\Vert f_i - f_j \Vert}

    Args:
        student_embedding: ``(N, D)``; receives the gradient.
        teacher_embedding: ``(N, D')``; treated as constant.

    Returns:
        Scalar, dimensionless. Degenerate triples and equal examples count as 0, so a batch of one or two gives 0 or a constant.
        Memory: N² (N + D) numbers per side.

    Raises:
        ShapeError: if shapes do not fit, or values are not finite.

    Example:
        >>> corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> rkd_angle(3 * corner + 1, corner).abs() < 1e-9
        tensor(True)

    Source: Park et al. (2019), section 3.2.2; smooth ℓ1 and its threshold of 1 of RepDistiller.
    """
    check_embeddings(student_embedding, teacher_embedding)
    return F.smooth_l1_loss(_angles(widen(student_embedding)), _angles(widen(teacher_embedding).detach()))


def _angles(f: Tensor) -> Tensor:
    direction = unit(f[None, :, :] - f[:, None, :])
    return direction @ direction.transpose(1, 2)


def rkd(
    student_embedding: Tensor,
    teacher_embedding: Tensor,
    *,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
) -> Tensor:
    r"""Relational distillation: distances and angles.

    .. math:: L = w_D L_D + w_A L_A

    Args:
        student_embedding: ``(N, D)``; receives the gradient.
        teacher_embedding: ``(N, D')``; treated as constant.
        distance_weight: w_D ≥ 0 of `rkd_distance`.
        angle_weight: w_A ≥ 0 of `rkd_angle`.

    Returns:
        Scalar, dimensionless. 0, with zero gradient, for a batch of one.

    Raises:
        ShapeError: if shapes do not fit, or values are not finite.
        ConfigError: if a weight is negative.

    Example:
        >>> rkd(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [5.0]]))
        tensor(0.)

    Source: Park et al. (2019), section 3.2.

    Differs: RepDistiller and mdistiller weigh 25 and 50, the default; torchdistill 1 and 2, as the paper for metric learning.
    """
    check_range("distance_weight", distance_weight, low=0.0)
    check_range("angle_weight", angle_weight, low=0.0)
    distance = rkd_distance(student_embedding, teacher_embedding)
    return distance_weight * distance + angle_weight * rkd_angle(student_embedding, teacher_embedding)


def embeddings(network: Output, teacher: Output | None) -> tuple[Tensor, Tensor]:
    """Return both networks' embeddings, which the loop serves."""
    assert teacher is not None, "the plan refuses a relation without a teacher"
    assert network.embedding is not None and teacher.embedding is not None, "the loop serves needs"
    return network.embedding, teacher.embedding
