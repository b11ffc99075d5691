"""Frozen teachers: a network, a map around a teacher, a table of known distributions; each answers an `Output` for a `Batch`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn

from goodteacher.base.checks import check_simplex
from goodteacher.base.errors import DataError
from goodteacher.base.input_spec import InputSpec
from goodteacher.base.probability import log_probabilities
from goodteacher.base.types import Batch, FrozenTeacher, Output, Tap
from goodteacher.data.loader import weak_views
from goodteacher.maps.ensembles import Space, mean_of
from goodteacher.maps.target_map import TargetMap
from goodteacher.models.adapt import seen_by
from goodteacher.models.taps import TappedModel, Taps
from goodteacher.train.precision import Precision, autocast, lay_out


class NetworkTeacher:
    """A trained network in eval mode, without gradient.

    Args:
        model: the network; it is put into eval mode and its parameters are frozen.
        taps: where it is read.
        precision: of its forward pass.
        spec: what it expects to see; None for what batches are made for.
    """

    def __init__(
        self, model: nn.Module, taps: Taps | None = None, precision: Precision = "fp32", spec: InputSpec | None = None
    ) -> None:
        self.model = lay_out(model).eval().requires_grad_(False)
        self.tapped = TappedModel(self.model, taps)
        self.precision, self.spec = precision, spec

    def __call__(self, batch: Batch, taps: frozenset[Tap]) -> Output:
        """Return the network's output for the plain batch, and for each further view."""
        # A student with batch statistics may have switched modes on a shared module: eval is set at each call.
        self.model.eval()
        batch = seen_by(batch, self.spec)
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


class Derived(Protocol):
    """A teacher made of others' answers: the loop runs each of those once, however many are made of it."""

    @property
    def parts(self) -> tuple[FrozenTeacher, ...]:
        """The teachers whose answers it reads."""
        ...

    def of(self, answers: Sequence[Output], batch: Batch) -> Output:
        """Return its own answer, from those of its parts to a batch."""
        ...


@dataclass(frozen=True)
class MappedTeacher:
    """A target map around a teacher."""

    base: FrozenTeacher
    target_map: TargetMap

    @property
    def parts(self) -> tuple[FrozenTeacher, ...]:
        """The teacher it is around."""
        return (self.base,)

    @property
    def views(self) -> frozenset[str]:
        """Names of the augmented views that the map averages over."""
        return weak_views(self.target_map.views)

    def of(self, answers: Sequence[Output], batch: Batch) -> Output:
        """Return the base's output with mapped logits."""
        (output,) = answers
        views = {name: replace(v, logits=self._mapped(v.logits, batch)) for name, v in output.views.items()}
        if not self.views:
            return replace(output, logits=self._mapped(output.logits, batch), views=views)
        stack = torch.stack([output.logits, *(output.views[name].logits for name in sorted(self.views))])
        return replace(output, logits=self._mapped(stack, batch), views=views)

    def _mapped(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return mapped logits of one view ``(N, C)`` or several ``(V, N, C)``, with labels where the map reads any."""
        apply = self.target_map if logits.dim() == 2 else self.target_map.of_views
        if not self.target_map.uses_labels:
            return apply(logits)
        times = logits.shape[-2] // len(batch.labels)  # a view may hold each example often
        own = apply(logits, batch.labels.repeat_interleave(times))
        if batch.mixed is None:
            return own
        other = apply(logits, batch.mixed.labels.repeat_interleave(times))
        return mean_of(torch.stack([own, other]), own.new_tensor([batch.mixed.share, 1 - batch.mixed.share]))

    def __call__(self, batch: Batch, taps: frozenset[Tap]) -> Output:
        """Return the base's output for a batch with mapped logits."""
        return self.of([self.base(batch, taps)], batch)


@dataclass(frozen=True)
class EnsembleTeacher:
    """The weighted mean of several teachers' probabilities or logits; it has no features.

    Attributes:
        parts: the members.
        weights: one per member, summing to 1.
        space: what is averaged.
    """

    parts: tuple[FrozenTeacher, ...]
    weights: tuple[float, ...]
    space: Space = "probabilities"

    def of(self, answers: Sequence[Output], batch: Batch) -> Output:
        """Return the mean of the members' logits, for the batch and for each view."""
        views = {name: Output(self._mean([a.views[name] for a in answers])) for name in batch.views}
        return Output(self._mean(answers), views=views)

    def _mean(self, answers: Sequence[Output]) -> Tensor:
        stack = torch.stack([answer.logits for answer in answers])
        return mean_of(stack, torch.tensor(self.weights), space=self.space)

    def __call__(self, batch: Batch, taps: frozenset[Tap]) -> Output:
        """Return the members' mean."""
        return self.of([part(batch, taps) for part in self.parts], batch)


class FoldTeacher:
    """A teacher for each fold of the training examples, which answers for the examples of that fold and no others.

    Args:
        members: member k never saw the labels of fold k.
        folds: ``(examples,)`` each training example's fold.
        device: where batches are.
    """

    def __init__(self, members: Sequence[FrozenTeacher], folds: Tensor, device: torch.device | str = "cpu") -> None:
        self.members, self.folds = tuple(members), folds.to(device)

    def __call__(self, batch: Batch, taps: frozenset[Tap]) -> Output:
        """Return, for each example, the logits of the member that never saw its label."""
        if taps:
            raise DataError("a teacher for each fold", rule="has no features in common", received=f"{sorted(taps)}")
        fold = self.folds[batch.indices]
        views = {"": batch.inputs, **batch.views}
        logits: dict[str, Tensor] = {}
        for k, member in enumerate(self.members):
            own = fold == k
            if not bool(own.any()):
                continue
            # A view may hold each example often, in a row.
            rows = {name: own.repeat_interleave(len(view) // len(own)) for name, view in views.items()}
            part = Batch(
                batch.inputs[own],
                batch.labels[own],
                batch.indices[own],
                {name: view[rows[name]] for name, view in batch.views.items()},
                spec=batch.spec,
            )
            answer = member(part, taps)
            for name, view in views.items():
                z = answer.views[name].logits if name else answer.logits
                logits.setdefault(name, z.new_zeros(len(view), z.shape[1]))[rows[name]] = z
        return Output(logits.pop(""), views={name: Output(z) for name, z in logits.items()})


def is_derived(teacher: FrozenTeacher) -> TypeGuard[Derived]:
    """Say whether a teacher is made of others' answers."""
    return isinstance(teacher, MappedTeacher | EnsembleTeacher)


def views_of(teacher: FrozenTeacher | None) -> frozenset[str]:
    """Return the augmented views that a teacher, or one it is made of, reads beside the batch itself."""
    if teacher is None or not is_derived(teacher):
        return frozenset()
    own = teacher.views if isinstance(teacher, MappedTeacher) else frozenset[str]()
    return own.union(*(views_of(part) for part in teacher.parts))


def answer_all(wanted: Iterable[tuple[FrozenTeacher, frozenset[Tap]]], batch: Batch) -> dict[int, Output]:
    """Run each distinct teacher once on a batch, with the union of the taps that somebody needs.

    Args:
        wanted: teachers as the learners hold them, with the taps each learner needs; the same object may come often.
        batch: the shared batch.

    Returns:
        ``id(teacher)`` to its output.
    """
    taps: dict[int, frozenset[Tap]] = {}
    answers: dict[int, Output] = {}
    pairs = list(wanted)

    def gather(teacher: FrozenTeacher, needed: frozenset[Tap]) -> None:
        taps[id(teacher)] = taps.get(id(teacher), frozenset()) | needed
        if is_derived(teacher):
            for part in teacher.parts:
                gather(part, needed)

    def answer(teacher: FrozenTeacher) -> Output:
        key = id(teacher)
        if key not in answers:
            if is_derived(teacher):
                answers[key] = teacher.of([answer(part) for part in teacher.parts], batch)
            else:
                answers[key] = teacher(batch, taps[key])
        return answers[key]

    for teacher, needed in pairs:
        gather(teacher, needed)
    for teacher, _ in pairs:
        answer(teacher)
    return answers
