"""The target map that averages over augmented views of an example.

Legend: V views, the plain one first, N examples, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from goodteacher.base.errors import check_choice, check_range
from goodteacher.base.types import Labels, Logits
from goodteacher.maps.ensembles import SPACES, Space, mean_of


@dataclass(frozen=True)
class ViewAverage:
    """Average the predictions for an example over augmented views of it, and the plain one.

    Attributes:
        views: augmented views beside the plain one, drawn by whoever serves the batches.
        space: what is averaged: ``probabilities`` or ``logits``.
    """

    views: int = 4
    space: Space = "probabilities"
    uses_labels: ClassVar[bool] = False

    def __call__(self, logits: Logits, labels: Labels | None = None) -> Logits:
        """Return the logits unchanged: of one view there is nothing to average."""
        return logits

    def of_views(self, stack: Tensor, labels: Labels | None = None) -> Logits:
        """Return the average as logits; see `average`."""
        return self.average(stack)

    def average(self, stack: Tensor) -> Logits:
        r"""Return logits whose softmax is the mean prediction over views.

        .. math:: q_n = \tfrac{1}{V} \sum_v \mathrm{softmax}(z_{vn}) \quad\text{or}\quad
                  q_n = \mathrm{softmax}\bigl(\tfrac{1}{V} \textstyle\sum_v z_{vn}\bigr)

        Args:
            stack: ``(V, N, C)`` logits, however many views there are.

        Returns:
            ``(N, C)``, float32 or wider; the logits themselves where V is 1.

        Raises:
            ShapeError: if there are no views.

        Example:
            >>> import torch
            >>> ViewAverage().average(torch.tensor([[[8.0, 0.0]], [[0.0, 8.0]]])).softmax(dim=-1)
            tensor([[0.5000, 0.5000]])

        Source: Krizhevsky, Sutskever & Hinton (2012), averaging over crops at test time.
        """
        return stack[0] if len(stack) == 1 else mean_of(stack, space=self.space)

    def state(self) -> dict[str, Any]:
        """Return the options."""
        return {"views": self.views, "space": self.space}


@dataclass(frozen=True)
class FitViewAverage:
    """Nothing to fit; see `ViewAverage`."""

    views: int = 4
    space: Space = "probabilities"
    source: ClassVar[str] = "Krizhevsky, Sutskever & Hinton (2012)"

    def __post_init__(self) -> None:
        check_range("views", self.views, low=1)
        check_choice("space", self.space, SPACES)

    def fit(self, logits: Logits, labels: Labels) -> ViewAverage:
        """Return the map."""
        return ViewAverage(self.views, self.space)
