"""Proxy teacher of perturbed distillation: the distribution at which the perturbed divergence is least.

Legend: N examples, C classes, M coefficients; p the teacher's probabilities, q* the proxy's, ε coefficients, λ multiplier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from goodteacher.base.checks import check_logits
from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.probability import log_soften
from goodteacher.base.types import Logits

# Smaller probabilities are taken for this one: its reciprocal is still a number.
LOG_FLOOR = -600.0
STEPS = 200


def proxy_teacher(logits: Logits, coefficients: Sequence[Any] | Tensor, *, tolerance: float = 1e-14) -> Logits:
    r"""Return the log-probabilities that minimise the perturbed divergence to a teacher.

    .. math:: q^* = \arg\min_{q \in \Delta} \mathrm{KL}(p \Vert q) + \sum_c p_c \sum_{m=1}^{M} \varepsilon_{cm} (1 - q_c)^m

    At the minimum :math:`p_c\, g_c(q_c) = \lambda` for every class, with
    :math:`g_c(q) = 1/q + \sum_m m\, \varepsilon_{cm} (1 - q)^{m-1}`. No perturbed coefficient :math:`1/m + \varepsilon_{cm}`
    may be negative: then every g is positive and falling, so that there is one such q for each λ, and one λ at which they add up
    to 1. Both are found by Newton's steps, with a bisection wherever one would leave its bracket.

    Args:
        logits: ``(N, C)`` of the teacher; treated as constant.
        coefficients: ε, ``(M,)`` shared by the classes, or ``(C, M)``; ε_m ≥ -1/m.
        tolerance: relative, of the equations.

    Returns:
        ``(N, C)`` float64, log q*.

    Raises:
        ShapeError: if shapes do not fit, or values are not finite.
        ConfigError: if a perturbed coefficient is negative.

    Example:
        >>> p = torch.tensor([[0.6, 0.25, 0.1, 0.05]])
        >>> [round(q, 4) for q in proxy_teacher(p.log(), [0.7]).exp()[0].tolist()]
        [0.6638, 0.2176, 0.0798, 0.0388]

    Source: Zhang et al. (2023), from secondary sources; the solver is this package's own.

    Differs: coefficients are bounded; beyond the bound the divergence can have several minima, and no proxy is defined.
    """
    check_logits(logits=logits)
    device = logits.device
    is_narrow = device.type == "mps"  # which knows no float64
    z = logits.detach().to("cpu" if is_narrow else device).double()
    log_p = log_soften(z).clamp_min(LOG_FLOOR)
    epsilon = torch.as_tensor(coefficients, dtype=torch.float64, device=z.device)
    check_coefficients(epsilon, z.shape[1])
    log_q, _ = solve(log_p, epsilon, tolerance)
    return log_q.float().to(device) if is_narrow else log_q


def check_coefficients(epsilon: Tensor, classes: int | None) -> None:
    """Raise unless ε is ``(M,)`` or ``(C, M)``, finite, and no perturbed coefficient is negative."""
    shape = tuple(epsilon.shape)
    if len(shape) not in (1, 2) or shape[-1] < 1 or (len(shape) == 2 and classes is not None and shape[0] != classes):
        rule = f"must have shape (M,) or ({'C' if classes is None else classes}, M) with M >= 1"
        raise ShapeError("coefficients", rule=rule, received=f"shape {shape}")
    if not torch.isfinite(epsilon).all():
        raise ShapeError("coefficients", rule="must be finite", received="NaN or infinity")
    lowest = -1 / powers(epsilon)
    if bool((epsilon < lowest - 1e-12).any()):
        m = int((epsilon < lowest - 1e-12).reshape(-1, shape[-1]).any(dim=0).nonzero()[0]) + 1
        raise ConfigError(
            f"coefficient {m}",
            rule=f"must be at least -1/{m}, or the perturbed divergence can have several minima",
            received=f"{float(epsilon.reshape(-1, shape[-1])[:, m - 1].min()):g}",
        )


def pull_at(q: Tensor, doubt: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    """Return g at q, and its derivative in 1/q, given also ``1 - q`` to full precision.

    With 1/q as a sum of powers of ``1 - q``, ``g = Σ_m (1 + m ε_m) (1 - q)^(m-1) + (1 - q)^M / q``: no term is negative, and
    nothing cancels where the leading ones vanish.
    """
    order = epsilon.shape[-1]
    value, slope = torch.zeros_like(q), torch.zeros_like(q)
    for m in range(order, 0, -1):  # Horner's scheme
        slope = value + doubt * slope
        value = 1 + m * epsilon[..., m - 1] + doubt * value
    tail = doubt ** (order - 1)
    return value + tail * (doubt / q), slope * q.square() + tail * (order * q + doubt)


def solve(log_p: Tensor, epsilon: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return log q*, and ``-p g'`` at it, each ``(N, C)``.

    At most one class can exceed 1/2, and if one does it is that of the largest p g(1/2). What is searched for is the logarithm
    of the others' sum: it decides that class's q, hence λ, hence the others.
    """
    p, reach = log_p.exp(), float((powers(epsilon) * epsilon.abs()).sum(dim=-1).max())
    # Which class may exceed 1/2 is known beforehand: g falls in q, so the one with the largest p g(1/2) gets there first.
    half = torch.full_like(p, 0.5)
    first = (p * pull_at(half, half, epsilon)[0]).argmax(dim=1, keepdim=True)
    is_first = torch.zeros_like(p, dtype=torch.bool).scatter_(1, first, True)
    own = epsilon[first.squeeze(1)][:, None] if epsilon.dim() == 2 else epsilon
    p_first = p.gather(1, first)
    # t = log(1 - q of the first class) rather than q itself: a teacher that is all but sure leaves no digits in 1 - q.
    t = log_p.masked_fill(is_first, -torch.inf).logsumexp(dim=1, keepdim=True)
    low, high = t - math.log(1 + 2 * reach), torch.full_like(t, math.log1p(-1e-9))
    # Without perturbation q* = p, which is where the search begins; a bracket that is empty would bisect to nothing.
    t = t.minimum(high - 1e-9)
    u, before = torch.full_like(p, torch.nan), torch.full_like(t, torch.inf)
    for _ in range(STEPS):
        q_first = -torch.expm1(t)
        pull, rise = pull_at(q_first, t.exp(), own)
        # The first class is solved along with the others, at any λ, and left out of their sum.
        ratio = ((p_first * pull).log() - log_p).masked_fill(is_first, math.log(2 + reach))
        u, steepness = _invert(ratio.exp(), epsilon, reach, u, tolerance)
        q = torch.where(is_first, 0.0, 1 / u)
        # The others must add up to what the first class leaves over; in logarithms, so that a sum of 1e-30 counts as well.
        total = q.sum(dim=1, keepdim=True)
        error = total.log() - t
        is_done = error.abs() <= 10 * tolerance
        if bool(is_done.all()):
            break
        low, high = torch.where(error > 0, t, low), torch.where(error < 0, t, high)
        # Newton's step where it stays in the bracket and halves the error, bisection elsewhere: g may be flat near q = 1.
        # d log Σq / d log λ, then d log λ / dt.
        answer = (q.square() * ratio.exp() / steepness).sum(dim=1, keepdim=True) / total
        answer = answer * rise / q_first.square() * t.exp() / pull
        step = t + error / (1 + answer)
        is_good = (step > low) & (step < high) & (error.abs() < 0.5 * before)
        t, before = torch.where(is_done, t, torch.where(is_good, step, (low + high) / 2)), error.abs()
    # The first class is what the others leave, so that rows sum to 1 exactly as far as numbers go.
    log_q = torch.where(is_first, torch.log1p(-total.clamp_max(1 - 1e-9)), q.log())
    doubt = torch.where(is_first, total, 1 - q)
    q = log_q.exp()
    return log_q, p * pull_at(q, doubt, epsilon)[1] / q.square()


def powers(epsilon: Tensor) -> Tensor:
    """Return 1 to M, like ε."""
    return torch.arange(1, epsilon.shape[-1] + 1, dtype=epsilon.dtype, device=epsilon.device)


def _invert(s: Tensor, epsilon: Tensor, reach: float, start: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return u = 1/q ≥ 1 at which g is s, 1 where g is above s throughout, and the derivative of g in u.

    Where u is 1 because g is above s, nothing moves it, as if the derivative were infinite.

    Args:
        s: λ / p, ``(N, C)``.
        epsilon: ``(M,)`` or ``(C, M)``.
        reach: Σ m |ε|, by which u can differ from s.
        start: where to begin, or NaN.
        tolerance: relative.
    """
    is_one = s <= 1 + epsilon[..., 0]
    low = (s - reach).clamp_min(1.0)
    high = torch.where(is_one, low, (s + reach).clamp_min(1.0))
    u = torch.where((start >= low) & (start <= high), start, s.clamp(low, high))
    derivative = torch.ones_like(s)
    for _ in range(STEPS):
        q = 1 / u
        pull, derivative = pull_at(q, (u - 1) / u, epsilon)
        error = pull - s
        low, high = torch.where(error < 0, u, low), torch.where(error > 0, u, high)
        step = u - error / derivative
        step = torch.where((step >= low) & (step <= high), step, (low + high) / 2)
        done = (error.abs() <= tolerance * s) | (high - low <= tolerance * u)
        if bool(done.all()):
            break
        u = torch.where(done, u, step)
    return u, derivative.clamp_min(1e-12).masked_fill(is_one, torch.inf)
