"""Several teachers as one: the mean of their probabilities or logits, with weights fitted on held-out examples.

Legend: M members, N examples, C classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from goodteacher.base.errors import ShapeError, check_choice
from goodteacher.base.probability import brier_score, log_probabilities, log_soften, widen
from goodteacher.base.types import Labels, Logits

Space = Literal["probabilities", "logits"]
SPACES: tuple[Space, ...] = ("probabilities", "logits")


def mean_of(members: Tensor, weights: Tensor | None = None, *, space: Space = "probabilities") -> Logits:
    r"""Average the members' predictions.

    .. math:: q_{nc} = \sum_m w_m \, \mathrm{softmax}(z_{mn})_c \quad\text{or}\quad
              q_n = \mathrm{softmax}\big(\textstyle\sum_m w_m z_{mn}\big)

    Args:
        members: ``(M, N, C)`` logits.
        weights: ``(M,)``, on the simplex; equal ones by default.
        space: what is averaged.

    Returns:
        ``(N, C)`` logits whose softmax is q.

    Raises:
        ShapeError: if there are no members, or not one weight per member.
        ConfigError: for an unknown space.

    Example:
        >>> z = torch.tensor([[[8.0, 0.0]], [[0.0, 8.0]]])
        >>> mean_of(z).softmax(dim=-1)
        tensor([[0.5000, 0.5000]])

    Source: Hansen & Salamon (1990) for probabilities; Wang et al. (2022), "Efficient knowledge distillation from model
    checkpoints", for logits.
    """
    check_choice("space", space, SPACES)
    if members.ndim != 3 or not len(members):
        raise ShapeError("members", rule="must have shape (M, N, C) with M > 0", received=tuple(members.shape))
    z = widen(members)
    w = z.new_full((len(z),), 1 / len(z)) if weights is None else weights.to(z)
    if w.shape != (len(z),):
        raise ShapeError("weights", rule=f"must be one per member, ({len(z)},)", received=tuple(w.shape))
    if space == "logits":
        # Logits are defined up to one constant per row, which may differ between members: centred, their mean is not moved by it.
        centred = z - z.mean(dim=-1, keepdim=True)
        return (w[:, None, None] * centred).sum(dim=0)
    return log_probabilities((w[:, None, None] * log_soften(z).exp()).sum(dim=0))


def fit_weights(members: Tensor, labels: Labels, *, space: Space = "probabilities", prior: float = 1.0) -> Tensor:
    r"""Return the weights of the mean with the best held-out Brier score.

    .. math:: \arg\min_{w \in \Delta} \sum_n \|q_n(w) - e_{y_n}\|^2 + \lambda \sum_m (\log w_m - \overline{\log w})^2 / 2

    The second term is a prior towards equal weights worth about one example; it decides between members that are the same.

    Args:
        members: ``(M, N, C)`` logits of examples no member was trained on.
        labels: ``(N,)``.
        space: as in `mean_of`.
        prior: λ ≥ 0.

    Returns:
        ``(M,)`` float64 on the simplex.

    Raises:
        ShapeError: as `mean_of`.

    Example:
        >>> good, bad = torch.tensor([[4.0, 0.0]] * 50), torch.tensor([[0.0, 4.0]] * 50)
        >>> w = fit_weights(torch.stack([good, bad]), torch.zeros(50, dtype=torch.int64))
        >>> bool(w[0] > 0.9)
        True

    Source: Wolpert (1992), stacking, with Breiman's (1996) weights on the simplex.
    """
    z, y = members.detach().double().cpu(), labels.cpu()
    mean_of(z, space=space)  # for its checks

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        u = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
        q = log_soften(mean_of(z, u.softmax(dim=0), space=space)).exp()
        loss = brier_score(q, y).sum() + prior * (u - u.mean()).square().sum() / 2
        loss.backward()
        assert u.grad is not None
        return float(loss.detach()), u.grad.numpy()

    found = minimize(objective, np.zeros(len(z)), jac=True, method="L-BFGS-B")
    return torch.tensor(found.x).softmax(dim=0)
