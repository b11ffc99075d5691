"""Objectives: what a teacher minimises, each a small frozen object whose fields are its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from goodteacher.base.errors import check_choice, check_range
from goodteacher.base.types import Batch, Needs, Output, Progress, Terms
from goodteacher.objectives import scores
from goodteacher.objectives.penalties import negative_entropy


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy to the label; see `scores.cross_entropy`."""

    needs: ClassVar[Needs] = Needs()

    def __call__(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``cross_entropy``."""
        return {"cross_entropy": scores.cross_entropy(network.logits, batch.labels)}


@dataclass(frozen=True)
class Brier:
    """Brier score of the softmax, scaled so that recipes made for cross-entropy train it; see `scores.brier`.

    At the start, when p = 1/C, the gradient of the score is 2/C times that of cross-entropy, and stays several times smaller
    while predictions are spread out: with a hundred classes a network stands still for thousands of steps. ``scale: auto``
    multiplies each batch's score by the ratio of the two gradients' sizes, so that only the direction is Brier's. The
    warm-up helps at a hundred and a thousand classes and harms nowhere (benchmarks/brier_default.py). ``scale: 1,
    warmup: 0`` is the bare score.

    Args:
        scale: what the score is multiplied by: a number, or ``auto``.
        warmup: share of training in which cross-entropy fades linearly into the scaled score, in [0, 1]; afterwards the
            score alone is minimised.
        per_class: ``sum`` or ``mean`` over classes; ``auto`` makes them the same.
    """

    scale: float | Literal["auto"] = "auto"
    warmup: float = 0.6
    per_class: scores.PerClass = "sum"
    needs: ClassVar[Needs] = Needs()
    stall_advice: ClassVar[str] = "use scale: auto, a longer warmup, or per_class: sum"

    def __post_init__(self) -> None:
        check_choice("per_class", self.per_class, ("sum", "mean"))
        if not isinstance(self.scale, str):
            check_range("scale", self.scale, low=0.0, open_low=True)
        check_range("warmup", self.warmup, low=0.0, high=1.0)

    def __call__(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``brier`` and, while warming up, ``cross_entropy``."""
        share = 1.0 if self.warmup == 0 else min(1.0, progress.fraction / self.warmup)
        score = scores.brier(network.logits, batch.labels, per_class=self.per_class)
        scale: float | Tensor
        if isinstance(self.scale, str):
            per_class = network.logits.shape[1] if self.per_class == "mean" else 1
            scale = per_class * scores.gradient_ratio(network.logits, batch.labels)
        else:
            scale = self.scale
        if share == 1.0:
            return {"brier": scale * score}
        return {
            "brier": share * scale * score,
            "cross_entropy": (1 - share) * scores.cross_entropy(network.logits, batch.labels),
        }


@dataclass(frozen=True)
class BrierLogits:
    """Squared error of the raw logits; hand its outputs over through the map ``linear``; see `scores.brier_logits`."""

    target: float = 1.0
    true_weight: float = 1.0
    per_class: scores.PerClass = "mean"
    needs: ClassVar[Needs] = Needs()
    stall_advice: ClassVar[str] = "use per_class: sum, or target: 30 and true_weight: 15 for hundreds of classes"

    def __post_init__(self) -> None:
        check_range("target", self.target, low=0.0, open_low=True)
        check_range("true_weight", self.true_weight, low=0.0, open_low=True)

    def __call__(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``brier_logits``."""
        score = scores.brier_logits(
            network.logits, batch.labels, target=self.target, true_weight=self.true_weight, per_class=self.per_class
        )
        return {"brier_logits": score}


@dataclass(frozen=True)
class LabelSmoothing:
    """Cross-entropy to the smoothed label; see `scores.cross_entropy`."""

    smoothing: float = 0.1
    needs: ClassVar[Needs] = Needs()

    def __post_init__(self) -> None:
        check_range("smoothing", self.smoothing, low=0.0, high=1.0, open_high=True)

    def __call__(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``label_smoothing``."""
        return {"label_smoothing": scores.cross_entropy(network.logits, batch.labels, smoothing=self.smoothing)}


@dataclass(frozen=True)
class ConfidencePenalty:
    """Cross-entropy minus β times the entropy of the prediction; see `penalties.negative_entropy`."""

    beta: float = 0.1
    needs: ClassVar[Needs] = Needs()

    def __post_init__(self) -> None:
        check_range("beta", self.beta, low=0.0)

    def __call__(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the terms ``cross_entropy`` and ``negative_entropy``."""
        return {
            "cross_entropy": scores.cross_entropy(network.logits, batch.labels),
            "negative_entropy": self.beta * negative_entropy(network.logits),
        }


@dataclass(frozen=True)
class Focal:
    """Focal loss; see `scores.focal`."""

    gamma: float = 2.0
    needs: ClassVar[Needs] = Needs()

    def __post_init__(self) -> None:
        check_range("gamma", self.gamma, low=0.0)

    def __call__(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``focal``."""
        return {"focal": scores.focal(network.logits, batch.labels, gamma=self.gamma)}
