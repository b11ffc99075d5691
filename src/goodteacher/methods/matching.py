"""Methods that match a transformed teacher: by correlation (DIST), or softening the teacher alone (TTM, WTTM).

Legend: N examples, C classes, T temperature; z^s, z^t logits of student and teacher, p and q their probabilities.
"""

from __future__ import annotations

from torch import Tensor
from torch.linalg import vector_norm

from goodteacher.base.checks import check_logits
from goodteacher.base.errors import check_range
from goodteacher.base.probability import kl, log_soften, reduce, soften
from goodteacher.base.types import Logits, Reduction


def dist(
    student_logits: Logits, teacher_logits: Logits, *, beta: float = 2.0, gamma: float = 2.0, temperature: float = 4.0
) -> Tensor:
    r"""One minus correlation, of the classes within each example and of the examples within each class.

    .. math:: L = T^2 \left[ \beta \Big( 1 - \frac1N \sum_n \rho(p_{n\cdot}, q_{n\cdot}) \Big)
              + \gamma \Big( 1 - \frac1C \sum_c \rho(p_{\cdot c}, q_{\cdot c}) \Big) \right],
              \quad \rho(a, b) = \frac{\langle a - \bar a, b - \bar b \rangle}{\|a - \bar a\| \|b - \bar b\| + 10^{-8}}

    Args:
        student_logits: ``(N, C)``, unnormalised; receives the gradient.
        teacher_logits: ``(N, C)``, unnormalised; treated as constant.
        beta: weight ≥ 0 of the relation between classes (rows).
        gamma: weight ≥ 0 of the relation within a class (columns); it depends on the batch, and in a batch of one it is the
            constant γT².
        temperature: ``T > 0``, dimensionless; 1 on ImageNet.

    Returns:
        Scalar, because columns couple the batch; dimensionless, in [0, 2 T² (β + γ)].

    Raises:
        ShapeError: if the shapes differ, or values are not finite.
        ConfigError: if an option is out of range.

    Example:
        >>> import torch
        >>> dist(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), gamma=0.0, temperature=1.0)
        tensor(4.)

    Source: Huang et al. (2022), section 3; the ε of their code.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_range("beta", beta, low=0.0)
    check_range("gamma", gamma, low=0.0)
    p, q = soften(student_logits, temperature), soften(teacher_logits.detach(), temperature)
    between, within = 1 - _correlation(p, q, dim=1).mean(), 1 - _correlation(p, q, dim=0).mean()
    return temperature**2 * (beta * between + gamma * within)


def _correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Return Pearson's correlation along a dimension, 0 where one side is constant."""
    a, b = a - a.mean(dim=dim, keepdim=True), b - b.mean(dim=dim, keepdim=True)
    lengths: Tensor = vector_norm(a, dim=dim) * vector_norm(b, dim=dim)
    return (a * b).sum(dim=dim) / (lengths + 1e-8)


def ttm(
    student_logits: Logits, teacher_logits: Logits, *, temperature: float = 10.0, reduction: Reduction = "mean"
) -> Tensor:
    r"""Divergence from the softened teacher to the student as it is.

    .. math:: \ell_n = \sum_c q_{nc} \log \frac{q_{nc}}{p_{nc}},
              \quad q_{nc} \propto (p^t_{nc})^{1/T} = \mathrm{softmax}(z^t / T), \; p = \mathrm{softmax}(z^s)

    It is distillation plus a Rényi entropy that keeps the student from overconfidence.

    Args:
        student_logits: ``(N, C)``, unnormalised; receives the gradient.
        teacher_logits: ``(N, C)``, unnormalised; treated as constant.
        temperature: ``T > 0`` of the teacher alone; the paper's exponent γ is 1/T. There is no factor T².
        reduction: over the batch; classes are always summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats. Zero where the student equals the *softened* teacher.

    Raises:
        ShapeError: if the shapes differ, or values are not finite.
        ConfigError: if T is not positive.

    Example:
        >>> import torch
        >>> z = torch.tensor([[2.0, 0.0]])
        >>> ttm(z / 10, z)
        tensor(0.)

    Source: Zheng & Yang (2024), transformed teacher matching.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    return reduce(kl(log_soften(teacher_logits.detach(), temperature), log_soften(student_logits)), reduction)


def wttm(
    student_logits: Logits, teacher_logits: Logits, *, temperature: float = 5.0, reduction: Reduction = "mean"
) -> Tensor:
    r"""The divergence of `ttm`, each example weighted by how smooth its teacher is.

    .. math:: \ell_n = U_n \sum_c q_{nc} \log \frac{q_{nc}}{p_{nc}}, \quad U_n = \sum_c (p^t_{nc})^{1/T}

    U is 1 for a one-hot teacher and :math:`C^{1 - 1/T}` for a uniform one (T > 1), so that weights do not carry over from `ttm`.

    Args:
        student_logits: ``(N, C)``, unnormalised; receives the gradient.
        teacher_logits: ``(N, C)``, unnormalised; treated as constant.
        temperature: ``T > 0`` of the teacher alone; the paper's exponent γ is 1/T.
        reduction: over the batch; classes are always summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats times U. The mean divides by N, not by ΣU.

    Raises:
        ShapeError: if the shapes differ, or values are not finite.
        ConfigError: if T is not positive.

    Example:
        >>> import torch
        >>> z = torch.tensor([[2.0, 0.0]])
        >>> wttm(z / 5, z)
        tensor(0.)

    Source: Zheng & Yang (2024), weighted transformed teacher matching.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    powered = log_soften(teacher_logits.detach()) / temperature
    weight = powered.logsumexp(dim=1).exp()
    divergence = kl(log_soften(teacher_logits.detach(), temperature), log_soften(student_logits))
    return reduce(weight * divergence, reduction)


def dist_intra(
    student_logits: Logits, teacher_logits: Logits, *, beta: float = 2.0, intra: float = 2.0, temperature: float = 4.0
) -> Tensor:
    """Return `dist` with its γ called ``intra``: in a method, gamma is the weight of the label."""
    return dist(student_logits, teacher_logits, beta=beta, gamma=intra, temperature=temperature)
