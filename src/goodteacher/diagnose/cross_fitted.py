"""What a target map would do for a teacher, judged on examples it was not fitted on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from goodteacher.base.probability import brier_score, log_soften
from goodteacher.base.seeds import torch_stream
from goodteacher.base.types import Labels, Logits, PerExample
from goodteacher.maps.table import parse_map

FOLDS = 5


def cross_fitted_map(
    spec: str | dict[str, Any] | None, logits: Logits, labels: Labels, *, folds: int = FOLDS, seed: int = 0
) -> tuple[PerExample, Tensor]:
    """Return each example's Brier score under a map that was fitted on the other folds.

    A map with many parameters looks good on the examples it was fitted on; this score does not.

    Args:
        spec: the map's name, or name to options.
        logits: ``(N, C)`` on held-out examples.
        labels: ``(N,)``.
        folds: K ≥ 2.
        seed: of the deal.

    Returns:
        ``(N,)`` float64 scores, and ``(N, C)`` mapped logits.
    """
    fold = torch.randperm(len(labels), generator=torch_stream(seed, "map folds")) % folds
    mapped = torch.empty_like(logits, dtype=torch.float64)
    for k in range(folds):
        own = fold == k
        fitted = parse_map(spec).fit(logits[~own], labels[~own])
        mapped[own] = fitted(logits[own]).double()
    return brier_score(log_soften(mapped).exp(), labels), mapped
