"""Target maps beyond one temperature: logits as probabilities, a T for each class, the largest few, a share of the label.

Legend: N examples, C classes; z logits, p = softmax(z).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.checks import check_labels
from goodteacher.base.errors import check_choice, check_range
from goodteacher.base.probability import brier_score, log_probabilities, log_soften, nll, one_hot, widen
from goodteacher.base.types import Labels, Logits
from goodteacher.maps.views import OneView

# As for one temperature: far beyond any network seen.
LOG_TEMPERATURES = (float(np.log(1 / 50)), float(np.log(50.0)))


@dataclass(frozen=True)
class Linear(OneView):
    """Read raw logits trained by `scores.brier_logits` as probabilities: project ``z / M`` onto the simplex."""

    target: float = 1.0
    uses_labels: ClassVar[bool] = False

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return the logarithm of the projection, so that its softmax is the projection."""
        return log_probabilities(project_to_simplex(logits.float() / self.target))

    def state(self) -> dict[str, Any]:
        """Return M."""
        return {"target": self.target}


@dataclass(frozen=True)
class VectorTemperature(OneView):
    """Divide each class's centred logit by that class's own T, and add its bias.

    Attributes:
        temperatures: T, ``(C,)``, each > 0.
        bias: ``(C,)``, or empty for none.
    """

    temperatures: tuple[float, ...]
    bias: tuple[float, ...] = ()
    uses_labels: ClassVar[bool] = False

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


@dataclass(frozen=True)
class TopK(OneView):
    """Keep the k largest probabilities as they are.

    Attributes:
        k: how many.
        rest: what becomes of the others: ``spread`` shares their sum evenly among them; ``drop`` takes it to zero and brings the
            k to sum 1.
    """

    k: int
    rest: Literal["spread", "drop"] = "spread"
    uses_labels: ClassVar[bool] = False

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return log-probabilities, those of a zero at the smallest normal number."""
        log_p = log_soften(logits)
        classes = log_p.shape[-1]
        if self.k >= classes:
            return log_p
        kept = torch.zeros_like(log_p, dtype=torch.bool).scatter_(-1, log_p.topk(self.k, dim=-1).indices, True)
        if self.rest == "spread":
            others = log_p.masked_fill(kept, -torch.inf).logsumexp(dim=-1, keepdim=True) - np.log(classes - self.k)
            return torch.where(kept, log_p, others)
        return log_probabilities(log_p.masked_fill(~kept, -torch.inf).softmax(dim=-1))

    def state(self) -> dict[str, Any]:
        """Return the options."""
        return {"k": self.k, "rest": self.rest}


@dataclass(frozen=True)
class LabelMix(OneView):
    """Move the target towards the training label: ``(1 - w) p + w e_y``.

    Labels belong to training examples. Where none are given, as wherever a teacher is scored on held-out examples, the teacher
    is left as it is: mixed with the label it is scored against, any teacher would look good.

    Attributes:
        weight: w in [0, 1].
    """

    weight: float
    uses_labels: ClassVar[bool] = True

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return log-probabilities of the mixture, or the logits unchanged without labels.

        Raises:
            ShapeError: if the labels do not fit the logits.
        """
        if labels is None:
            return logits
        check_labels(labels, examples=logits.shape[0], classes=logits.shape[1])
        p = log_soften(logits).exp()
        return log_probabilities(p.lerp(one_hot(labels, logits.shape[1]).to(p), self.weight))

    def state(self) -> dict[str, Any]:
        """Return w."""
        return {"weight": self.weight}


def project_to_simplex(x: Tensor) -> Tensor:
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


def fit_vector_temperature(
    logits: Logits,
    labels: Labels,
    *,
    score: Literal["brier", "nll"] = "brier",
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
class FitLinear:
    """Nothing to fit: M is the objective's own."""

    target: float = 1.0
    source: ClassVar[str] = "Hui & Belkin (2021)"
    views: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check_range("target", self.target, low=0.0, open_low=True)

    def fit(self, logits: Logits, labels: Labels) -> Linear:
        """Return the map."""
        return Linear(self.target)


@dataclass(frozen=True)
class FitVectorTemperature:
    """Fit the map `VectorTemperature`; see `fit_vector_temperature`."""

    score: Literal["brier", "nll"] = "brier"
    bias: bool = False
    source: ClassVar[str] = "Guo et al. (2017)"
    views: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check_choice("score", self.score, ("brier", "nll"))

    def fit(self, logits: Logits, labels: Labels) -> VectorTemperature:
        """Return the fitted map."""
        temperatures, bias = fit_vector_temperature(logits, labels, score=self.score, bias=self.bias)
        return VectorTemperature(tuple(temperatures.tolist()), tuple(bias.tolist()) if self.bias else ())


@dataclass(frozen=True)
class FitTopK:
    """Nothing to fit: k is given; see `TopK`."""

    k: int = 5
    rest: Literal["spread", "drop"] = "spread"
    source: ClassVar[str] = "Shen & Xing (2022)"
    views: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check_range("k", self.k, low=1)
        check_choice("rest", self.rest, ("spread", "drop"))

    def fit(self, logits: Logits, labels: Labels) -> TopK:
        """Return the map."""
        return TopK(self.k, self.rest)


@dataclass(frozen=True)
class FitLabelMix:
    """Nothing to fit: w is given, because on held-out labels the best w would always be 1; see `LabelMix`."""

    weight: float = 0.1
    source: ClassVar[str] = "Reed et al. (2015)"
    views: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check_range("weight", self.weight, low=0.0, high=1.0)

    def fit(self, logits: Logits, labels: Labels) -> LabelMix:
        """Return the map."""
        return LabelMix(self.weight)
