"""How a network sees a batch that was made for another input spec: undone, resized, normalised as it wants it.

Legend: N examples, μ and σ mean and deviation per channel; s what was made, w what is wanted.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from goodteacher.base.errors import ConfigError
from goodteacher.base.input_spec import InputSpec, check_adaptable
from goodteacher.base.types import Batch


def see(inputs: Tensor, made: InputSpec, wanted: InputSpec) -> Tensor:
    r"""Return normalised inputs as a network of another spec sees them.

    .. math:: x_w = \frac{\mathrm{resize}(x_s) \, \sigma_s + \mu_s - \mu_w}{\sigma_w}

    Resizing is bilinear with antialiasing. A grey picture is shown in as many equal channels as are wanted. Mixtures stay
    mixtures of the same examples in the same shares, because every step is linear.

    Args:
        inputs: ``(N, C, H, W)`` or ``(N, D)``, normalised as made; N of any size.
        made: what they were made for.
        wanted: what the network expects.

    Returns:
        ``(N, C', H', W')`` in channels_last layout, or ``(N, D)``.

    Raises:
        ConfigError: if the kind, the length of vectors or the channels do not fit.

    Example:
        >>> grey, colour = InputSpec("image", (1, 4, 4), (0.5,), (0.5,)), InputSpec("image", (3, 2, 2), (0.0,) * 3, (1.0,) * 3)
        >>> see(torch.zeros(1, 1, 4, 4), grey, colour).unique()
        tensor([0.5000])
    """
    if made == wanted:
        return inputs
    check_adaptable(made, wanted, "a network")
    return shown(inputs, wanted, *_kept(made, wanted, inputs.device))


def shown(inputs: Tensor, wanted: InputSpec, scale: Tensor, shift: Tensor) -> Tensor:
    """Return inputs in the size, the channels and the normalisation that are wanted.

    Args:
        inputs: ``(N, C, H, W)`` or ``(N, D)``, normalised as made.
        wanted: what the network expects.
        scale: of `affine`.
        shift: of `affine`.
    """
    if wanted.is_image:
        inputs = inputs.expand(-1, wanted.shape[0], -1, -1)
        if inputs.shape[2:] != wanted.size:
            inputs = functional.interpolate(inputs, size=wanted.size, mode="bilinear", antialias=True)
    seen = inputs * scale + shift
    return seen.contiguous(memory_format=torch.channels_last) if wanted.is_image else seen


@lru_cache(maxsize=64)
def _kept(made: InputSpec, wanted: InputSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return `affine`, kept, since every batch needs it on its device."""
    scale, shift = affine(made, wanted)
    return scale.to(device), shift.to(device)


def affine(made: InputSpec, wanted: InputSpec) -> tuple[Tensor, Tensor]:
    """Return the factor and the summand per channel or feature that turn one normalisation into another."""
    mean, std, other_mean, other_std = (
        torch.tensor(values, dtype=torch.float64) for values in (made.mean, made.std, wanted.mean, wanted.std)
    )
    shape = (-1, 1, 1) if made.is_image else (-1,)
    factor, summand = std / other_std, (mean - other_mean) / other_std
    return factor.float().view(shape), summand.float().view(shape)


def seen_by(batch: Batch, wanted: InputSpec | None) -> Batch:
    """Return a batch as a network of a given input spec sees it, views included; made once per distinct spec.

    Args:
        batch: as the loader made it.
        wanted: what the network expects; None for what the batch was made for.

    Returns:
        The batch itself where nothing differs.

    Raises:
        ConfigError: if nobody says what the batch was made for, or it cannot be shown as wanted.
    """
    if wanted is None or wanted is batch.spec or wanted == batch.spec:
        return batch
    if batch.spec is None:
        raise ConfigError("a batch without an input spec", rule="cannot be shown to a network that has one")
    if wanted not in batch.seen:
        views = {name: see(view, batch.spec, wanted) for name, view in batch.views.items()}
        batch.seen[wanted] = replace(batch, inputs=see(batch.inputs, batch.spec, wanted), views=views, spec=wanted)
    return batch.seen[wanted]
