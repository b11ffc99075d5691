"""Every loss as a function (or a module where it has parameters or memory), usable in anybody's own loop."""

from __future__ import annotations

from goodteacher.distill.logits import kd
from goodteacher.teachers.penalties import negative_entropy
from goodteacher.teachers.scores import brier, brier_logits, cross_entropy, focal

__all__ = ["brier", "brier_logits", "cross_entropy", "focal", "kd", "negative_entropy"]
