"""Terms added to a teacher's score: pure functions of logits."""

from __future__ import annotations

from torch import Tensor

from goodteacher.base.checks import check_logits
from goodteacher.base.probability import entropy, log_soften, reduce
from goodteacher.base.types import Logits, Reduction


def negative_entropy(logits: Logits, *, reduction: Reduction = "mean") -> Tensor:
    r"""Negative entropy of the softmax; minimising it keeps predictions from becoming certain.

    .. math:: -H(p_n) = \sum_c p_{nc} \log p_{nc}

    Args:
        logits: ``(N, C)``; receives the gradient.
        reduction: over the batch.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats, in [-log C, 0].

    Raises:
        ShapeError: for shapes, types or values that do not fit.

    Example:
        >>> import torch
        >>> negative_entropy(torch.zeros(1, 2))
        tensor(-0.6931)

    Source: Pereyra et al. (2017), section 3.
    """
    check_logits(logits=logits)
    return reduce(-entropy(log_soften(logits)), reduction)
