"""What flows through the loop: a batch, a network's output, what a loss needs, and where in training we are.

Shape legend, used in every docstring: N examples, C classes, D features, H height, W width, S stages, V views.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

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
        class_weights: ``(C,)`` what the score against a label is multiplied by, for the network in training; None for 1.
        spec: what the inputs and views were made for; None where nobody says, and then no network can ask for another.
        seen: the batch as networks of other input specs see it, by spec: made by the first who asks (see `adapt.seen_by`).
    """

    inputs: Tensor
    labels: Labels
    indices: Tensor
    views: Mapping[str, Tensor] = field(default_factory=dict)
    mixed: Mixed | None = None
    class_weights: Tensor | None = None
    spec: InputSpec | None = None
    seen: dict[InputSpec, Batch] = field(default_factory=dict, init=False, repr=False, compare=False)

    def weighed_mean(self, score: PerExample) -> Tensor:
        r"""Return the mean over the batch of a score against its labels, each multiplied by the weight of its class.

        .. math:: \frac{1}{N} \sum_n w_{y_n} \ell_n

        Args:
            score: ``(N,)``.

        Returns:
            Scalar.
        """
        if self.class_weights is None:
            return score.mean()
        return (score * self.class_weights.to(score)[self.labels]).mean()


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
        examples: whether the number of training examples must be known (tables and memories with one row per example).
        preparation: names of things to be prepared once per teacher before any student starts.
        initial_epochs: epochs of an initialisation stage before the main training.
        prepares: whether `Loss.prepare` is to be called on the network before the first step.
        weighs_classes: whether it has a score against labels that follows ``batch.class_weights``, through `Batch.weighed_mean`.
    """

    network: frozenset[Tap] = frozenset()
    teacher: frozenset[Tap] = frozenset()
    views: frozenset[str] = frozenset()
    uses_teacher: bool = False
    examples: bool = False
    preparation: frozenset[str] = frozenset()
    initial_epochs: int = 0
    output: bool = True
    prepares: bool = False
    weighs_classes: bool = False

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
            self.prepares or other.prepares,
            self.weighs_classes or other.weighs_classes,
        )


@dataclass(frozen=True)
class Progress:
    """Where in training a step is; schedules are pure functions of it.

    Attributes:
        step: 0-based, over the whole training.
        steps_per_epoch: batches per epoch.
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


@dataclass(frozen=True)
class Setting:
    """What a loss with parameters or memory must know of the problem and of the networks before training.

    Attributes:
        classes: C.
        examples: size of the training split.
        network_shapes: shapes without N of the network's taps, one tuple per map; ``embedding`` has one.
        teacher_shapes: the teacher's.
        network: the network in training itself, for methods that reuse parts of it.
        teacher: the teacher's network, where it has one.
        labels: ``(examples,)`` int64 of the training split, for methods that look up an example's class.
        student: an untrained network of the student that a teacher is made for, where its objective names one; parts of it are
            copied.
        student_shapes: the student's, as ``network_shapes``.
    """

    classes: int
    examples: int = 0
    network_shapes: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    teacher_shapes: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    network: nn.Module | None = None
    teacher: nn.Module | None = None
    labels: Tensor | None = None
    student: nn.Module | None = None
    student_shapes: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)


class Loss(nn.Module, abc.ABC):
    """An objective or a method: weighted terms from outputs.

    Its parameters train with the network's, its buffers are in the checkpoint, and neither is exported. Whoever trains with a
    loss asks for nothing but the members declared here.

    Attributes:
        needs: what the loop must serve.
        advice: what to try where the network learns nothing, for the alarm.
    """

    needs: Needs = Needs()
    advice: str = ""

    if TYPE_CHECKING:

        def __call__(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms: ...  # noqa: D102

    @abc.abstractmethod
    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return named, weighted scalars; the loop minimises their sum.

        Args:
            network: what the network in training answers, with the taps and views that the needs name.
            teacher: what the frozen teacher answers, or None without one.
            batch: with labels.
            progress: where in training.
        """

    @property
    def parts(self) -> tuple[Loss, ...]:
        """The losses that this one is the sum of: itself, but for a sum."""
        return (self,)

    def prepare(self, network: nn.Module, batches: Iterable[Batch]) -> None:
        """Look at the network as it is before the first step; called where ``needs.prepares``, otherwise nothing.

        Args:
            network: that is to be trained.
            batches: one pass over the training split, augmented as in training.
        """

    def deployed(self, network: nn.Module) -> nn.Module:
        """Return what is evaluated, kept and exported in place of the network in training: the network itself for most."""
        return network

    def memory_bytes(self) -> int:
        """Return the size of what is kept with one row per training example; it goes into every checkpoint."""
        return 0


class FrozenTeacher(Protocol):
    """Anything that answers an `Output` for a `Batch` and never trains."""

    def __call__(self, batch: Batch, taps: frozenset[Tap]) -> Output:
        """Return the teacher's output for a batch, with the taps that somebody needs."""
        ...
