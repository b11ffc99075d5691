"""What a target map is, before and after it is fitted; and the one that leaves a teacher as it is.

Legend: V views, the plain one first, N examples, C classes.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from goodteacher.base.custom import built, is_own, resolve
from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Labels, Logits


@runtime_checkable
class TargetMap(Protocol):
    """A fitted map from logits to logits; ``softmax`` of the result is what the student is taught.

    Labels are those of training examples, handed over by whoever teaches with the map and by nobody who scores it: a map that
    reads them (``uses_labels``) leaves the logits as they are without.
    """

    @property
    def uses_labels(self) -> bool:
        """Say whether labels make a difference."""
        ...

    @property
    def views(self) -> int:
        """Return how many augmented views of an example it wants beside the plain one."""
        ...

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return mapped logits, ``(N, C)``, of the plain view alone."""
        ...

    def of_views(self, stack: Tensor, labels: Labels | None = None) -> Logits:
        """Return mapped logits, ``(N, C)``, of all views, ``(V, N, C)`` with the plain one first."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the fitted numbers, for the run's file and for people."""
        ...


@runtime_checkable
class Fit(Protocol):
    """A map to be fitted on held-out examples; its options are its constructor's."""

    @property
    def views(self) -> int:
        """Return how many augmented views of an example the fit wants beside the plain one."""
        ...

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the fitted map.

        Args:
            logits: ``(N, C)`` of examples the network was not trained on; ``(1 + V, N, C)`` where there are views.
            labels: ``(N,)``.
        """
        ...


class FitOneView(abc.ABC):
    """A fit that looks at the plain view of an example alone; a user's own derives from it."""

    views: ClassVar[int] = 0

    @abc.abstractmethod
    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the fitted map; see `Fit.fit`."""


@dataclass(frozen=True)
class FitOwn:
    """A user's own fit, with what a study says of it.

    Attributes:
        name: ``module:Name``.
        options: all of them, for the name of a run.
        inner: what it built.
    """

    name: str
    options: Mapping[str, Any]
    inner: Fit

    @property
    def views(self) -> int:
        """Return how many augmented views it wants."""
        return self.inner.views

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the map that it fits, once it is sure that a later process can read it again.

        Raises:
            ConfigError: if it fails, or what it fits is no map that can be kept.
        """
        what = f"map '{self.name}'"
        fitted = built(what, self.inner.fit, {"logits": logits, "labels": labels}, must="must fit")
        if not isinstance(fitted, TargetMap):
            rule = "must fit a map, such as a subclass of goodteacher.maps.target_map.OneView"
            raise ConfigError(what, rule=rule, received=f"a {type(fitted).__name__}")
        kind = kind_of(fitted)
        if is_own(kind) and resolve("map", kind) is not type(fitted):
            raise ConfigError(what, rule="must fit a map whose class stands at the top of a module", received=kind)
        try:
            json.dumps(fitted.state())
        except TypeError as error:
            raise ConfigError(
                f"state of {what}", rule="must be numbers, texts and lists", received=str(error)
            ) from None
        return fitted


def kind_of(fitted: TargetMap) -> str:
    """Return the name under which a run's file keeps a map: its class, with the module for a user's own.

    Example:
        >>> kind_of(Identity())
        'Identity'
    """
    kind = type(fitted)
    own = not kind.__module__.startswith("goodteacher.")
    return f"{kind.__module__}:{kind.__qualname__}" if own else kind.__name__


class OneView(abc.ABC):
    """A map that looks at the plain view of an example alone; a user's own derives from it."""

    views: ClassVar[int] = 0
    uses_labels: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return mapped logits, ``(N, C)``."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what its constructor takes, as numbers, texts and lists."""

    def of_views(self, stack: Tensor, labels: Labels | None = None) -> Logits:
        """Return the mapped logits of the first of ``(V, N, C)``."""
        return self(stack[0], labels)


@dataclass(frozen=True)
class Identity(OneView):
    """The teacher as it is."""

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return the logits unchanged."""
        return logits

    def state(self) -> dict[str, Any]:
        """Return nothing: there is nothing to fit."""
        return {}


@dataclass(frozen=True)
class FitIdentity(FitOneView):
    """Nothing to fit."""

    source: ClassVar[str] = "the teacher as trained"

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the map."""
        return Identity()
