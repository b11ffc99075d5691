"""A finished network's probabilities for raw inputs, through the path that its training inputs took."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from goodteacher.base.input_spec import InputSpec
from goodteacher.base.probability import soften
from goodteacher.base.types import Probabilities
from goodteacher.data.augment import normalise
from goodteacher.data.raw import raw_inputs
from goodteacher.models.adapt import see
from goodteacher.models.taps import TappedModel


@torch.no_grad()
def probabilities_of(
    network: nn.Module,
    values: Any,
    *,
    made: InputSpec,
    spec: InputSpec,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
) -> Probabilities:
    """Return a network's probabilities for raw inputs.

    Args:
        network: in eval mode, on the device.
        values: raw pictures of any size or vectors, see `raw_inputs`.
        made: what the network's problem makes of raw inputs.
        spec: what the network expects to see.
        device: where the network is.
        batch_size: inputs at a time.

    Returns:
        ``(N, C)`` float32 on the CPU.

    Raises:
        DataError: if the values are no inputs of this kind.
    """
    inputs = raw_inputs(values, made)
    mean, std = (torch.tensor(s, dtype=torch.float32, device=device) for s in (made.mean, made.std))
    tapped = TappedModel(network)
    parts = []
    for rows in torch.arange(len(inputs)).split(batch_size):
        seen = see(normalise(inputs.rows(rows).to(device), mean, std), made, spec)
        parts.append(soften(tapped(seen).logits).float().cpu())
    return torch.cat(parts)
