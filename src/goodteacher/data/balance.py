"""Unlike classes: an order of examples in which all come equally often, and weights of their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from goodteacher.base.types import Labels


def balanced_order(labels: Labels, generator: torch.Generator) -> Tensor:
    """Return an epoch's rows in which every class that has an example comes equally often, up to one.

    Rows of a class are drawn without replacement, again and again where it has too few. So an epoch is as long as before, holds
    rare examples several times, and leaves out frequent ones, others in each epoch.

    Args:
        labels: ``(N,)`` int64 of the training split.
        generator: of the draws.

    Returns:
        ``(N,)`` int64, shuffled.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1])
        >>> labels[balanced_order(labels, torch.Generator().manual_seed(0))].bincount().tolist()
        [4, 4]
    """
    labels = labels.cpu()
    present = labels.unique()
    share, rest = divmod(len(labels), len(present))
    lucky = set(present[torch.randperm(len(present), generator=generator)[:rest]].tolist())
    drawn = []
    for label in present.tolist():
        rows = (labels == label).nonzero().flatten()
        count = share + (label in lucky)
        rounds = [rows[torch.randperm(len(rows), generator=generator)] for _ in range(-(-count // len(rows)))]
        drawn.append(torch.cat(rounds or [rows])[:count])
    order = torch.cat(drawn)
    return order[torch.randperm(len(order), generator=generator)]


def class_weights(labels: Labels, classes: int, wanted: Literal["balanced"] | Sequence[float]) -> Tensor:
    r"""Return what the score against an example's label is multiplied by, per class, 1 on average over the training split.

    .. math:: w_c = \frac{N a_c}{\sum_k n_k a_k}, \quad a_c = \frac{1}{n_c} \text{ if balanced}

    Args:
        labels: ``(N,)`` int64 of the training split.
        classes: C.
        wanted: ``balanced``, or one positive number per class, :math:`a_c`.

    Returns:
        ``(C,)`` float32; 0 for a class without an example under ``balanced``.

    Example:
        >>> class_weights(torch.tensor([0, 0, 0, 1]), 2, "balanced")
        tensor([0.6667, 2.0000])

    Source: King & Zeng (2001); the balanced form is scikit-learn's.
    """
    counts = torch.bincount(labels.cpu(), minlength=classes).double()
    if wanted == "balanced":
        asked = torch.where(counts > 0, 1 / counts.clamp_min(1), 0)
    else:
        asked = torch.tensor(list(wanted), dtype=torch.float64)
    return (len(labels) * asked / (counts * asked).sum()).float()
