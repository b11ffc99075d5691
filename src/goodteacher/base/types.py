"""What flows through the loop: a batch, a network's output, what a loss needs, and where in training we are.

Shape legend, used in every docstring: N examples, C classes, D features, H height, W width, S stages, V views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from goodteacher.base.input_spec import InputSpec
from goodteacher.base.seeds import derive

Logits: TypeAlias = Tensor
"""``(N, C)``, unnormalised log-probabilities."""
Probabilities: TypeAlias = Tensor
"""``(N, C)``, rows on the simplex."""
Labels: TypeAlias = Tensor
"""``(N,)`` int64."""
PerExample: TypeAlias = Tensor
"""``(N,)``."""
Reduction: TypeAlias = Literal["mean", "sum", "none"]
Terms: TypeAlias = dict[str, Tensor]
"""Named, weighted scalars whose sum is minimised."""


@dataclass(frozen=True)
class Mixed:
    """What each example of a batch was mixed with.

    Attributes:
        labels: ``(N,)`` int64 of the partners.
        share: of an example's own label, in [0, 1], the same for the whole batch; its partner's has the rest.
    """

    labels: Labels
    share: float


@dataclass(frozen=True)
class Batch:
    """Examples as the models see them.

    Attributes:
        inputs: ``(N, ...)`` augmented and normalised.
        labels: ``(N,)`` int64.
        indices: ``(N,)`` int64, each example's row in the training split; stable over epochs.
        views: further augmented views by name (``strong``, ``rotated``), present only if somebody needs them.
        mixed: where each input is a mixture with another example's, that example's label; None for plain inputs.
        spec: what the inputs and views were made for; None where nobody says, and then no network can ask for another.
        seen: the batch as networks of other input specs see it, by spec: made by the first who asks (see `adapt.seen_by`).
    """

    inputs: Tensor
    labels: Labels
    indices: Tensor
    views: Mapping[str, Tensor] = field(default_factory=dict)
    mixed: Mixed | None = None
    spec: InputSpec | None = None
    seen: dict[InputSpec, Batch] = field(default_factory=dict, init=False, repr=False, compare=False)


@dataclass(frozen=True)
class Output:
    """What a network answers; everything but the logits is present only if needed.

    Attributes:
        logits: ``(N, C)``.
        embedding: ``(N, D)``, the vector the classifier reads.
        stages: maps ``(N, D, H, W)`` after each stage, shallow to deep.
        pre_activations: the same maps before their last non-linearity.
        stem: map after the first layer.
        extra: what a prepared teacher adds, by name: logits of auxiliary heads, factors of a paraphraser.
        views: outputs for ``Batch.views`` by name.
    """

    logits: Logits
    embedding: Tensor | None = None
    stages: tuple[Tensor, ...] = ()
    pre_activations: tuple[Tensor, ...] = ()
    stem: Tensor | None = None
    extra: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    views: Mapping[str, Output] = field(default_factory=dict)


Tap: TypeAlias = Literal["embedding", "stages", "pre_activations", "stem"]


@dataclass(frozen=True)
class Needs:
    """What an objective or method must be served with; ``a | b`` joins two lists.

    Attributes:
        network: taps of the network in training.
        teacher: taps of the frozen teacher.
        views: augmented views of the batch beyond the plain one.
        uses_teacher: whether a teacher is needed at all.
        output: whether the network in training is to be run on the plain batch; False for a loss that runs it itself.
        examples: whether the number of training examples must be known (tables and memories with a row an example).
        preparation: names of things to be prepared once per teacher before any student starts.
        initial_epochs: epochs of an initialisation stage before the main training.
    """

    network: frozenset[Tap] = frozenset()
    teacher: frozenset[Tap] = frozenset()
    views: frozenset[str] = frozenset()
    uses_teacher: bool = False
    examples: bool = False
    preparation: frozenset[str] = frozenset()
    initial_epochs: int = 0
    output: bool = True

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.network | other.network,
            self.teacher | other.teacher,
            self.views | other.views,
            self.uses_teacher or other.uses_teacher,
            self.examples or other.examples,
            self.preparation | other.preparation,
            max(self.initial_epochs, other.initial_epochs),
            self.output or other.output,
        )


@dataclass(frozen=True)
class Progress:
    """Where in training a step is; schedules are pure functions of it.

    Attributes:
        step: 0-based, over the whole training.
        steps_per_epoch: batches an epoch.
        epochs: planned length.
        seed: the run's seed, from which a step's private randomness is derived.
        initial: whether this is the stage of initialisation that some methods have before the main training; steps and
            epochs are counted within each stage.
    """

    step: int
    steps_per_epoch: int
    epochs: int
    seed: int = 0
    initial: bool = False

    @property
    def epoch(self) -> int:
        """1-based epoch, as papers count."""
        return self.step // self.steps_per_epoch + 1

    @property
    def fraction(self) -> float:
        """Share of training done before this step, in [0, 1)."""
        return self.step / (self.steps_per_epoch * self.epochs)

    def generator(self, stream: str) -> torch.Generator:
        """Return the CPU generator of a named stream at this step: the same whether or not training was interrupted."""
        return torch.Generator().manual_seed(derive(self.seed, stream, self.step))


class Loss(Protocol):
    """An objective or a method: weighted terms from outputs; an `nn.Module` where it has parameters or memory."""

    @property
    def needs(self) -> Needs:
        """Return what the loop must serve."""
        ...

    def __call__(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return named, weighted scalars; the loop minimises their sum."""
        ...


class FrozenTeacher(Protocol):
    """Anything that answers an `Output` for a `Batch` and never trains."""

    def __call__(self, batch: Batch, taps: frozenset[Tap]) -> Output:
        """Return the teacher's output for a batch, with the taps that somebody needs."""
        ...


def auxiliary(loss: object) -> nn.Module | None:
    """Return the loss's own module, whose parameters train with the network, or None for a stateless loss."""
    return loss if isinstance(loss, nn.Module) else None
