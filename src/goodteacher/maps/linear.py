"""Target map that reads raw logits as probabilities, for teachers trained by the squared error of their logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from goodteacher.base.errors import check_range
from goodteacher.base.probability import log_probabilities
from goodteacher.base.types import Labels, Logits
from goodteacher.maps.target_map import FitOneView, OneView


@dataclass(frozen=True)
class Linear(OneView):
    """Read raw logits trained by `scores.brier_logits` as probabilities: project ``z / M`` onto the simplex."""

    target: float = 1.0

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return the logarithm of the projection, so that its softmax is the projection."""
        return log_probabilities(project_to_simplex(logits.float() / self.target))

    def state(self) -> dict[str, Any]:
        """Return M."""
        return {"target": self.target}


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


@dataclass(frozen=True)
class FitLinear(FitOneView):
    """Nothing to fit: M is the objective's own."""

    target: float = 1.0
    source: ClassVar[str] = "Hui & Belkin (2021)"

    def __post_init__(self) -> None:
        check_range("target", self.target, low=0.0, open_low=True)

    def fit(self, logits: Logits, labels: Labels) -> Linear:
        """Return the map."""
        return Linear(self.target)
