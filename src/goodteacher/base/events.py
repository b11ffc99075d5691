"""What happens while something runs, told to whoever wants to know; it imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: ``step`` (``done`` of ``total``), ``epoch`` (its ``record``), ``line`` (a text worth a line), ``alarm`` (a text
            to be shouted), ``withdrawn`` (what takes it back), ``finished`` or ``failed`` (``runs``, with the reason in
            ``text``).
        name: whose it is: a learner's or a cohort's name for people.
        text: for people.
        done: steps done.
        total: steps of the whole training.
        record: of an epoch: mean losses, scores on validation, rate, seconds.
        runs: ids.
    """

    kind: Literal["step", "epoch", "line", "alarm", "withdrawn", "finished", "failed"]
    name: str = ""
    text: str = ""
    done: int = 0
    total: int = 0
    record: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] = ()


Sink: TypeAlias = Callable[[Event], object]
"""Receives events as they happen; what it returns is not looked at, and what it raises ends the work."""


def nobody(event: Event) -> None:
    """Take no notice."""
