"""What decides a run's numbers, and the content hash that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from goodteacher.base.custom import is_own
from goodteacher.base.input_spec import InputSpec
from goodteacher.data.facts import Facts
from goodteacher.study.teaching import Teaching

# Raised whenever a change of the code changes the numbers of a run with the same description.
NUMERICS = 2
# Fields of a recipe that came later, with the values under which nothing changes.
LATER = {"sampling": "natural", "class_weights": None, "quantise": None}
_ABSENT = object()


@dataclass(frozen=True)
class RunSpec:
    """One network to be trained: everything that decides its numbers.

    Attributes:
        kind: ``teacher``, ``student``, or ``preparation`` of a teacher for a method that needs one.
        model: name to options.
        loss: name to options, defaults written out.
        gamma: weight of the label's cross-entropy in a method.
        recipe: all of it.
        keep: the checkpoint rule.
        seed: of everything random.
        problem: fingerprint.
        teaching: who teaches, for a student; who is prepared, for a preparation.
        initial_epochs: of initialisation, before the recipe's own.
        start: run whose weights training starts from; None for fresh ones.
        fold: (k, K) for a network that does not see fold k of K of the training examples.
        inputs: what the network expects to see, as `InputSpec.stored`; None for what its problem makes.
        code: name of a user's own network, loss or map to the hash of its source; None where nothing is.
    """

    kind: str
    model: dict[str, dict[str, Any]]
    loss: dict[str, dict[str, Any]]
    gamma: float
    recipe: dict[str, Any]
    keep: str
    seed: int
    problem: str
    teaching: Teaching | None = None
    initial_epochs: int = 0
    start: str | None = None
    fold: tuple[int, int] | None = None
    inputs: dict[str, Any] | None = None
    code: dict[str, str] | None = None

    def input_spec(self, facts: Facts) -> InputSpec | None:
        """Return what the network expects to see; None where an earlier version did not write down what its problem makes."""
        return InputSpec.read(self.inputs) if self.inputs else facts.inputs

    def input_shape(self, facts: Facts) -> tuple[int, ...]:
        """Return the shape of one example as the network sees it."""
        return tuple(self.inputs["shape"]) if self.inputs else facts.input_shape

    @staticmethod
    def read(value: Mapping[str, Any]) -> RunSpec:
        """Return what `dataclasses.asdict` wrote, read back from JSON: a spec of the same id."""
        teaching, fold = value.get("teaching"), value.get("fold")
        return RunSpec(
            **{
                **value,
                "teaching": Teaching.read(teaching) if teaching else None,
                "fold": (fold[0], fold[1]) if fold else None,
            }
        )

    @property
    def own_names(self) -> tuple[tuple[str, str], ...]:
        """The kind and name of everything in it that is a user's own."""
        maps = self.teaching.target_map if self.teaching else {}
        kinds = (("model", self.model), ("loss", self.loss), ("map", maps))
        # A chain of maps is one name.
        parts = ((kind, part.strip()) for kind, names in kinds for name in names for part in name.split("+"))
        return tuple((kind, part) for kind, part in parts if is_own(part))

    @property
    def id(self) -> str:
        """Content hash: two runs with one id are the same run."""
        return _digest(asdict(self))

    @property
    def training_id(self) -> str:
        """Content hash without the checkpoint rule: runs that share it are one training with several rules."""
        return _digest({**asdict(self), "keep": None})

    @property
    def needs_runs(self) -> tuple[str, ...]:
        """The runs that must be finished before this one can start."""
        return (*(self.teaching.runs if self.teaching else ()), *([self.start] if self.start else []))

    def describe(self) -> str:
        """Return it in a few words, for a message."""
        return f"{self.id} ({self.kind} {self.model_name}, seed {self.seed})"

    @property
    def model_name(self) -> str:
        """The model's name."""
        return next(iter(self.model))


def _digest(value: dict[str, Any]) -> str:
    # What came later is left out where it says nothing, so that a run keeps the name it had before.
    said = {key: part for key, part in value.items() if key not in ("inputs", "code") or part is not None}
    said["recipe"] = {key: part for key, part in value["recipe"].items() if LATER.get(key, _ABSENT) != part}
    text = json.dumps({**said, "numerics": NUMERICS}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
