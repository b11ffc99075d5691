"""Distance of a network's probabilities to the true label distribution, or to what human votes say of it."""

from __future__ import annotations

import torch
from torch import Tensor

from goodteacher.base.checks import check_same_shape, check_simplex
from goodteacher.base.errors import ShapeError
from goodteacher.base.probability import cross_entropy, kl, log_probabilities, log_soften, squared_distance
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
        votes: ``(N, C)`` counts, at least two per example.
        temperature: T.

    Returns:
        ``mse`` (corrected: unbiased, so single values may be negative), ``mse_raw``, and ``kl`` from the shares (nats; not
        corrected, but what the votes' scatter adds to its mean is the same for every teacher), each ``(N,)`` float64.

    Raises:
        ShapeError: if the shapes differ, or an example has fewer than two votes.

    Source: Peterson et al. (2019) for the votes; METHODS.md for the correction.
    """
    check_same_shape(logits=logits, votes=votes)
    shares, count = _shares(votes, least=2)
    log_q = log_soften(logits.double(), temperature)
    raw = squared_distance(log_q.exp(), shares)
    scatter = (1 - shares.square().sum(dim=1)) / (count - 1)
    return {"mse": raw - scatter, "mse_raw": raw, "kl": kl(torch.where(shares > 0, shares.log(), -torch.inf), log_q)}


def scores_by_votes(logits: Logits, votes: Tensor, *, temperature: float = 1.0) -> dict[str, PerExample]:
    r"""Return the mean scores against each vote of an example, as if each were its label.

    .. math:: \frac{1}{n} \sum_{i=1}^n \| q - e_{v_i} \|^2 = \| q \|^2 - 2 \langle q, h \rangle + 1, \qquad
              -\sum_c h_c \log q_c

    Where q does not depend on the votes, the mean Brier score is that of the squared distance to p* plus
    :math:`1 - \|p^*\|^2`, with one vote as with many. So votes that a network never saw judge it on its own training
    inputs, where the labels it was trained on flatter it.

    Args:
        logits: ``(N, C)``.
        votes: ``(N, C)`` counts, at least one per example; none of them seen by the network.
        temperature: T.

    Returns:
        ``brier`` and ``nll`` (nats), each ``(N,)`` float64.

    Raises:
        ShapeError: if the shapes differ, or an example has no vote.

    Example:
        >>> scores = scores_by_votes(torch.tensor([[0.0, 0.0]]), torch.tensor([[3, 1]]))
        >>> round(scores["brier"].item(), 4), round(scores["nll"].item(), 4)
        (0.5, 0.6931)

    Source: METHODS.md, "Why held-out Brier ranks teachers".
    """
    check_same_shape(logits=logits, votes=votes)
    shares, _ = _shares(votes, least=1)
    log_q = log_soften(logits.double(), temperature)
    q = log_q.exp()
    return {"brier": q.square().sum(dim=1) - 2 * (q * shares).sum(dim=1) + 1, "nll": cross_entropy(shares, log_q)}


def _shares(votes: Tensor, *, least: int) -> tuple[Probabilities, PerExample]:
    """Return the votes' shares and their number per example, checked."""
    count = votes.double().sum(dim=1)
    if float(count.min()) < least:
        rule = f"must be at least {'two' if least > 1 else 'one'} per example"
        raise ShapeError("votes", rule=rule, received=f"{count.min().item():g} for one of them")
    return votes.double() / count[:, None], count
