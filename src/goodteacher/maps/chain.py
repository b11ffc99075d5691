"""Maps one after another.

Legend: V views, the plain one first, N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Labels, Logits
from goodteacher.maps.target_map import Fit, TargetMap, kind_of


@dataclass(frozen=True)
class Chain:
    """Maps one after another, in order; at most one of them averages over views."""

    steps: tuple[TargetMap, ...]

    def __post_init__(self) -> None:
        check_one_average(self.steps)

    @property
    def uses_labels(self) -> bool:
        """Say whether a step reads labels."""
        return any(step.uses_labels for step in self.steps)

    @property
    def views(self) -> int:
        """Return how many augmented views the step that averages over them wants, or 0."""
        return sum(step.views for step in self.steps)

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return the logits after all steps."""
        for step in self.steps:
            logits = step(logits, labels)
        return logits

    def of_views(self, stack: Tensor, labels: Labels | None = None) -> Logits:
        """Return the logits after all steps: those before the average on each view ``(V, N, C)``, the rest on the average."""
        for step in self.steps:
            stack = step_of_views(step, stack, labels)
        return stack[0]

    def state(self) -> dict[str, Any]:
        """Return each step's kind and state."""
        return {"steps": [{"kind": kind_of(step), "state": step.state()} for step in self.steps]}


def step_of_views(step: TargetMap, stack: Tensor, labels: Labels | None = None) -> Tensor:
    """Return what one map of a chain makes of ``(V, N, C)``: as many views, or one, ``(1, N, C)``, where it averages."""
    if step.views:
        return step.of_views(stack, labels)[None]
    return torch.stack([step(view, labels) for view in stack])


def check_one_average(steps: Iterable[TargetMap | Fit]) -> None:
    """Raise `ConfigError` if more than one step of a chain averages over views."""
    count = sum(step.views > 0 for step in steps)
    if count > 1:
        raise ConfigError("a chain of maps", rule="may average over views once", received=f"{count} times")


@dataclass(frozen=True)
class FitChain:
    """Fit maps in order, each on what those before it make of the logits.

    Attributes:
        steps: name to the map to be fitted.
    """

    steps: dict[str, Fit]
    source: ClassVar[str] = "each map's own"

    def __post_init__(self) -> None:
        check_one_average(self.steps.values())

    @property
    def views(self) -> int:
        """Return how many augmented views it wants; see `Chain.views`."""
        return sum(step.views for step in self.steps.values())

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the fitted maps as one.

        Args:
            logits: ``(N, C)``; or ``(V, N, C)``, the plain view first, for a chain that averages over views, whose maps behind
                the average are then fitted on it.
            labels: ``(N,)``.
        """
        stack = logits if logits.dim() == 3 else logits[None]
        fitted: list[TargetMap] = []
        for step in self.steps.values():
            fitted.append(step.fit(stack if step.views else stack[0], labels))
            stack = step_of_views(fitted[-1], stack)
        return Chain(tuple(fitted))
