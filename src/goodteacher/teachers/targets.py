"""Target maps: what is done to a trained teacher's logits before a student sees them; fitted on validation only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from goodteacher.base.compose import checked_options
from goodteacher.base.errors import ConfigError, check_choice, check_range
from goodteacher.base.probability import brier_score, log_probabilities, log_soften, nll
from goodteacher.base.types import Labels, Logits

Score = Literal["brier", "nll"]
# Far beyond any network seen: trained ones need 0.3 to 5.
TEMPERATURES = (1 / 50, 50.0)


class TargetMap(Protocol):
    """A fitted map from logits to logits; ``softmax`` of the result is what the student is taught."""

    def __call__(self, logits: Logits) -> Logits:
        """Return mapped logits, ``(N, C)``."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the fitted numbers, for the run's file and for people."""
        ...


@dataclass(frozen=True)
class Identity:
    """The teacher as it is."""

    def __call__(self, logits: Logits) -> Logits:
        """Return the logits unchanged."""
        return logits

    def state(self) -> dict[str, Any]:
        """Return nothing: there is nothing to fit."""
        return {}


@dataclass(frozen=True)
class Temperature:
    """Divide the logits by T."""

    temperature: float

    def __call__(self, logits: Logits) -> Logits:
        """Return ``z / T``."""
        return logits / self.temperature

    def state(self) -> dict[str, Any]:
        """Return T."""
        return {"temperature": self.temperature}


@dataclass(frozen=True)
class Linear:
    """Read raw logits trained by `scores.brier_logits` as probabilities: project ``z / M`` onto the simplex."""

    target: float = 1.0

    def __call__(self, logits: Logits) -> Logits:
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


MAPS: dict[str, Callable[..., FitTemperature | FitLinear | FitIdentity]] = {
    "identity": FitIdentity,
    "temperature": FitTemperature,
    "linear": FitLinear,
}


def parse_map(spec: str | Mapping[str, Mapping[str, Any] | None] | None) -> FitTemperature | FitLinear | FitIdentity:
    """Return the map to be fitted that a user named.

    Args:
        spec: a name, a mapping from the name to its options, or None for the identity.

    Returns:
        An object with ``fit(logits, labels)``.

    Raises:
        ConfigError: for an unknown name or option.
    """
    if spec is None:
        return FitIdentity()
    if not isinstance(spec, str) and len(spec) != 1:
        raise ConfigError("map", rule="must name one map", received=f"{len(spec)} names")
    name, given = (spec, None) if isinstance(spec, str) else next(iter(spec.items()))
    check_choice("map", name, MAPS)
    options = checked_options(f"map '{name}'", MAPS[name], given)
    return MAPS[name](**options)
