"""Who teaches a student: one network, several as one, a network a fold, or a table; and the target map around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

How = Literal["network", "probabilities", "logits", "folds", "filter", "truth", "votes"]
TABLES = ("truth", "votes")
# Teachers that look up a training example's row, and so need the whole training split in its order.
BY_EXAMPLE = (*TABLES, "folds", "filter")


@dataclass(frozen=True)
class Teaching:
    """Who teaches.

    Attributes:
        how: ``network``, one run; ``probabilities`` or ``logits``, the mean of several; ``folds``, run k answers for the
            training examples of fold k, whose labels it never saw; ``filter``, the averaged predictions of one run in
            training; ``truth`` or ``votes``, a table of the problem.
        runs: ids.
        weights: of a mean: ``equal``, or fitted on ``validation``.
        target_map: name to options.
    """

    how: How
    runs: tuple[str, ...] = ()
    weights: Literal["equal", "validation"] = "equal"
    target_map: dict[str, Any] = field(default_factory=lambda: {"identity": {}})

    @property
    def space(self) -> Literal["probabilities", "logits"]:
        """What is averaged where several answer: networks of folds, on examples none of them saw, as probabilities."""
        return "logits" if self.how == "logits" else "probabilities"

    @property
    def network(self) -> str | None:
        """The one run whose features a student may read, or None."""
        return self.runs[0] if self.how == "network" else None

    @staticmethod
    def read(value: Mapping[str, Any]) -> Teaching:
        """Return what `dataclasses.asdict` wrote, read back from JSON."""
        return Teaching(**{**value, "runs": tuple(value["runs"])})
