"""Losses that are a weight times a pure function: a row of a table needs the function and nothing else.

The names of the function's parameters say what it reads (`READS`); its other parameters are the options, with the types and
defaults that its signature gives them, and it checks them itself: it is called once on made-up numbers when the loss is built.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, check_range
from goodteacher.base.probability import soften
from goodteacher.base.shapes import made_up_step, shapes_of
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Setting, Tap, Terms

EMBEDDING, STAGES = frozenset[Tap]({"embedding"}), frozenset[Tap]({"stages"})


@dataclass(frozen=True)
class Read:
    """What a parameter of a function is handed.

    Attributes:
        value: of the network's output, the teacher's, and the batch.
        needs: what the loop must serve for it.
    """

    value: Callable[[Output, Output, Batch], Tensor]
    needs: Needs = field(default_factory=Needs)


READS: dict[str, Read] = {
    "logits": Read(lambda network, teacher, batch: network.logits),
    "student_logits": Read(lambda network, teacher, batch: network.logits),
    "teacher_logits": Read(lambda network, teacher, batch: teacher.logits, Needs(uses_teacher=True)),
    "probabilities": Read(lambda network, teacher, batch: soften(teacher.logits), Needs(uses_teacher=True)),
    "labels": Read(lambda network, teacher, batch: batch.labels),
    "student_embedding": Read(lambda network, teacher, batch: _embedding(network), Needs(EMBEDDING)),
    "teacher_embedding": Read(
        lambda network, teacher, batch: _embedding(teacher), Needs(teacher=EMBEDDING, uses_teacher=True)
    ),
    "student_map": Read(lambda network, teacher, batch: network.stages[-1], Needs(STAGES)),
    "teacher_map": Read(lambda network, teacher, batch: teacher.stages[-1], Needs(teacher=STAGES, uses_teacher=True)),
}


def _embedding(output: Output) -> Tensor:
    assert output.embedding is not None, "the loop serves needs"
    return output.embedding


@dataclass(frozen=True)
class Plain:
    """A function as a loss; see `weighted`, which makes it.

    Attributes:
        function: pure.
        term: name of the term.
        weight: name of the option that multiplies it; empty for none.
        every_stage: whether the maps of all stages are compared and added up, or the last alone.
        advice: of the loss.
    """

    function: Callable[..., Tensor]
    term: str
    weight: str = ""
    every_stage: bool = False
    advice: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        """The parameters that are no options."""
        return tuple(name for name in inspect.signature(self.function).parameters if name in READS)


class Weighted(Loss):
    """Weight times a pure function of logits, embeddings or maps.

    Args:
        plain: the function, and how it is read.
        setting: supplies shapes of the networks, for the trial.
        options: of the function, and its weight.

    Raises:
        ConfigError: for an option that the function refuses, or networks that it cannot compare.
    """

    def __init__(self, plain: Plain, setting: Setting, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.plain, self.options = plain, dict(options)
        self.advice, self.reads = plain.advice, {name: READS[name].value for name in plain.reads}
        self.weight: float | None = self.options.pop(plain.weight) if plain.weight else None
        if self.weight is not None:
            check_range(plain.weight, self.weight, low=0.0)
        needs = Needs()
        for name in plain.reads:
            needs = needs | READS[name].needs
        # A score against labels alone: where a teacher speaks too, it is the teacher that weighs.
        scores = "labels" in plain.reads and not needs.uses_teacher
        self.needs = replace(
            needs, weighs_classes=scores and "reduction" in inspect.signature(plain.function).parameters
        )
        if plain.every_stage:
            shapes_of(setting, plain.term, student="stages")
        self._try(setting)

    def _try(self, setting: Setting) -> None:
        """Call the function once, so that it refuses an option before anything trains; no random stream is moved."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            (value,) = self(*made_up_step(setting, self.needs), Progress(0, 1, 1)).values()
        if not isinstance(value, Tensor) or value.dim():
            received = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(
                f"'{self.plain.term}'",
                rule="must return one number for a batch, a tensor of shape ()",
                received=received,
                remedy="take the mean over the batch",
            )

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the one term."""
        assert teacher is not None or not self.needs.uses_teacher, (
            f"the plan refuses {self.plain.term} without a teacher"
        )
        if self.plain.every_stage and teacher is not None:
            pairs = zip(network.stages, teacher.stages, strict=False)
            each = [
                self._value(replace(network, stages=(own,)), replace(teacher, stages=(theirs,)), batch)
                for own, theirs in pairs
            ]
            value = torch.stack(each).sum()
        else:
            value = self._value(network, teacher or network, batch)
        return {self.plain.term: value if self.weight is None else self.weight * value}

    def _value(self, network: Output, teacher: Output, batch: Batch) -> Tensor:
        given = {name: read(network, teacher, batch) for name, read in self.reads.items()}
        if batch.class_weights is not None and self.needs.weighs_classes:
            return batch.weighed_mean(self.plain.function(**given, **self.options, reduction="none"))
        return self.plain.function(**given, **self.options)

    def extra_repr(self) -> str:
        """Return the term and the options, for people."""
        weight = {self.plain.weight: self.weight} if self.plain.weight else {}
        return ", ".join([self.plain.term, *(f"{k}={v}" for k, v in {**weight, **self.options}.items())])


def weighted(
    function: Callable[..., Tensor],
    *,
    term: str = "",
    options: Iterable[str] | None = None,
    every_stage: bool = False,
    advice: str = "",
    **defaults: Any,
) -> Callable[..., Loss]:
    """Return the constructor of a loss that is a pure function, for a row of a table.

    Args:
        function: of parameters that `READS` names, and of options.
        term: name of its term; the function's own by default.
        options: those that a study may set; all by default.
        every_stage: whether ``student_map`` and ``teacher_map`` are those of every stage, summed, or of the last alone.
        advice: see `Loss.advice`.
        defaults: of options where they differ from the signature's. The one name that is no parameter is the weight's.

    Returns:
        A function of ``setting`` and the options, whose signature names them.

    Example:
        >>> def apart(student_logits, teacher_logits, *, power: float = 2.0):
        ...     return (student_logits - teacher_logits).abs().pow(power).mean()
        >>> inspect.signature(weighted(apart, alpha=0.5))
        <Signature (*, setting, alpha=0.5, power=2.0)>
    """
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function)
    (weight,) = [name for name in defaults if name not in parameters] or [""]
    plain = Plain(function, term or function.__name__, weight, every_stage, advice)
    offered = [name for name in parameters if name not in READS and name != "reduction"] if options is None else options
    values = {weight: defaults[weight]} if weight else {}
    values |= {name: defaults.get(name, parameters[name].default) for name in offered}

    def build(*, setting: Setting, **given: Any) -> Loss:
        return Weighted(plain, setting, {**values, **given})

    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = [inspect.Parameter("setting", keyword)]
    signature += [inspect.Parameter(name, keyword, default=value) for name, value in values.items()]
    vars(build)["__signature__"] = inspect.Signature(signature)
    build.__annotations__ = {name: float if name == weight else hints.get(name, Any) for name in values}
    return build


def weighted_by_name(what: str, function: Callable[..., Tensor], *, has_teacher: bool) -> Callable[..., Loss]:
    """Return the constructor of a loss that is a user's own function, with an option ``weight`` of 1.

    Args:
        what: kind and name of the function, for messages.
        function: of parameters that `READS` names, and of options with defaults.
        has_teacher: whether there is a teacher to read.

    Raises:
        ConfigError: for a function with other parameters.
    """
    try:
        parameters, _ = inspect.signature(function).parameters, typing.get_type_hints(function)
    except (TypeError, ValueError, NameError) as error:
        raise ConfigError(what, rule="must have a signature that can be read", received=str(error)) from None
    readable = [name for name, read in READS.items() if has_teacher or not read.needs.uses_teacher]
    reads = [name for name in parameters if name in readable]
    others = [p for name, p in parameters.items() if name not in readable]
    if not reads or any(p.default is p.empty or p.kind is p.POSITIONAL_ONLY for p in others):
        raise ConfigError(
            what,
            rule=f"must be a function whose parameters without a default are among {', '.join(readable)}",
            received=str(inspect.signature(function)),
            remedy="name them so, give every option a default, or write a subclass of goodteacher.base.types.Loss",
        )
    return weighted(function) if "weight" in parameters else weighted(function, weight=1.0)
