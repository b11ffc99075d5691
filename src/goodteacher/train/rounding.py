"""Training for files of 8 bits: inputs and weights of layers are rounded in the forward pass, gradients pass as if they were not.

Legend: x input of a layer, w weight, o output channel; s step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

LAYERS = (functional.conv2d, functional.linear)
# 7 of the 8 bits of a weight, as `goodteacher.ship.int8` writes it.
WEIGHT_STEPS = 64
INPUT_STEPS = 255


class Rounded(TorchFunctionMode):
    """Inside, convolutions and linear layers compute with inputs and weights of 8 bits."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in LAYERS and len(args) > 1:
            args = (rounded_inputs(args[0]), rounded_weight(args[1]), *args[2:])
        return func(*args, **(kwargs or {}))


def rounded_weight(weight: Tensor) -> Tensor:
    r"""Return a layer's weight on a symmetric grid per output channel.

    .. math:: \hat w_o = s_o \, \mathrm{round}(w_o / s_o), \quad s_o = \max |w_o| / 64

    Args:
        weight: ``(O, ...)``; receives the gradient unchanged.

    Returns:
        The same shape and type, float32 inside.

    Example:
        >>> rounded_weight(torch.tensor([[64.0, 0.4, -0.6]]))
        tensor([[64.,  0., -1.]])

    Source: Jacob et al. (2018), section 3.
    """
    wide = weight.float()
    step = (wide.detach().flatten(1).abs().amax(dim=1) / WEIGHT_STEPS).clamp_min(torch.finfo(torch.float32).tiny)
    zeros = torch.zeros_like(step, dtype=torch.int32)
    found = torch.fake_quantize_per_channel_affine(wide, step, zeros, 0, -WEIGHT_STEPS, WEIGHT_STEPS)
    return found.to(weight.dtype)


def rounded_inputs(inputs: Tensor) -> Tensor:
    r"""Return a layer's inputs on a grid of 256 values between the batch's smallest and largest, zero among them.

    .. math:: \hat x = s (\mathrm{round}(x / s + z) - z), \quad s = \frac{\max(x, 0) - \min(x, 0)}{255}

    Args:
        inputs: ``(N, ...)``; receives the gradient unchanged.

    Returns:
        The same shape and type.

    Example:
        >>> rounded_inputs(torch.tensor([0.0, 0.4, 255.0]))
        tensor([  0.,   0., 255.])

    Source: Jacob et al. (2018), section 3.
    """
    wide = inputs.float()
    low, high = wide.detach().aminmax()
    low, high = low.clamp_max(0), high.clamp_min(0)
    step = ((high - low) / INPUT_STEPS).clamp_min(torch.finfo(torch.float32).tiny)
    zero = (-low / step).round().to(torch.int32)
    found = torch.fake_quantize_per_tensor_affine(wide, step, zero, 0, INPUT_STEPS)
    return found.to(inputs.dtype)
