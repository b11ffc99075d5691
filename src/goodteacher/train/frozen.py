"""Frozen teachers: a network, a map around a teacher, a table of known distributions; each answers an `Output` for a `Batch`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from goodteacher.base.errors import DataError, check_simplex
from goodteacher.base.probability import log_probabilities
from goodteacher.base.types import Batch, FrozenTeacher, Output, Tap
from goodteacher.models.features import TappedModel, Taps
from goodteacher.teachers.targets import TargetMap
from goodteacher.train.precision import Precision, autocast, lay_out


class NetworkTeacher:
    """A trained network in eval mode, without gradient.

    Args:
        model: the network; it is put into eval mode and its parameters are frozen.
        taps: where it is read.
        precision: of its forward pass.
    """

    def __init__(self, model: nn.Module, taps: Taps | None = None, precision: Precision = "fp32") -> None:
        self.model = lay_out(model).eval().requires_grad_(False)
        self.tapped = TappedModel(self.model, taps)
        self.precision = precision

    def __call__(self, batch: Batch, taps: frozenset[Tap]) -> Output:
        """Return the network's output for the plain batch, and for each further view."""
        # A student with batch statistics may have switched modes on a shared module: eval is set at each call.
        self.model.eval()
        with torch.no_grad(), autocast(batch.inputs.device, self.precision):
            answer = self.tapped(batch.inputs, taps)
            views = {name: self.tapped(inputs) for name, inputs in batch.views.items()}
        return replace(answer, views=views) if views else answer


class TableTeacher:
    """A table with a distribution for each training example: the true p*, human votes, averaged predictions.

    Args:
        probabilities: ``(examples, C)``, rows on the simplex, in the order of the training split.
        device: where batches are.

    Raises:
        ShapeError: if a row is no distribution.
    """

    def __init__(self, probabilities: Tensor, device: torch.device | str = "cpu") -> None:
        check_simplex(probabilities=probabilities)
        self.log_probabilities = log_probabilities(probabilities.float()).to(device)

    def __call__(self, batch: Batch, taps: frozenset[Tap]) -> Output:
        """Return the rows of the batch as logits, whatever the view."""
        if taps:
            raise DataError(
                "a table of distributions", rule="has no features", received=f"a method that reads {sorted(taps)}"
            )
        logits = self.log_probabilities[batch.indices]
        return Output(logits, views={name: Output(logits) for name in batch.views})


@dataclass(frozen=True)
class MappedTeacher:
    """A target map around a teacher; the loop runs the teacher once, however many maps there are around it."""

    base: FrozenTeacher
    target_map: TargetMap

    def of(self, output: Output) -> Output:
        """Return the base's output with mapped logits."""
        views = {name: replace(v, logits=self.target_map(v.logits)) for name, v in output.views.items()}
        return replace(output, logits=self.target_map(output.logits), views=views)

    def __call__(self, batch: Batch, taps: frozenset[Tap]) -> Output:
        """Return the base's output for a batch with mapped logits."""
        return self.of(self.base(batch, taps))


def answer_all(wanted: Iterable[tuple[FrozenTeacher, frozenset[Tap]]], batch: Batch) -> dict[int, Output]:
    """Run each distinct teacher once on a batch, with the union of the taps that somebody needs.

    Args:
        wanted: teachers as the learners hold them, with the taps each learner needs; the same object may come often.
        batch: the shared batch.

    Returns:
        ``id(teacher)`` to its output.
    """
    pairs = list(wanted)
    taps: dict[int, frozenset[Tap]] = {}
    bases: dict[int, FrozenTeacher] = {}
    for teacher, needed in pairs:
        base = teacher.base if isinstance(teacher, MappedTeacher) else teacher
        bases[id(base)] = base
        taps[id(base)] = taps.get(id(base), frozenset()) | needed
    answers = {key: base(batch, taps[key]) for key, base in bases.items()}
    for teacher, _ in pairs:
        if isinstance(teacher, MappedTeacher) and id(teacher) not in answers:
            answers[id(teacher)] = teacher.of(answers[id(teacher.base)])
    return answers
