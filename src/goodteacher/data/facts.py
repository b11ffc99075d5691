"""What is known of a problem without its examples: what a plan must know, and what a report says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from goodteacher.base.input_spec import InputSpec


@dataclass(frozen=True)
class Facts:
    """What is known of a problem; the first seven decide a plan, the rest is for people.

    Attributes:
        fingerprint: hash of every number in the problem.
        classes: number of classes C.
        input_shape: of one example as a model sees it.
        examples: of the training split.
        is_image: whether inputs are images.
        knows_truth: whether the true label distribution of the training examples is known.
        has_votes: whether the training examples have human votes.
        name: for people and file names.
        summary: one line, see `Problem.describe`.
        class_names: C names.
        notes: what a number on this problem must say beside it.
        inputs: what a network made for this problem sees; None where an earlier version did not write it down.
    """

    fingerprint: str
    classes: int
    input_shape: tuple[int, ...]
    examples: int
    is_image: bool
    knows_truth: bool
    has_votes: bool
    name: str = ""
    summary: str = ""
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: InputSpec | None = None

    def stored(self) -> dict[str, Any]:
        """Return the facts as ``facts.json`` holds them; `read` is the inverse."""
        return {
            "fingerprint": self.fingerprint,
            "name": self.name,
            "describe": self.summary,
            "classes": self.classes,
            "class_names": list(self.class_names),
            "input_shape": list(self.input_shape),
            "train": self.examples,
            "is_image": self.is_image,
            "knows_truth": self.knows_truth,
            "has_votes": self.has_votes,
            "notes": list(self.notes),
            "inputs": self.inputs.stored() if self.inputs else None,
        }

    @staticmethod
    def read(stored: Mapping[str, Any], *, fingerprint: str = "", tensors: Collection[str] = ()) -> Facts:
        """Return facts from ``facts.json``.

        Files of earlier versions lack the fingerprint and three answers, which are told from what lies around them.

        Args:
            stored: what `stored` returned, read back from JSON.
            fingerprint: of the problem, where the file does not say it: the name of its folder.
            tensors: names of those kept with the problem, ``train.truth`` and ``train.votes`` among them.

        Returns:
            The facts.
        """
        shape = tuple(stored["input_shape"])
        return Facts(
            stored.get("fingerprint", fingerprint),
            stored["classes"],
            shape,
            stored["train"],
            is_image=stored.get("is_image", len(shape) == 3),
            knows_truth=stored.get("knows_truth", "train.truth" in tensors),
            has_votes=stored.get("has_votes", "train.votes" in tensors),
            name=stored["name"],
            summary=stored["describe"],
            class_names=tuple(stored["class_names"]),
            notes=tuple(stored["notes"]),
            inputs=InputSpec.read(stored["inputs"]) if stored.get("inputs") else None,
        )
