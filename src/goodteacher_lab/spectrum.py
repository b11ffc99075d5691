"""How far weights have come along the directions in which the data vary: teacher against student.

Legend: N examples, D inputs, O outputs, K directions, S times; X ``(N, D)`` data, λ_k eigenvalues of XᵀX/N, e_k directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.checks import check_float
from goodteacher.base.errors import ShapeError, check_range


@dataclass(frozen=True)
class Spectrum:
    """The directions in which data vary about zero.

    Attributes:
        values: ``(K,)`` float64, descending, in squared units of the inputs.
        vectors: ``(D, K)`` float64, orthonormal columns.
    """

    values: Tensor
    vectors: Tensor


def eigendirections(inputs: Tensor, *, most: int | None = None) -> Spectrum:
    r"""Return the eigenvectors of the uncentred covariance.

    .. math:: \frac{1}{N} X^\top X = \sum_k \lambda_k e_k e_k^\top

    Args:
        inputs: ``(N, ...)`` as a network sees them; flattened to ``(N, D)``.
        most: K at most; all D otherwise.

    Returns:
        The largest first.

    Raises:
        ShapeError: if the inputs are not floating point or not finite.
        ConfigError: if K is less than 1.

    Example:
        >>> eigendirections(torch.diag(torch.tensor([2.0, 4.0]))).values.tolist()
        [8.0, 2.0]

    Source: Nagarajan et al. (2023).
    """
    check_float(inputs=inputs)
    x = inputs.flatten(1).double()
    most = x.shape[1] if most is None else most
    check_range("directions", most, low=1)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    return Spectrum(values.flip(0)[:most].clamp_min(0), vectors.flip(1)[:, :most])


def projections(weights: Tensor, directions: Tensor) -> Tensor:
    r"""Return how far weights reach along each direction.

    .. math:: c_k = \| W e_k \|_2

    Args:
        weights: ``(O, D)``, or ``(S, O, D)`` at several times; of a linear model or of a first layer.
        directions: ``(D, K)``.

    Returns:
        ``(K,)`` or ``(S, K)`` float64, a norm over outputs.

    Raises:
        ShapeError: if the weights do not read D inputs.

    Example:
        >>> projections(torch.tensor([[3.0, 0.0], [4.0, 2.0]]), torch.eye(2)).tolist()
        [5.0, 2.0]

    Source: Nagarajan et al. (2023).

    Differs: how the paper joins outputs is not known here; a norm takes them together.
    """
    if weights.shape[-1] != directions.shape[0]:
        raise ShapeError("weights", rule=f"must read {directions.shape[0]} inputs", received=tuple(weights.shape))
    reach: Tensor = torch.linalg.vector_norm(weights.double() @ directions.double(), dim=-2)
    return reach


def progress(weights: Tensor, start: Tensor, goal: Tensor, directions: Tensor) -> Tensor:
    r"""Return the share of the way along each direction.

    .. math:: \frac{\| (W_s - W_0) e_k \|}{\| (W_* - W_0) e_k \|}

    Args:
        weights: ``(S, O, D)`` along training.
        start: ``(O, D)``, W₀.
        goal: ``(O, D)``, W_*: of the solution, or of the teacher at its end.
        directions: ``(D, K)``.

    Returns:
        ``(S, K)`` float64; NaN where the goal does not move along a direction.
    """
    whole = projections(goal - start, directions)
    return projections(weights - start, directions) / torch.where(whole > 0, whole, torch.nan)


def flow(inputs: Tensor, time: float) -> Tensor:
    r"""Return what gradient flow on squared errors does to the labels, for a linear model from zero.

    .. math:: \hat y = A(t)\, y, \qquad A(t) = I - \exp(-t X X^\top)

    A student that is taught by this for a time t~ answers :math:`A(\tilde t) A(t) y`.

    Args:
        inputs: ``(N, D)``.
        time: t ≥ 0, of the loss ½‖Xw - y‖².

    Returns:
        ``(N, N)`` float64, symmetric, with eigenvalues in [0, 1).

    Raises:
        ConfigError: if t is negative.

    Example:
        >>> flow(torch.tensor([[1.0]]), 0.0).tolist()
        [[0.0]]

    Source: Nagarajan et al. (2023).
    """
    check_range("time", time, low=0.0)
    x = inputs.flatten(1).double()
    values, vectors = torch.linalg.eigh(x @ x.T)
    filtered: Tensor = (vectors * -torch.expm1(-time * values.clamp_min(0))) @ vectors.T
    return filtered


def flow_progress(values: Tensor, times: Tensor, *, taught_by: float | None = None) -> Tensor:
    r"""Return the progress along eigendirections that gradient flow predicts.

    .. math:: 1 - e^{-\lambda_k t}, \qquad (1 - e^{-\lambda_k \tilde t})(1 - e^{-\lambda_k t})

    Args:
        values: ``(K,)`` eigenvalues in the units of the times: of XᵀX/N for a loss that is a mean over examples.
        times: ``(S,)``: of the teacher, or t~ of a student.
        taught_by: t of the teacher; None for the teacher itself.

    Returns:
        ``(S, K)`` float64 in [0, 1).

    Example:
        >>> flow_progress(torch.tensor([1.0]), torch.tensor([100.0]), taught_by=0.0).tolist()
        [[0.0]]

    Source: Nagarajan et al. (2023).
    """
    own = -torch.expm1(-times.double()[:, None] * values.double())
    return own if taught_by is None else own * -torch.expm1(-taught_by * values.double())


def at_equal_top(teacher: Tensor, student: Tensor, *, points: int = 50) -> tuple[Tensor, Tensor]:
    """Return how far both have come along each direction where they have come equally far along the first.

    Args:
        teacher: ``(S, K)`` progress along training.
        student: ``(S', K)`` progress.
        points: at which the curves are read, evenly over the progress along direction 1 that both pass.

    Returns:
        Teacher's and student's progress, each ``(K,)`` float64, mean over the points; a student below its teacher has a stronger
        bias to the first direction. NaN where the curves share no range. Where a curve turns back, its first passage counts.

    Raises:
        ShapeError: if the numbers of directions differ.

    Source: Nagarajan et al. (2023): curves of one direction against the first.
    """
    if teacher.shape[1] != student.shape[1]:
        received = f"{teacher.shape[1]} and {student.shape[1]}"
        raise ShapeError("progress", rule="must be along the same directions", received=received)
    curves = [_rising(c.double().numpy()) for c in (teacher, student)]
    low = max(c[0, 0] for c in curves)
    high = min(c[-1, 0] for c in curves)
    if not high > low:
        nothing = torch.full((teacher.shape[1],), torch.nan, dtype=torch.float64)
        return nothing, nothing
    at = np.linspace(low, high, points + 1)[1:]
    read = [np.stack([np.interp(at, c[:, 0], c[:, k]) for k in range(c.shape[1])], axis=1) for c in curves]
    return torch.from_numpy(read[0].mean(axis=0)), torch.from_numpy(read[1].mean(axis=0))


def _rising(curve: np.ndarray) -> np.ndarray:
    """Return the rows at which the first column reaches a new maximum."""
    first = curve[:, 0]
    before = np.concatenate([[-np.inf], np.maximum.accumulate(first)[:-1]])
    rising: np.ndarray = curve[first > before]
    return rising
