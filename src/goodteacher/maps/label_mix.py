"""Target map that gives the training label a share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from goodteacher.base.checks import check_labels
from goodteacher.base.errors import check_range
from goodteacher.base.probability import log_probabilities, log_soften, one_hot
from goodteacher.base.types import Labels, Logits
from goodteacher.maps.target_map import FitOneView, OneView


@dataclass(frozen=True)
class LabelMix(OneView):
    """Move the target towards the training label: ``(1 - w) p + w e_y``.

    Labels belong to training examples. Where none are given, as wherever a teacher is scored on held-out examples, the teacher
    is left as it is: mixed with the label it is scored against, any teacher would look good.

    Attributes:
        weight: w in [0, 1].
    """

    weight: float
    uses_labels: ClassVar[bool] = True

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return log-probabilities of the mixture, or the logits unchanged without labels.

        Raises:
            ShapeError: if the labels do not fit the logits.
        """
        if labels is None:
            return logits
        check_labels(labels, examples=logits.shape[0], classes=logits.shape[1])
        p = log_soften(logits).exp()
        return log_probabilities(p.lerp(one_hot(labels, logits.shape[1]).to(p), self.weight))

    def state(self) -> dict[str, Any]:
        """Return w."""
        return {"weight": self.weight}


@dataclass(frozen=True)
class FitLabelMix(FitOneView):
    """Nothing to fit: w is given, because on held-out labels the best w would always be 1; see `LabelMix`."""

    weight: float = 0.1
    source: ClassVar[str] = "Reed et al. (2015)"

    def __post_init__(self) -> None:
        check_range("weight", self.weight, low=0.0, high=1.0)

    def fit(self, logits: Logits, labels: Labels) -> LabelMix:
        """Return the map."""
        return LabelMix(self.weight)
