"""Target maps by temperature: one T for all classes, or one for each.

Legend: N examples, C classes; z logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from goodteacher.base.errors import check_choice, check_range
from goodteacher.base.probability import brier_score, log_soften, nll, widen
from goodteacher.base.types import Labels, Logits
from goodteacher.maps.target_map import FitOneView, OneView, TargetMap

Score = Literal["brier", "nll"]
# Far beyond any network seen: trained ones need 0.3 to 5.
TEMPERATURES = (1 / 50, 50.0)
LOG_TEMPERATURES = (float(np.log(1 / 50)), float(np.log(50.0)))


@dataclass(frozen=True)
class Temperature(OneView):
    """Divide the logits by T."""

    temperature: float

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return ``z / T``."""
        return logits / self.temperature

    def state(self) -> dict[str, Any]:
        """Return T."""
        return {"temperature": self.temperature}


@dataclass(frozen=True)
class VectorTemperature(OneView):
    """Divide each class's centred logit by that class's own T, and add its bias.

    Attributes:
        temperatures: T, ``(C,)``, each > 0.
        bias: ``(C,)``, or empty for none.
    """

    temperatures: tuple[float, ...]
    bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperatures", tuple(self.temperatures))  # JSON knows no tuples
        object.__setattr__(self, "bias", tuple(self.bias))

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return ``(z - mean z) / T + b``."""
        z = widen(logits)
        centred = (z - z.mean(dim=-1, keepdim=True)) / z.new_tensor(self.temperatures)
        return centred + z.new_tensor(self.bias) if self.bias else centred

    def state(self) -> dict[str, Any]:
        """Return T and bias."""
        return {"temperatures": list(self.temperatures), "bias": list(self.bias)}


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


def fit_vector_temperature(
    logits: Logits,
    labels: Labels,
    *,
    score: Score = "brier",
    bias: bool = False,
    prior: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""Return a temperature for each class that minimises a proper score on held-out examples.

    .. math:: \arg\min_{T, b} \sum_n S(\mathrm{softmax}(\tilde z_n / T + b), y_n)
              + \tfrac{w}{2} \sum_c \left[ (\log T_c)^2 + b_c^2 \right], \quad \tilde z_n = z_n - \bar z_n

    Centring makes the map blind to a constant on an example's logits, as softmax is. Each class's prior is worth one example.

    Args:
        logits: ``(N, C)`` of examples the network was not trained on.
        labels: ``(N,)``.
        score: ``brier`` or ``nll``.
        bias: whether b is fitted too; else it is zero.
        prior: w ≥ 0.

    Returns:
        T and b, each ``(C,)`` float64 on the CPU; T in [1/50, 50].

    Raises:
        ConfigError: for an unknown score or a negative prior.

    Example:
        >>> z = torch.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
        >>> t, b = fit_vector_temperature(z, torch.tensor([0, 0, 1, 1]))
        >>> bool(t[0] > t[1]), b.tolist()  # the second class is the surer one
        (True, [0.0, 0.0])

    Source: Guo et al. (2017), section 4.2, vector scaling.

    Differs: there the logits are not centred.
    """
    check_choice("score", score, ("brier", "nll"))
    check_range("prior", prior, low=0.0)
    z = logits.detach().double().cpu()
    z = z - z.mean(dim=1, keepdim=True)
    value = partial(_vector_score, z, labels.cpu(), score, prior)
    # The Brier score has flat parts: the best of a coarse grid of equal temperatures is where to start.
    b = z.new_zeros(z.shape[1])
    starts = [torch.full_like(b, t) for t in np.linspace(*LOG_TEMPERATURES, 41)]
    log_t, b = min(starts, key=lambda t: float(value(t, b))).requires_grad_(True), b.requires_grad_(bias)
    minimise(lambda: value(log_t, b), [log_t, b] if bias else [log_t])
    return log_t.detach().clamp(*LOG_TEMPERATURES).exp(), b.detach()


def _vector_score(z: Tensor, labels: Labels, score: str, prior: float, log_t: Tensor, b: Tensor) -> Tensor:
    log_p = log_soften(z / log_t.clamp(*LOG_TEMPERATURES).exp() + b)
    each = brier_score(log_p.exp(), labels) if score == "brier" else nll(log_p, labels)
    return (each.sum() + prior / 2 * (log_t.square().sum() + b.square().sum())) / len(labels)


def minimise(value: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    """Minimise a deterministic function of a few float64 parameters in place, by L-BFGS with a line search."""
    solver = torch.optim.LBFGS(
        parameters, max_iter=300, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        with torch.enable_grad():
            loss = value()
        loss.backward()
        return loss

    solver.step(closure)


@dataclass(frozen=True)
class FitTemperature(FitOneView):
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
class FitVectorTemperature(FitOneView):
    """Fit the map `VectorTemperature`; see `fit_vector_temperature`."""

    score: Score = "brier"
    bias: bool = False
    source: ClassVar[str] = "Guo et al. (2017)"

    def __post_init__(self) -> None:
        check_choice("score", self.score, ("brier", "nll"))

    def fit(self, logits: Logits, labels: Labels) -> VectorTemperature:
        """Return the fitted map."""
        temperatures, bias = fit_vector_temperature(logits, labels, score=self.score, bias=self.bias)
        return VectorTemperature(tuple(temperatures.tolist()), tuple(bias.tolist()) if self.bias else ())
