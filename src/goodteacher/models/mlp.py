"""Multi-layer perceptron for vectors and small images."""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from goodteacher.models.taps import Taps


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        classes: C.
        input_shape: of one example; flattened.
        widths: of the hidden layers.

    Example:
        >>> sum(p.numel() for p in MLP(3, input_shape=(30,), widths=(128, 128)).parameters())
        20867
    """

    def __init__(self, classes: int, *, input_shape: tuple[int, ...], widths: tuple[int, ...] = (128, 128)) -> None:
        super().__init__()
        sizes = [math.prod(input_shape), *widths]
        self.hidden = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)))
        self.fc = nn.Linear(sizes[-1], classes)
        layers = range(len(widths))
        self.taps = Taps(
            stages=tuple(f"hidden.{i}" for i in layers),
            pre_activations=tuple(f"hidden.{i}.0" for i in layers),
            head="fc",
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, *input_shape)`` to logits ``(N, C)``."""
        logits: Tensor = self.fc(self.hidden(x.flatten(1)))
        return logits
