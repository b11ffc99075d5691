"""A finished network from raw inputs to probabilities: preprocessing, network and softmax as one module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from goodteacher.base.input_spec import InputSpec
from goodteacher.base.types import Probabilities
from goodteacher.data.augment import normalise
from goodteacher.models.adapt import affine, shown
from goodteacher.models.taps import logits_of
from goodteacher.study.run import Run


class Deployed(nn.Module):
    """Raw inputs to probabilities.

    Args:
        network: trained.
        made: what its problem makes of raw inputs.
        wanted: what the network expects to see.

    Attributes:
        input_name: ``pixels`` or ``features``.
    """

    mean: Tensor
    std: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, made: InputSpec, wanted: InputSpec) -> None:
        super().__init__()
        self.network, self.made, self.wanted = network, made, wanted
        self.input_name = "pixels" if made.is_image else "features"
        scale, shift = affine(made, wanted)
        found = {"mean": torch.tensor(made.mean), "std": torch.tensor(made.std), "scale": scale, "shift": shift}
        for name, value in found.items():
            self.register_buffer(name, value.float())

    def forward(self, inputs: Tensor) -> Probabilities:
        """Return probabilities ``(N, C)`` of pictures ``(N, H, W, channels)`` uint8, or of vectors ``(N, D)`` float32."""
        seen = normalise(inputs, self.mean, self.std)
        if self.made != self.wanted:
            seen = shown(seen, self.wanted, self.scale, self.shift)
        return torch.softmax(logits_of(self.network(seen)).float(), dim=1)

    def example(self, count: int = 2) -> Tensor:
        """Return raw inputs of the right shape and type."""
        if not self.made.is_image:
            return torch.zeros(count, *self.made.shape)
        channels, height, width = self.made.shape
        return torch.zeros(count, height, width, channels, dtype=torch.uint8)


def deployed(run: Run) -> Deployed:
    """Return a finished run's network with its preprocessing, in eval mode on the CPU.

    Raises:
        StoreError: if the run is of an earlier version, which did not write down what its network sees.
    """
    return Deployed(run.model, *run.path_of_inputs()).eval()
