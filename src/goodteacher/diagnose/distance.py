"""Distance of a network's probabilities to the true label distribution, or to what human votes say of it."""

from __future__ import annotations

import torch
from torch import Tensor

from goodteacher.base.errors import ShapeError, check_same_shape, check_simplex
from goodteacher.base.probability import kl, log_probabilities, log_soften, squared_distance
from goodteacher.base.types import Logits, PerExample, Probabilities


def distance_to_truth(logits: Logits, truth: Probabilities, *, temperature: float = 1.0) -> dict[str, PerExample]:
    r"""Return squared distance and KL to a known distribution, at the temperature actually used.

    .. math:: \| q - p^* \|^2, \qquad \mathrm{KL}(p^* \Vert q), \qquad q = \mathrm{softmax}(z / T)

    Args:
        logits: ``(N, C)``.
        truth: ``(N, C)``, p*.
        temperature: T.

    Returns:
        ``mse`` (the sum over classes) and ``kl`` (nats), each ``(N,)`` float64.

    Raises:
        ShapeError: if the shapes differ or a row of the truth is no distribution.

    Source: METHODS.md, "Why held-out Brier ranks teachers".
    """
    check_same_shape(logits=logits, truth=truth)
    check_simplex(truth=truth)
    log_q = log_soften(logits.double(), temperature)
    p = truth.double()
    return {"mse": squared_distance(log_q.exp(), p), "kl": kl(log_probabilities(p), log_q)}


def distance_to_votes(logits: Logits, votes: Tensor, *, temperature: float = 1.0) -> dict[str, PerExample]:
    r"""Return the distance to human label distributions known by few votes, without the votes' own scatter.

    .. math:: \| q - h \|^2 - \frac{1 - \|h\|^2}{n - 1}

    With n votes, the mean squared distance to their shares h is that to the people's distribution plus
    :math:`(1 - \|p\|^2)/n`, of which the second term is an unbiased estimate.

    Args:
        logits: ``(N, C)``.
        votes: ``(N, C)`` counts, at least two an example.
        temperature: T.

    Returns:
        ``mse`` (corrected: unbiased, so single values may be negative), ``mse_raw``, and ``kl`` from the shares (not
        corrected; nats), each ``(N,)`` float64.

    Raises:
        ShapeError: if the shapes differ, or an example has fewer than two votes.

    Source: Peterson et al. (2019) for the votes; METHODS.md for the correction.
    """
    check_same_shape(logits=logits, votes=votes)
    count = votes.double().sum(dim=1, keepdim=True)
    if float(count.min()) < 2:
        raise ShapeError(
            "votes", rule="must be at least two an example", received=f"{int(count.min())} for one of them"
        )
    shares = votes.double() / count
    log_q = log_soften(logits.double(), temperature)
    raw = squared_distance(log_q.exp(), shares)
    scatter = (1 - shares.square().sum(dim=1)) / (count.squeeze(1) - 1)
    return {"mse": raw - scatter, "mse_raw": raw, "kl": kl(torch.where(shares > 0, shares.log(), -torch.inf), log_q)}
