"""The target map of the proxy teacher, and two searches for its coefficients on held-out examples.

Legend: N examples, C classes, M coefficients; q* the proxy's probabilities, ε coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from goodteacher.base.errors import ShapeError, check_choice, check_range
from goodteacher.base.probability import brier_score, log_soften
from goodteacher.base.seeds import torch_stream
from goodteacher.base.types import Labels, Logits
from goodteacher.maps.proxy import LOG_FLOOR, check_coefficients, proxy_teacher, pull_at, solve
from goodteacher.maps.target_map import FitOneView, OneView
from goodteacher.maps.temperature import minimise

Coefficients: TypeAlias = tuple[float, ...] | tuple[tuple[float, ...], ...]
# A search looks at this many probabilities, or this many examples where there are many classes: a few numbers are fitted.
ENTRIES, LEAST_EXAMPLES = 200_000, 1000


def proxy_scores(log_p: Tensor, labels: Labels, epsilon: Tensor) -> Tensor:
    """Return the Brier score of q* for each example, with the gradient in ε of the implicit solution."""
    with torch.no_grad():
        log_q, weight = solve(log_p, epsilon.detach(), 1e-10)
    q, p = log_q.exp(), log_p.exp()
    if epsilon.requires_grad:
        # One Newton step from the solution: it moves nothing, and its derivative is that of the solution.
        residual = p * pull_at(q, -torch.expm1(log_q), epsilon)[0]
        inverse = 1 / weight
        multiplier = (residual * inverse).sum(dim=1, keepdim=True) / inverse.sum(dim=1, keepdim=True)
        q = q + (residual - multiplier) * inverse
    return brier_score(q, labels)


def _examples(logits: Logits, labels: Labels) -> tuple[Tensor, Labels]:
    """Return log-probabilities and labels to search with: all examples, or a fixed draw of very many."""
    count = max(LEAST_EXAMPLES, ENTRIES // logits.shape[1])
    rows = torch.randperm(len(labels), generator=torch_stream(0, "pt_proxy examples"))[:count].sort().values
    return log_soften(logits.detach().cpu()[rows].double()).clamp_min(LOG_FLOOR), labels.cpu()[rows]


def search_coefficients(
    logits: Logits, labels: Labels, *, order: int, per_class: bool, trials: int, spread: float, seed: int
) -> Tensor:
    r"""Return the best of random coefficients, by the Brier score of their proxies on held-out examples.

    Draws are uniform on [-spread, spread], those below -1/m put at -1/m; zero, the teacher itself, is always among the trials.

    Args:
        logits: ``(N, C)`` of examples the network was not trained on.
        labels: ``(N,)``.
        order: M.
        per_class: whether ε is ``(C, M)``.
        trials: draws.
        spread: of the draws.
        seed: of the draws.

    Returns:
        ε, ``(M,)`` or ``(C, M)`` float64.

    Source: Zhang et al. (2023), from secondary sources; the distribution of the draws is this package's own.
    """
    log_p, y = _examples(logits, labels)
    shape = (log_p.shape[1], order) if per_class else (order,)
    generator = torch_stream(seed, "pt_proxy")
    lowest = -1 / torch.arange(1, order + 1, dtype=torch.float64)
    best = torch.zeros(shape, dtype=torch.float64)
    least = float(proxy_scores(log_p, y, best).mean())
    for _ in range(trials):
        drawn = (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * spread
        drawn = drawn.maximum(lowest)
        score = float(proxy_scores(log_p, y, drawn).mean())
        if score < least:
            best, least = drawn, score
    return best


def descend_coefficients(logits: Logits, labels: Labels, *, order: int, per_class: bool, prior: float = 1.0) -> Tensor:
    r"""Return the coefficients whose proxies have the least Brier score on held-out examples, by their gradient.

    .. math:: \arg\min_\theta \sum_n \Vert q^*_n - e_{y_n} \Vert^2 + \tfrac{w}{2} \Vert \theta \Vert^2,
              \quad \tfrac{1}{m} + \varepsilon_m = \tfrac{1}{m} e^{\theta_m}

    The gradient is that of the implicit equations of q*. The second term is the logarithm of a prior worth about one example.

    Args:
        logits: ``(N, C)`` of examples the network was not trained on.
        labels: ``(N,)``.
        order: M.
        per_class: whether ε is ``(C, M)``.
        prior: w ≥ 0.

    Returns:
        ε, ``(M,)`` or ``(C, M)`` float64.

    Source: this package's own alternative to random search.
    """
    check_range("prior", prior, low=0.0)
    log_p, y = _examples(logits, labels)
    counts = torch.arange(1, order + 1, dtype=torch.float64)
    shape = (log_p.shape[1], order) if per_class else (order,)
    theta = torch.zeros(shape, dtype=torch.float64, requires_grad=True)

    def value() -> Tensor:
        score = proxy_scores(log_p, y, torch.expm1(theta.clamp(-8, 8)) / counts).sum()
        return (score + prior / 2 * theta.square().sum()) / len(y)

    minimise(value, [theta])
    return torch.expm1(theta.detach().clamp(-8, 8)) / counts


@dataclass(frozen=True)
class Proxy(OneView):
    """Hand over the proxy teacher; see `proxy_teacher`.

    Attributes:
        coefficients: ε, ``(M,)`` or ``(C, M)``.
    """

    coefficients: Coefficients

    def __post_init__(self) -> None:
        rows = (tuple(c) if isinstance(c, Sequence) else float(c) for c in self.coefficients)
        object.__setattr__(self, "coefficients", tuple(rows))  # JSON knows no tuples

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return log q*, in float32 or what is wider."""
        wide = torch.promote_types(logits.dtype, torch.float32)
        return proxy_teacher(logits, self.coefficients).to(wide)

    def state(self) -> dict[str, Any]:
        """Return ε."""
        return {"coefficients": [list(c) if isinstance(c, tuple) else c for c in self.coefficients]}


@dataclass(frozen=True)
class FitProxy(FitOneView):
    """Fit the map `Proxy`, or take given coefficients.

    Args:
        order: M ≥ 1.
        per_class: whether each class has its own.
        search: ``random``, as published, or ``gradient``; see `search_coefficients` and `descend_coefficients`.
        trials: draws of the random search.
        spread: of its draws.
        seed: of its draws.
        coefficients: ε, not fitted.
    """

    order: int = 5
    per_class: bool = False
    search: Literal["random", "gradient"] = "random"
    trials: int = 200
    spread: float = 1.0
    seed: int = 0
    coefficients: Coefficients | None = None
    source: ClassVar[str] = "Zhang et al. (2023)"

    def __post_init__(self) -> None:
        check_range("order", self.order, low=1)
        check_choice("search", self.search, ("random", "gradient"))
        check_range("trials", self.trials, low=1)
        check_range("spread", self.spread, low=0.0, open_low=True)
        if self.coefficients is not None:
            try:
                epsilon = torch.tensor(self.coefficients, dtype=torch.float64)
            except (TypeError, ValueError) as error:
                rule = "must be numbers, or one list of equal length per class"
                raise ShapeError("coefficients", rule=rule, received=repr(self.coefficients)) from error
            check_coefficients(epsilon, None)

    def fit(self, logits: Logits, labels: Labels) -> Proxy:
        """Return the fitted map."""
        if self.coefficients is not None:
            return Proxy(self.coefficients)
        if self.search == "gradient":
            found = descend_coefficients(logits, labels, order=self.order, per_class=self.per_class)
        else:
            found = search_coefficients(
                logits,
                labels,
                order=self.order,
                per_class=self.per_class,
                trials=self.trials,
                spread=self.spread,
                seed=self.seed,
            )
        return Proxy(tuple(tuple(row) for row in found.tolist()) if self.per_class else tuple(found.tolist()))
