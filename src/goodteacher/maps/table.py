"""Target maps: what is done to a trained teacher's logits before a student sees them; fitted on validation only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from goodteacher.base.compose import checked_options
from goodteacher.base.errors import ConfigError, check_choice, check_range
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.base.types import Labels, Logits
from goodteacher.maps.fits import (
    FitLabelMix,
    FitLinear,
    FitTopK,
    FitVectorTemperature,
    LabelMix,
    Linear,
    TopK,
    VectorTemperature,
)
from goodteacher.maps.proxy_maps import FitProxy, Proxy
from goodteacher.maps.views import FitViewAverage, OneView, ViewAverage

Score = Literal["brier", "nll"]
# Far beyond any network seen: trained ones need 0.3 to 5.
TEMPERATURES = (1 / 50, 50.0)


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


@dataclass(frozen=True)
class Identity(OneView):
    """The teacher as it is."""

    uses_labels: ClassVar[bool] = False

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return the logits unchanged."""
        return logits

    def state(self) -> dict[str, Any]:
        """Return nothing: there is nothing to fit."""
        return {}


@dataclass(frozen=True)
class Temperature(OneView):
    """Divide the logits by T."""

    temperature: float
    uses_labels: ClassVar[bool] = False

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return ``z / T``."""
        return logits / self.temperature

    def state(self) -> dict[str, Any]:
        """Return T."""
        return {"temperature": self.temperature}


def fit_temperature(logits: Logits, labels: Labels, *, score: Score = "brier", prior: float = 1.0) -> float:
    r"""Return the temperature that minimises a proper score on held-out examples.

    .. math:: \arg\min_T \sum_n S(\mathrm{softmax}(z_n / T), y_n) + \tfrac{w}{2} (\log T)^2

    The second term is the logarithm of a prior worth about one example. It does not show with a thousand examples; with a
    hundred, all of them right, it keeps T from running to zero and the score of the next mistake to infinity.

    Args:
        logits: ``(N, C)`` of examples the network was not trained on.
        labels: ``(N,)``.
        score: ``brier`` or ``nll``.
        prior: w ≥ 0; 0 fits the score alone.

    Returns:
        T in [1/50, 50]; bounded search on log T to 1e-4.

    Raises:
        ConfigError: for an unknown score.

    Example:
        >>> z = torch.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
        >>> round(fit_temperature(z, torch.tensor([0, 0, 0, 0]), score="nll", prior=0), 2)  # 3 of 4 right: p = 0.75
        3.64

    Source: Guo et al. (2017), section 4.2, for the map.
    """
    check_choice("score", score, ("brier", "nll"))
    check_range("prior", prior, low=0.0)
    z = logits.detach().double().cpu()
    y = labels.cpu()

    def mean_score(log_t: float) -> float:
        log_p = log_soften(z, float(np.exp(log_t)))
        per_example = brier_score(log_p.exp(), y) if score == "brier" else nll(log_p, y)
        return (float(per_example.sum()) + prior * log_t**2 / 2) / len(y)

    # The Brier score need not be unimodal in T: a coarse grid finds the basin, the bounded search its floor.
    low, high = np.log(TEMPERATURES)
    grid = np.linspace(low, high, 41)
    best = int(np.argmin([mean_score(t) for t in grid]))
    bounds = (grid[max(0, best - 1)], grid[min(40, best + 1)])
    return float(np.exp(minimize_scalar(mean_score, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x))


@dataclass(frozen=True)
class FitTemperature:
    """Fit the map `Temperature`, or take a given T."""

    score: Score = "brier"
    value: float | None = None
    source: ClassVar[str] = "Guo et al. (2017)"
    views: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check_choice("score", self.score, ("brier", "nll"))
        if self.value is not None:
            check_range("value", self.value, low=0.0, open_low=True)

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the fitted map."""
        return Temperature(self.value if self.value is not None else fit_temperature(logits, labels, score=self.score))


@dataclass(frozen=True)
class FitIdentity:
    """Nothing to fit."""

    source: ClassVar[str] = "the teacher as trained"
    views: ClassVar[int] = 0

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the map."""
        return Identity()


@dataclass(frozen=True)
class Chain:
    """Maps one after another, in order; at most one of them averages over views."""

    steps: tuple[TargetMap, ...]

    def __post_init__(self) -> None:
        check_one_average(self.steps)

    @property
    def uses_labels(self) -> bool:
        """Say whether a step reads labels."""
        return any(step.uses_labels for step in self.steps)

    @property
    def views(self) -> int:
        """Return how many augmented views the step that averages over them wants, or 0."""
        return sum(step.views for step in self.steps)

    @classmethod
    def from_state(cls, steps: Iterable[Mapping[str, Any]]) -> Chain:
        """Return the chain that `state` describes."""
        return cls(tuple(FITTED[step["kind"]](**step["state"]) for step in steps))

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return the logits after all steps."""
        for step in self.steps:
            logits = step(logits, labels)
        return logits

    def of_views(self, stack: Tensor, labels: Labels | None = None) -> Logits:
        """Return the logits after all steps: those before the average on each view ``(V, N, C)``, the rest on the average."""
        for step in self.steps:
            stack = step_of_views(step, stack, labels)
        return stack[0]

    def state(self) -> dict[str, Any]:
        """Return each step's kind and state."""
        return {"steps": [{"kind": type(step).__name__, "state": step.state()} for step in self.steps]}


def step_of_views(step: TargetMap, stack: Tensor, labels: Labels | None = None) -> Tensor:
    """Return what one map of a chain makes of ``(V, N, C)``: as many views, or one, ``(1, N, C)``, where it averages."""
    if step.views:
        return step.of_views(stack, labels)[None]
    return torch.stack([step(view, labels) for view in stack])


def check_one_average(steps: Iterable[TargetMap | Fit]) -> None:
    """Raise `ConfigError` if more than one step of a chain averages over views."""
    count = sum(step.views > 0 for step in steps)
    if count > 1:
        raise ConfigError("a chain of maps", rule="may average over views once", received=f"{count} times")


@dataclass(frozen=True)
class FitChain:
    """Fit maps in order, each on what those before it make of the logits.

    Attributes:
        steps: name to the map to be fitted.
    """

    steps: dict[str, Fit]
    source: ClassVar[str] = "each map's own"

    def __post_init__(self) -> None:
        check_one_average(self.steps.values())

    @property
    def views(self) -> int:
        """Return how many augmented views it wants; see `Chain.views`."""
        return sum(step.views for step in self.steps.values())

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the fitted maps as one.

        Args:
            logits: ``(N, C)``; or ``(V, N, C)``, the plain view first, for a chain that averages over views, whose maps behind
                the average are then fitted on it.
            labels: ``(N,)``.
        """
        stack = logits if logits.dim() == 3 else logits[None]
        fitted: list[TargetMap] = []
        for step in self.steps.values():
            fitted.append(step.fit(stack if step.views else stack[0], labels))
            stack = step_of_views(fitted[-1], stack)
        return Chain(tuple(fitted))


Fit: TypeAlias = (
    FitIdentity
    | FitTemperature
    | FitLinear
    | FitVectorTemperature
    | FitProxy
    | FitTopK
    | FitLabelMix
    | FitViewAverage
    | FitChain
)

MAPS: dict[str, Callable[..., Fit]] = {
    "identity": FitIdentity,
    "temperature": FitTemperature,
    "linear": FitLinear,
    "vector_temperature": FitVectorTemperature,
    "pt_proxy": FitProxy,
    "top_k": FitTopK,
    "label_mix": FitLabelMix,
    "view_average": FitViewAverage,
}

# From the class's name in a run's file, and the state beside it, back to the map.
FITTED: dict[str, Callable[..., TargetMap]] = {
    "Identity": Identity,
    "Temperature": Temperature,
    "Linear": Linear,
    "VectorTemperature": VectorTemperature,
    "Proxy": Proxy,
    "TopK": TopK,
    "LabelMix": LabelMix,
    "ViewAverage": ViewAverage,
    "Chain": Chain.from_state,
}


def parse_map(spec: str | Mapping[str, Mapping[str, Any] | None] | None) -> Fit:
    """Return the map to be fitted that a user named.

    Args:
        spec: a name, a mapping from the name to its options, or None for the identity. ``temperature + top_k`` names a chain,
            fitted in the order written; its options are a mapping from a step's name to that step's.

    Returns:
        An object with ``fit(logits, labels)``.

    Raises:
        ConfigError: for an unknown name or option, or a step named twice.

    Example:
        >>> parse_map({"temperature + top_k": {"top_k": {"k": 3}}}).steps["top_k"].k
        3
    """
    if spec is None:
        return FitIdentity()
    if not isinstance(spec, str) and len(spec) != 1:
        raise ConfigError("map", rule="must name one map", received=f"{len(spec)} names")
    name, given = (spec, None) if isinstance(spec, str) else next(iter(spec.items()))
    if "+" in name:
        return _parse_chain(name, given)
    check_choice("map", name, MAPS)
    options = checked_options(f"map '{name}'", MAPS[name], given)
    return MAPS[name](**options)


def _parse_chain(name: str, given: Mapping[str, Any] | None) -> FitChain:
    names = [part.strip() for part in name.split("+")]
    if len(set(names)) < len(names):
        raise ConfigError("map", rule="may name each step once", received=repr(name))
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"map '{name}'", rule="takes a mapping from step to options", received=repr(given))
    steps = given or {}
    options = steps["steps"] if set(steps) == {"steps"} else steps  # as `FitChain` itself is written down
    for step in options:
        check_choice(f"step of map '{name}'", step, names)
    return FitChain({part: parse_map({part: options.get(part)}) for part in names})
