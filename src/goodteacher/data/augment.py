"""Augmentation by whole batches on the device: pad-crop, flip, rotations, normalisation.

Draws come from a CPU generator and are then moved, so that every device sees the same views. Images are ``(N, H, W, C)``
uint8: gathering from that layout gives channels_last batches at no cost.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from goodteacher.base.errors import check_choice
from goodteacher.data.strong import rand_augment

AUGMENTATIONS = ("none", "flip", "crop_flip")
PADDING_SHARE = 1 / 8  # 4 of 32 pixels in He et al. (2016); the same share of larger images


def crop_flip(images: Tensor, generator: torch.Generator, *, crop: bool = True) -> Tensor:
    """Shift each image by up to an eighth of its side over black padding, and mirror half of them.

    Args:
        images: ``(N, H, W, C)`` uint8.
        generator: CPU stream of the draws.
        crop: whether to shift; with False only mirrors.

    Returns:
        ``(N, H, W, C)`` uint8.

    Raises:
        Nothing beyond PyTorch's own errors.

    Example:
        >>> crop_flip(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.Generator()).shape
        torch.Size([2, 8, 8, 3])

    Source: He et al. (2016), section 4.2.
    """
    n, height, width, _ = images.shape
    device = images.device
    pad_h, pad_w = (max(1, round(height * PADDING_SHARE)), max(1, round(width * PADDING_SHARE))) if crop else (0, 0)
    top = torch.randint(0, 2 * pad_h + 1, (n,), generator=generator).to(device)
    left = torch.randint(0, 2 * pad_w + 1, (n,), generator=generator).to(device)
    mirrored = (torch.rand(n, generator=generator) < 0.5).to(device)
    padded = F.pad(images, (0, 0, pad_w, pad_w, pad_h, pad_h))
    rows = top[:, None] + torch.arange(height, device=device)
    columns = torch.arange(width, device=device).expand(n, width)
    columns = left[:, None] + torch.where(mirrored[:, None], width - 1 - columns, columns)
    examples = torch.arange(n, device=device)
    return padded[examples[:, None, None], rows[:, :, None], columns[:, None, :]]


def rotations(images: Tensor) -> Tensor:
    """Return every image at 0, 90, 180 and 270 degrees, rows ``4 n + r``.

    Args:
        images: ``(N, C, H, W)`` with H = W.

    Returns:
        ``(4 N, C, H, W)``.

    Source: Yang et al. (2021), section 3.1.
    """
    turned = torch.stack([torch.rot90(images, r, dims=(2, 3)) for r in range(4)], dim=1)
    return turned.flatten(0, 1)


def normalise(inputs: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return float inputs with zero mean and unit variance by the training statistics.

    Args:
        inputs: ``(N, H, W, C)`` uint8 images or ``(N, D)`` float vectors.
        mean: ``(C,)`` in [0, 1] for images, ``(D,)`` for vectors.
        std: the same shape as ``mean``.

    Returns:
        ``(N, C, H, W)`` in channels_last layout, or ``(N, D)``.
    """
    if inputs.dtype == torch.uint8:
        return inputs.float().sub_(mean * 255).div_(std * 255).permute(0, 3, 1, 2)
    return (inputs - mean) / std


def augment(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Apply a named augmentation to raw inputs; vectors pass unchanged under ``none``.

    Args:
        images: ``(N, H, W, C)`` uint8, or vectors where ``kind`` is ``none``.
        kind: one of `AUGMENTATIONS` or ``strong``.
        generator: CPU stream of the draws.

    Returns:
        The same shape and type.

    Raises:
        ConfigError: for an unknown kind.
    """
    check_choice("augmentation", kind, (*AUGMENTATIONS, "strong"))
    if kind == "none":
        return images
    if kind == "strong":
        return rand_augment(crop_flip(images, generator), generator)
    return crop_flip(images, generator, crop=kind == "crop_flip")
