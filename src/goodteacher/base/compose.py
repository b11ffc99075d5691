"""From the name a user writes to a loss: rows of a table, options checked against the constructor, sums of losses."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import nn

from goodteacher.base.custom import built, is_own, resolve
from goodteacher.base.errors import ConfigError, check_choice, suggest
from goodteacher.base.types import Batch, Loss, Output, Progress, Setting, Terms
from goodteacher.base.weighted import weighted_by_name

Spec: TypeAlias = str | Mapping[str, Mapping[str, Any] | None]
"""``"brier"``, ``"crd + kd"``, or ``{"brier": {"scale": 10}}`` with one key for each part of a sum."""


@dataclass(frozen=True)
class LossRow:
    """A row of the table of objectives or methods.

    Attributes:
        build: the loss's constructor; its keyword parameters are the options; one called ``setting`` receives the `Setting`.
        source: paper.
        joined: option defaults that change when the loss is one part of a sum.
        alone: whether it means anything by itself; False for a mere term, which needs a score beside it.
        deploys: whether it hands over more than the network in training (`Loss.deployed`).
        retired: options that are gone, with the value that nobody changed: part of the names of runs and of nothing else.
    """

    build: Callable[..., Loss]
    source: str
    joined: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = True
    deploys: bool = False
    retired: Mapping[str, Any] = field(default_factory=dict)


def parse(spec: Spec, table: Mapping[str, LossRow], what: str) -> dict[str, dict[str, Any]]:
    """Return each part's name and options, checked against the table and the constructors.

    Args:
        spec: what the user wrote.
        table: name to row.
        what: ``"objective"`` or ``"method"``, for messages.

    Returns:
        Name to options, in the order written.

    Raises:
        ConfigError: for an unknown name or option, an option of the wrong type, or a name given twice.
    """
    if isinstance(spec, str):
        names = [part.strip() for part in spec.split("+")]
        if len(set(names)) < len(names):
            raise ConfigError(what, rule="may name each part once", received=repr(spec))
        parts: dict[str, Any] = dict.fromkeys(names)
    elif isinstance(spec, Mapping) and spec:
        parts = {str(name): options for name, options in spec.items()}
    else:
        raise ConfigError(what, rule="must be a name or a mapping from name to options", received=repr(spec))
    return {
        name: checked_options(f"{what} '{name}'", row_of(name, table, what).build, options)
        for name, options in parts.items()
    }


def row_of(name: str, table: Mapping[str, LossRow], what: str) -> LossRow:
    """Return the row behind a name: the table's, or one made for a user's own ``module:Name``.

    Args:
        name: of a row; or of a subclass of `Loss`, whose keyword parameters are its options and which receives the `Setting` as
            ``setting`` if it wants it; or of a function of tensors, as `weighted` reads it, with an option ``weight`` of 1.
        table: name to row.
        what: ``"objective"`` or ``"method"``.

    Raises:
        ConfigError: for an unknown name, or one that stands for something else.
    """
    if not is_own(name):
        check_choice(what, name, table)
        return table[name]
    named, found = f"{what} '{name}'", resolve(what, name)
    if inspect.isclass(found):
        if not issubclass(found, Loss):
            rule = "must be a subclass of goodteacher.base.types.Loss, or a function"
            raise ConfigError(named, rule=rule, received=f"the class {found.__name__}")
        row = LossRow(found, "the user's own", deploys=found.deployed is not Loss.deployed)
    else:
        row = LossRow(weighted_by_name(named, found, has_teacher=what != "objective"), "the user's own")
    if what != "objective" and "gamma" in option_defaults(row.build):
        rule = "may not have an option 'gamma', which is the weight of the label in every method"
        raise ConfigError(named, rule=rule, remedy="call it otherwise")
    return row


def option_defaults(build: Callable[..., Any]) -> dict[str, Any]:
    """Return a constructor's options with their defaults."""
    parameters = inspect.signature(build).parameters.items()
    return {k: p.default for k, p in parameters if k != "setting" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def checked_options(what: str, build: Callable[..., Any], options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return options as the types a constructor's parameters are annotated with.

    Args:
        what: whose options they are, for messages.
        build: the constructor.
        options: what the user wrote; None for none.

    Returns:
        A new mapping.

    Raises:
        ConfigError: for an unknown option, one of the wrong type, or options that are no mapping.
    """
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(what, rule="takes a mapping from option to value", received=repr(options))
    allowed = option_defaults(build)
    try:
        hints = typing.get_type_hints(build.__init__ if inspect.isclass(build) else build)
    except (NameError, TypeError) as error:
        raise ConfigError(what, rule="must have annotations that can be read", received=str(error)) from None
    checked = {}
    for name, value in (options or {}).items():
        if name not in allowed:
            remedy = suggest(str(name), allowed) if allowed else "it has no options"
            raise ConfigError(
                f"option of {what}", rule="must be one of its parameters", received=repr(name), remedy=remedy
            )
        checked[str(name)] = _coerce(f"option '{name}' of {what}", value, hints.get(name, Any))
    return checked


def written_options(what: str, build: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the defaults of all that are not given, which is how they decide the name of a run.

    Args:
        what: whose options they are, for messages.
        build: the constructor.
        options: checked.

    Raises:
        ConfigError: if an option has no default and is not given.
    """
    written = {**option_defaults(build), **options}
    for name, value in written.items():
        if value is inspect.Parameter.empty:
            raise ConfigError(f"option '{name}' of {what}", rule="must be given, because it has no default")
    return written


def _coerce(what: str, value: Any, hint: Any) -> Any:
    """Return the value as the annotated type; YAML reads 1e-5 as text and 10 as an int where a float is meant."""
    kinds = (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )
    if value is None and type(None) in kinds:
        return None
    if float in kinds and not isinstance(value, bool) and isinstance(value, int | float | str):
        try:
            if math.isfinite(number := float(value)) or not isinstance(value, str):
                return number
            raise ConfigError(what, rule="must be a finite number", received=repr(value))
        except ValueError:
            if str not in kinds and not any(typing.get_origin(k) is typing.Literal for k in kinds):
                raise ConfigError(what, rule="must be a number", received=repr(value)) from None
    for kind in kinds:
        if typing.get_origin(kind) is typing.Literal and value in typing.get_args(kind):
            return value
        if kind is Any or (kind is bool and isinstance(value, bool)):
            return value
        if isinstance(kind, type) and isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
            return value
        if typing.get_origin(kind) in (tuple, Sequence) and isinstance(value, list | tuple):
            return tuple(value)
        if typing.get_origin(kind) is Mapping and isinstance(value, Mapping):
            return dict(value)
    names = ", ".join(dict.fromkeys(_kind_name(k) for k in kinds))
    raise ConfigError(what, rule=f"must be {names}", received=repr(value))


def _kind_name(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    return "None" if kind is type(None) else getattr(kind, "__name__", str(kind))


def build_parts(parts: Mapping[str, Mapping[str, Any]], table: Mapping[str, LossRow], setting: Setting) -> list[Loss]:
    """Construct each part with its options; parts of a sum take the row's ``joined`` defaults.

    Args:
        parts: from `parse`.
        table: name to row.
        setting: handed to constructors that ask for it.

    Returns:
        One loss per part.
    """
    losses = []
    for name, options in parts.items():
        row = row_of(name, table, "loss")
        given = {**(row.joined if len(parts) > 1 else {}), **options}
        given = {k: v for k, v in given.items() if k not in row.retired}
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}  # JSON knows no tuples
        if "setting" in inspect.signature(row.build).parameters:
            given["setting"] = setting
        losses.append(built(f"loss '{name}'", row.build, given) if is_own(name) else row.build(**given))
    return losses


class Joined(Loss):
    """The sum of several losses: terms side by side, needs united, parameters of all parts in one module."""

    def __init__(self, parts: list[Loss]) -> None:
        super().__init__()
        self._parts = tuple(parts)
        # Only parts with a state are registered, under the names that checkpoints of interrupted trainings have.
        self.modules_of_parts = nn.ModuleList(part for part in parts if [*part.parameters(), *part.buffers()])
        self.needs = functools.reduce(operator.or_, (part.needs for part in parts))
        self.advice = next((part.advice for part in parts if part.advice), "")

    @property
    def parts(self) -> tuple[Loss, ...]:
        """The losses that are added."""
        return self._parts

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the terms of all parts; a name used twice is numbered.

        In the stage of initialisation only the parts that have one speak.
        """
        terms: Terms = {}
        for part in self.parts:
            if progress.initial and not part.needs.initial_epochs:
                continue
            for name, value in part(network, teacher, batch, progress).items():
                numbered = (f"{name}_{i}" for i in itertools.count(2))
                terms[name if name not in terms else next(n for n in numbered if n not in terms)] = value
        return terms

    def prepare(self, network: nn.Module, batches: Iterable[Batch]) -> None:
        """Prepare the parts that ask for it; where there are several, the pass is kept in memory for them."""
        asking = [part for part in self.parts if part.needs.prepares]
        shared = list(batches) if len(asking) > 1 else batches
        for part in asking:
            part.prepare(network, shared)

    def deployed(self, network: nn.Module) -> nn.Module:
        """Return what the parts hand over, one upon the other; only one of them changes anything."""
        for part in self.parts:
            network = part.deployed(network)
        return network

    def memory_bytes(self) -> int:
        """Return the size of all parts' memories."""
        return sum(part.memory_bytes() for part in self.parts)


def join(parts: list[Loss]) -> Loss:
    """Return the only part, or the sum of several."""
    return parts[0] if len(parts) == 1 else Joined(parts)
