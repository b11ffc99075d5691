"""Target maps: what is done to a trained teacher's logits before a student sees them; fitted on validation only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from goodteacher.base.compose import checked_options
from goodteacher.base.errors import ConfigError, check_choice, check_range
from goodteacher.base.probability import brier_score, log_probabilities, log_soften, nll
from goodteacher.base.types import Labels, Logits
from goodteacher.teachers.maps import (
    FitLabelMix,
    FitTopK,
    FitVectorTemperature,
    LabelMix,
    TopK,
    VectorTemperature,
)
from goodteacher.teachers.proxy_maps import FitProxy, Proxy

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

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return mapped logits, ``(N, C)``."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the fitted numbers, for the run's file and for people."""
        ...


@dataclass(frozen=True)
class Identity:
    """The teacher as it is."""

    uses_labels: ClassVar[bool] = False

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return the logits unchanged."""
        return logits

    def state(self) -> dict[str, Any]:
        """Return nothing: there is nothing to fit."""
        return {}


@dataclass(frozen=True)
class Temperature:
    """Divide the logits by T."""

    temperature: float
    uses_labels: ClassVar[bool] = False

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return ``z / T``."""
        return logits / self.temperature

    def state(self) -> dict[str, Any]:
        """Return T."""
        return {"temperature": self.temperature}


@dataclass(frozen=True)
class Linear:
    """Read raw logits trained by `scores.brier_logits` as probabilities: project ``z / M`` onto the simplex."""

    target: float = 1.0
    uses_labels: ClassVar[bool] = False

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return the logarithm of the projection, so that its softmax is the projection."""
        return log_probabilities(project_to_simplex(logits.float() / self.target))

    def state(self) -> dict[str, Any]:
        """Return M."""
        return {"target": self.target}


def project_to_simplex(x: torch.Tensor) -> torch.Tensor:
    r"""Return the nearest probability distribution in Euclidean distance.

    .. math:: \arg\min_{q \in \Delta} \| q - x \|^2 = \max(x - \tau, 0), \quad \sum_c q_c = 1

    Args:
        x: ``(N, C)``.

    Returns:
        ``(N, C)``, rows on the simplex.

    Example:
        >>> project_to_simplex(torch.tensor([[1.2, 0.2]]))
        tensor([[1., 0.]])

    Source: Held, Wolfe & Crowder (1974); Duchi et al. (2008), figure 1.
    """
    # The projection ignores a constant added to a row; without it, large logits would leave no digits for the 1.
    x = x - x.amax(dim=-1, keepdim=True)
    ordered = x.sort(dim=-1, descending=True).values
    excess = ordered.cumsum(dim=-1) - 1
    count = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
    last = (ordered - excess / count > 0).sum(dim=-1, keepdim=True)
    tau = excess.gather(-1, last - 1) / last
    return (x - tau).clamp_min(0)


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

    def __post_init__(self) -> None:
        check_choice("score", self.score, ("brier", "nll"))
        if self.value is not None:
            check_range("value", self.value, low=0.0, open_low=True)

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the fitted map."""
        return Temperature(self.value if self.value is not None else fit_temperature(logits, labels, score=self.score))


@dataclass(frozen=True)
class FitLinear:
    """Nothing to fit: M is the objective's own."""

    target: float = 1.0
    source: ClassVar[str] = "Hui & Belkin (2021)"

    def __post_init__(self) -> None:
        check_range("target", self.target, low=0.0, open_low=True)

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the map."""
        return Linear(self.target)


@dataclass(frozen=True)
class FitIdentity:
    """Nothing to fit."""

    source: ClassVar[str] = "the teacher as trained"

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the map."""
        return Identity()


@dataclass(frozen=True)
class Chain:
    """Maps one after another, in order."""

    steps: tuple[TargetMap, ...]

    @property
    def uses_labels(self) -> bool:
        """Say whether a step reads labels."""
        return any(step.uses_labels for step in self.steps)

    @classmethod
    def from_state(cls, steps: Iterable[Mapping[str, Any]]) -> Chain:
        """Return the chain that `state` describes."""
        return cls(tuple(FITTED[step["kind"]](**step["state"]) for step in steps))

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return the logits after all steps."""
        for step in self.steps:
            logits = step(logits, labels)
        return logits

    def state(self) -> dict[str, Any]:
        """Return each step's kind and state."""
        return {"steps": [{"kind": type(step).__name__, "state": step.state()} for step in self.steps]}


@dataclass(frozen=True)
class FitChain:
    """Fit maps in order, each on what those before it make of the logits.

    Attributes:
        steps: name to the map to be fitted.
    """

    steps: dict[str, Fit]
    source: ClassVar[str] = "each map's own"

    def fit(self, logits: Logits, labels: Labels) -> TargetMap:
        """Return the fitted maps as one."""
        fitted: list[TargetMap] = []
        for step in self.steps.values():
            fitted.append(step.fit(logits, labels))
            logits = fitted[-1](logits)
        return Chain(tuple(fitted))


Fit: TypeAlias = (
    FitIdentity | FitTemperature | FitLinear | FitVectorTemperature | FitProxy | FitTopK | FitLabelMix | FitChain
)

MAPS: dict[str, Callable[..., Fit]] = {
    "identity": FitIdentity,
    "temperature": FitTemperature,
    "linear": FitLinear,
    "vector_temperature": FitVectorTemperature,
    "pt_proxy": FitProxy,
    "top_k": FitTopK,
    "label_mix": FitLabelMix,
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
