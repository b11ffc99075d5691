"""Target map that keeps the largest few probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from goodteacher.base.errors import check_choice, check_range
from goodteacher.base.probability import log_probabilities, log_soften
from goodteacher.base.types import Labels, Logits
from goodteacher.maps.target_map import FitOneView, OneView


@dataclass(frozen=True)
class TopK(OneView):
    """Keep the k largest probabilities as they are.

    Attributes:
        k: how many.
        rest: what becomes of the others: ``spread`` shares their sum evenly among them; ``drop`` takes it to zero and brings the
            k to sum 1.
    """

    k: int
    rest: Literal["spread", "drop"] = "spread"

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return log-probabilities, those of a zero at the smallest normal number."""
        log_p = log_soften(logits)
        classes = log_p.shape[-1]
        if self.k >= classes:
            return log_p
        kept = torch.zeros_like(log_p, dtype=torch.bool).scatter_(-1, log_p.topk(self.k, dim=-1).indices, True)
        if self.rest == "spread":
            others = log_p.masked_fill(kept, -torch.inf).logsumexp(dim=-1, keepdim=True) - np.log(classes - self.k)
            return torch.where(kept, log_p, others)
        return log_probabilities(log_p.masked_fill(~kept, -torch.inf).softmax(dim=-1))

    def state(self) -> dict[str, Any]:
        """Return the options."""
        return {"k": self.k, "rest": self.rest}


@dataclass(frozen=True)
class FitTopK(FitOneView):
    """Nothing to fit: k is given; see `TopK`."""

    k: int = 5
    rest: Literal["spread", "drop"] = "spread"
    source: ClassVar[str] = "Shen & Xing (2022)"

    def __post_init__(self) -> None:
        check_range("k", self.k, low=1)
        check_choice("rest", self.rest, ("spread", "drop"))

    def fit(self, logits: Logits, labels: Labels) -> TopK:
        """Return the map."""
        return TopK(self.k, self.rest)
