"""The only place where softening, divergences, entropies, scores and reductions are written.

All work in log space, in nats, per example; `reduce` is the one reduction. Half-precision inputs are computed in float32
and returned in float32, because bfloat16 keeps 8 bits of a log-probability.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError, check_range
from goodteacher.base.types import Labels, Logits, PerExample, Probabilities, Reduction


def widen(x: Tensor) -> Tensor:
    """Return half precision as float32, and anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def reduce(per_example: PerExample, reduction: Reduction) -> Tensor:
    """Reduce a per-example loss over the batch.

    Args:
        per_example: ``(N,)``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or the input itself.

    Raises:
        ConfigError: for any other word.

    Example:
        >>> reduce(torch.tensor([1.0, 3.0]), "mean")
        tensor(2.)
    """
    if reduction == "mean":
        return per_example.mean()
    if reduction == "sum":
        return per_example.sum()
    if reduction == "none":
        return per_example
    raise ConfigError("reduction", rule="must be 'mean', 'sum' or 'none'", received=repr(reduction))


def log_soften(logits: Logits, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return log-probabilities at a temperature.

    .. math:: \log \mathrm{softmax}(z / T)

    Args:
        logits: ``(..., C)``.
        temperature: ``T > 0``, dimensionless; a tensor is broadcast against the logits.

    Returns:
        ``(..., C)``, nats.

    Raises:
        ConfigError: if a number ``T`` is not positive.

    Example:
        >>> log_soften(torch.zeros(1, 2)).exp()
        tensor([[0.5000, 0.5000]])
    """
    if not isinstance(temperature, Tensor):
        check_range("temperature", temperature, low=0.0, open_low=True)
    return F.log_softmax(widen(logits) / temperature, dim=-1)


def soften(logits: Logits, temperature: float | Tensor = 1.0) -> Probabilities:
    """Return probabilities at a temperature, ``softmax(z / T)``; see `log_soften`."""
    return log_soften(logits, temperature).exp()


def log_probabilities(probabilities: Probabilities) -> Tensor:
    """Return ``log p`` with zeros at the smallest normal number of the dtype, so that ``softmax(log p) = p``."""
    wide = widen(probabilities)
    return wide.clamp_min(torch.finfo(wide.dtype).tiny).log()


def kl(log_q: Tensor, log_p: Tensor) -> PerExample:
    r"""Return the Kullback-Leibler divergence from q to p.

    .. math:: \mathrm{KL}(q \Vert p) = \sum_c q_c (\log q_c - \log p_c)

    Args:
        log_q: ``(N, C)`` log-probabilities of the reference (teacher); an entry of -inf contributes nothing.
        log_p: ``(N, C)`` log-probabilities of the approximation (student).

    Returns:
        ``(N,)``, nats.

    Example:
        >>> q = torch.tensor([[0.5, 0.5]]).log(); kl(q, q)
        tensor([0.])
    """
    q = log_q.exp()
    return torch.where(q > 0, q * (log_q - log_p), torch.zeros_like(q)).sum(dim=-1)


def cross_entropy(target: Probabilities, log_p: Tensor) -> PerExample:
    """Return ``-Σ_c q_c log p_c`` per example, ``(N,)`` nats; ``0 · log 0`` counts as 0."""
    return -torch.where(target > 0, target * log_p, torch.zeros_like(log_p)).sum(dim=-1)


def entropy(log_p: Tensor) -> PerExample:
    """Return ``H(p) = -Σ_c p_c log p_c`` per example, ``(N,)`` nats, in [0, log C]."""
    p = log_p.exp()
    return -torch.where(p > 0, p * log_p, torch.zeros_like(p)).sum(dim=-1)


def nll(log_p: Tensor, labels: Labels) -> PerExample:
    """Return ``-log p_y`` per example, ``(N,)`` nats."""
    return -log_p.gather(-1, labels[:, None]).squeeze(-1)


def squared_distance(p: Probabilities, q: Probabilities) -> PerExample:
    """Return ``‖p - q‖² = Σ_c (p_c - q_c)²`` per example, ``(N,)``, in [0, 2] on the simplex."""
    return (p - q).square().sum(dim=-1)


def brier_score(p: Probabilities, labels: Labels) -> PerExample:
    r"""Return the squared distance to the one-hot label.

    .. math:: \Vert p - e_y \Vert^2 = \sum_c (p_c - [c = y])^2

    Args:
        p: ``(N, C)`` probabilities (or any vectors).
        labels: ``(N,)``.

    Returns:
        ``(N,)``, in [0, 2] on the simplex. The sum over classes, not the mean.

    Example:
        >>> brier_score(torch.tensor([[0.8, 0.2]]), torch.tensor([0]))
        tensor([0.0800])

    Source: Brier (1950); METHODS.md, "Why held-out Brier ranks teachers".
    """
    return squared_distance(p, one_hot(labels, p.shape[-1]).to(p.dtype))


def one_hot(labels: Labels, classes: int) -> Tensor:
    """Return ``(N, C)`` float32 one-hot rows."""
    return F.one_hot(labels, classes).float()
