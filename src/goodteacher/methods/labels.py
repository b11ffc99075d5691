"""The label's own share of a student's loss."""

from __future__ import annotations

from typing import final

from goodteacher.base.errors import check_range
from goodteacher.base.probability import log_soften, nll
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Terms


@final
class HardLabels(Loss):
    """Cross-entropy to the label, weighted by γ; with γ = 1 and nothing else it is the student alone.

    Args:
        gamma: weight.
    """

    needs = Needs(weighs_classes=True)

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        check_range("gamma", gamma, low=0.0)
        self.gamma = gamma

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``cross_entropy``."""
        return {"cross_entropy": self.gamma * batch.weighed_mean(nll(log_soften(network.logits), batch.labels))}
