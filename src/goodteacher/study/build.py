"""The room that builds: networks, what their taps read, and losses, from specs; nobody else calls a constructor.

Here the tables of models, objectives and methods meet. Whoever plans builds drafts, whose weights nobody has drawn; whoever
trains builds the same things for good.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from goodteacher.base.compose import build_parts, join, row_of
from goodteacher.base.custom import is_hub, is_own
from goodteacher.base.errors import ConfigError, GoodteacherError
from goodteacher.base.types import Loss, Setting
from goodteacher.data.facts import Facts
from goodteacher.methods.labels import HardLabels
from goodteacher.methods.preparation import PREPARATIONS, Prepared
from goodteacher.methods.table import METHODS
from goodteacher.models.custom import own_code
from goodteacher.models.table import build_model
from goodteacher.models.taps import Taps, describe_taps, guess_taps, tap_shapes
from goodteacher.objectives.student_friendly import student_named
from goodteacher.objectives.table import OBJECTIVES
from goodteacher.study.prepare import PreparationLoss
from goodteacher.study.runspec import RunSpec

Parts = Mapping[str, Mapping[str, Any]]
Shapes = Mapping[str, tuple[tuple[int, ...], ...]]


@dataclass(frozen=True)
class Measured:
    """A network with what it answers and what its taps read.

    Attributes:
        network: trained, untrained or a draft.
        classes: it answers.
        shapes: tap to one shape per map, without N.
    """

    network: nn.Module
    classes: int
    shapes: Shapes


def build_network(model: Parts, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Return a model of the table, or a user's own, untrained, initialised from the global generator.

    Args:
        model: one name to its options.
        classes: C.
        input_shape: of one example as the network sees it.
    """
    ((name, options),) = model.items()
    return build_model(name, classes=classes, input_shape=input_shape, **options)


def bare(model: Parts) -> dict[str, dict[str, Any]]:
    """Return a model without the published weights of another house: for whoever loads others, or none."""
    return {
        name: {**options, "pretrained": False} if is_hub(name) else dict(options) for name, options in model.items()
    }


def measure(network: nn.Module, input_shape: tuple[int, ...]) -> Measured:
    """Return a network with its answers and taps measured on a batch of zeros; it is left as it came."""
    classes, shapes = tap_shapes(network, _zeros(network, input_shape))
    return Measured(network, classes, shapes)


def _zeros(network: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    """Return two examples, so that a network which drops a dimension of size 1 shows its true face."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    return torch.zeros(2, *input_shape, device=device)


def modules_of(
    model: Parts, classes: int, input_shape: tuple[int, ...]
) -> tuple[Taps, list[tuple[str, str, tuple[int, ...]]]]:
    """Return where a model is read, and (module name, class, output shape) of all its modules in order of execution."""
    network = draft(model, classes, input_shape).network
    return guess_taps(network), describe_taps(network, _zeros(network, input_shape))


class _Blank(TorchFunctionMode):
    """Leaves weights as memory happens to be: drawing them would take most of a plan's time."""

    drawing = ("normal_", "uniform_", "trunc_normal_")

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func.__name__ in self.drawing or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else given["tensor"]
        return func(*args, **given)


@contextlib.contextmanager
def drafting(names: Iterable[str]) -> Iterator[None]:
    """Build inside the block what is looked at for its shapes alone; the global generators are as they were, afterwards.

    A user's own network or loss may look at its numbers while it is built, and gets them.

    Args:
        names: of what is built.
    """
    own = any(is_own(name) for name in names)
    # What is not skipped (buffers of a memory, a user's own layers) still draws, and must not move the caller's numbers.
    with torch.random.fork_rng(devices=[]), contextlib.nullcontext() if own else _Blank():
        yield


def draft(model: Parts, classes: int, input_shape: tuple[int, ...]) -> Measured:
    """Return a model measured at little cost: its weights are no numbers to compute with.

    On the meta device the same would load PyTorch's compiler, which takes longer than a whole plan.

    Raises:
        ConfigError: if the network cannot be built, or does not take such inputs.
    """
    with drafting(model):
        network = build_network(bare(model), classes, input_shape)
        try:
            return measure(network, input_shape)
        except GoodteacherError:
            raise
        except Exception as error:  # whatever a network of somebody else's may raise
            raise ConfigError(
                f"model '{next(iter(model))}'",
                rule=f"must take inputs of shape {input_shape}",
                received=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            ) from error


def outline(model: Parts, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Return a model of the table on the meta device: what it is made of, for whoever counts."""
    with torch.device("meta"):
        return build_network(bare(model), classes, input_shape)


def check_classes(measured: Measured, classes: int, model: str) -> None:
    """Raise `ConfigError` unless a network answers a problem's classes."""
    if measured.classes != classes:
        raise ConfigError(
            f"model '{model}'", rule=f"must answer the problem's {classes} classes", received=measured.classes
        )


def setting_of(
    network: Measured | None,
    teacher: Measured | None,
    *,
    classes: int,
    examples: int = 0,
    labels: Tensor | None = None,
    student: Measured | None = None,
) -> Setting:
    """Return what a loss must know of a pair of networks and of the problem.

    Args:
        network: in training; None for a preparation, which has only a teacher.
        teacher: the network that teaches, where one does.
        classes: C.
        examples: of the training split.
        labels: of the training split.
        student: that a teacher in training is made for, where its objective names one.
    """
    return Setting(
        classes=classes,
        examples=examples,
        network_shapes=network.shapes if network else {},
        teacher_shapes=teacher.shapes if teacher else {},
        network=network.network if network else None,
        teacher=teacher.network if teacher else None,
        labels=labels,
        student=student.network if student else None,
        student_shapes=student.shapes if student else {},
    )


def student_in(objective: Parts, build: Callable[[dict[str, dict[str, Any]]], Measured]) -> Measured | None:
    """Return the student that an objective makes its teacher for, untrained, or None for an objective that serves any.

    Args:
        objective: its parts.
        build: makes a network from its model.
    """
    named = student_named({name: dict(options) for name, options in objective.items()})
    return None if named is None else build({named[0]: named[1]})


def build_loss(kind: str, parts: Parts, gamma: float, setting: Setting) -> Loss:
    """Return the sum of a run's parts, with the label's cross-entropy where γ > 0.

    Args:
        kind: ``teacher`` for objectives, ``student`` for methods.
        parts: name to options.
        gamma: γ.
        setting: what they must know.
    """
    if kind == "teacher":
        return join(build_parts(parts, OBJECTIVES, setting))
    if list(parts) == ["none"]:
        return HardLabels(gamma)
    # The label's cross-entropy stands first: the order of terms is the order of sums, and those are compared bit by bit.
    losses = build_parts(parts, METHODS, setting)
    return join([HardLabels(gamma), *losses] if gamma > 0 else losses)


def build_prepared(loss: Parts, teacher: Measured, classes: int) -> Prepared:
    """Return a teacher with the untrained addition of a preparation around it."""
    ((name, options),) = loss.items()
    return PREPARATIONS[name].build(teacher.network, setting_of(None, teacher, classes=classes), **options)


def code_behind(spec: RunSpec) -> dict[str, str] | None:
    """Return the hashes of the source behind a run's own names as they are in this process, or None where it has none."""
    found = {name: own_code(kind, name) for kind, name in spec.own_names}
    return {name: code for name, code in found.items() if code is not None} or None


def check_code(spec: RunSpec) -> None:
    """Raise `ConfigError` if a user's own code is no longer what a run was described with.

    A run of an earlier version, which did not look, is let through.
    """
    if not spec.code:
        return
    now = code_behind(spec) or {}
    changed = [name for name, code in spec.code.items() if now.get(name) != code]
    if changed:
        raise ConfigError(
            f"run {spec.id}",
            rule=f"needs '{changed[0]}' as it was when the run was planned",
            received="another source",
            remedy="bring the old source back, or train anew: the changed one is a run of its own",
        )


def network_in_training(spec: RunSpec, facts: Facts, teacher: Measured | None) -> nn.Module:
    """Return the untrained network of a run: its model, or its teacher with what a preparation adds to it.

    Args:
        spec: the run's.
        facts: of its problem.
        teacher: the network that teaches, where one does.
    """
    check_code(spec)
    if spec.kind == "preparation":
        assert teacher is not None, "a preparation always has its teacher"
        return build_prepared(spec.loss, teacher, facts.classes)
    return build_network(spec.model, facts.classes, spec.input_shape(facts))


def loss_in_training(
    spec: RunSpec, network: nn.Module, facts: Facts, teacher: Measured | None, labels: Tensor | None = None
) -> Loss:
    """Return a run's objective, method or preparation for the network it trains.

    Args:
        spec: the run's.
        network: in training.
        facts: of its problem; its number of examples is that of the rows the run trains on.
        teacher: the network that teaches, where one does.
        labels: of the rows the run trains on.

    Raises:
        ConfigError: if the network does not answer the problem's classes, or the method is undefined for this pair.
    """
    # A preparation brings its own loss: what trains is part of the network.
    if isinstance(network, Prepared):
        return PreparationLoss(network)
    own = measure(network, spec.input_shape(facts))
    check_classes(own, facts.classes, spec.model_name)
    shape = facts.input_shape
    # Only a teacher's objective can be made for a student, and that student sees what the problem makes.
    student = None
    if spec.kind == "teacher":
        student = student_in(spec.loss, lambda model: measure(build_network(model, facts.classes, shape), shape))
    setting = setting_of(
        own, teacher, classes=facts.classes, examples=facts.examples, labels=labels, student=student
    )  # fmt: skip
    return build_loss(spec.kind, spec.loss, spec.gamma, setting)


def rebuild(spec: RunSpec, facts: Facts, teacher: Callable[[], Measured]) -> nn.Module:
    """Return a finished run's network without its numbers: its model, or what its method hands over instead.

    Args:
        spec: the run's.
        facts: of its problem.
        teacher: makes the network that taught it, which is asked for only where the run's network holds parts of it.

    Returns:
        A network whose state dict has the names of the run's weights.
    """
    if spec.kind == "preparation":
        return network_in_training(spec, facts, teacher())
    network = network_in_training(replace(spec, model=bare(spec.model)), facts, None)
    # SimKD's student is kept with its projector and the teacher's head, whose shapes only the method itself knows.
    if spec.kind == "student" and any(row_of(part, METHODS, "method").deploys for part in spec.loss):
        return loss_in_training(spec, network, facts, teacher()).deployed(network)
    return network
