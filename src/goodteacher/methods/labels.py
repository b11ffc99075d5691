"""The label's own share of a student's loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from goodteacher.base.errors import check_range
from goodteacher.base.probability import log_soften, nll
from goodteacher.base.types import Batch, Needs, Output, Progress, Terms


@dataclass(frozen=True)
class HardLabels:
    """Cross-entropy to the label, weighted by γ; with γ = 1 and nothing else it is the student alone."""

    gamma: float = 1.0
    needs: ClassVar[Needs] = Needs()

    def __post_init__(self) -> None:
        check_range("gamma", self.gamma, low=0.0)

    def __call__(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``cross_entropy``."""
        return {"cross_entropy": self.gamma * nll(log_soften(network.logits), batch.labels).mean()}
