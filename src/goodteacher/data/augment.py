"""Augmentation by whole batches on the device: pad-crop, crops of random size, flip, rotations, normalisation.

Draws come from a CPU generator and are then moved, so that every device sees the same views. Images are ``(N, H, W, C)``
uint8: gathering from that layout gives channels_last batches at no cost.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from goodteacher.base.errors import check_choice
from goodteacher.data.strong import rand_augment

AUGMENTATIONS = ("none", "flip", "crop_flip", "resized_crop_flip")
PADDING_SHARE = 1 / 8  # 4 of 32 pixels in He et al. (2016); the same share of larger images
CROP_AREA, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # Szegedy et al. (2015), section 6: ImageNet's standard process
CROP_TRIES = 10  # boxes drawn until one fits, as in torchvision; then the whole image


def crop_flip(images: Tensor, generator: torch.Generator, *, crop: bool = True) -> Tensor:
    """Shift each image by up to an eighth of its side over black padding, and mirror half of them.

    Args:
        images: ``(N, H, W, C)`` uint8.
        generator: CPU stream of the draws.
        crop: whether to shift; with False only mirrors.

    Returns:
        ``(N, H, W, C)`` uint8.

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


def crop_boxes(n: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw boxes of 8 to 100% of an image's area and of proportions 3:4 to 4:3, at places drawn evenly.

    Args:
        n: number of boxes.
        height: of the image, in pixels.
        width: of the image, in pixels.
        generator: CPU stream of the draws.

    Returns:
        ``(N, 4)`` int64: top, left, height, width. The whole image where none of ten draws fits into it.

    Source: Szegedy et al. (2015), section 6.
    """
    low, high = CROP_AREA
    area = height * width * (low + (high - low) * torch.rand(n, CROP_TRIES, generator=generator))
    reach = math.log(CROP_RATIO[1])  # the proportions are even on a log scale, and 3/4 is as far from 1 as 4/3
    ratio = torch.exp(reach * (2 * torch.rand(n, CROP_TRIES, generator=generator) - 1))
    sides = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], dim=-1).round().long()
    whole = torch.tensor([height, width])
    fits = ((sides >= 1) & (sides <= whole)).all(dim=-1)
    first = sides[torch.arange(n), fits.int().argmax(dim=1)]
    box = torch.where(fits.any(dim=1)[:, None], first, whole)
    place = (torch.rand(n, 2, generator=generator) * (whole - box + 1)).long()
    return torch.cat([place, box], dim=1)


def resized_crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Cut a box of random size and proportion out of each image, stretch it to the image's size, and mirror half of them.

    Args:
        images: ``(N, H, W, C)`` uint8.
        generator: CPU stream of the draws.

    Returns:
        ``(N, H, W, C)`` uint8, bilinear between the box's own pixels.

    Example:
        >>> resized_crop_flip(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.Generator()).shape
        torch.Size([2, 8, 8, 3])

    Source: Szegedy et al. (2015), section 6; boxes as in `crop_boxes`.
    """
    n, height, width, _ = images.shape
    boxes = crop_boxes(n, height, width, generator)
    mirrored = torch.rand(n, generator=generator) < 0.5
    grid = []
    for axis, size in ((1, width), (0, height)):
        start, side = boxes[:, axis, None], boxes[:, 2 + axis, None]
        ahead = torch.arange(size).expand(n, size)
        ahead = torch.where(mirrored[:, None], size - 1 - ahead, ahead) if axis else ahead
        # Pixel i of the result lies at (i + 1/2) side/size - 1/2 of the box, held within it so that nothing outside is seen.
        pixel = ((ahead + 0.5) * side / size - 0.5).clamp(min=0).minimum(side - 1) + start
        grid.append((2 * pixel + 1) / size - 1)
    x, y = grid
    field = torch.stack([x[:, None, :].expand(n, height, width), y[:, :, None].expand(n, height, width)], dim=-1)
    planes = images.permute(0, 3, 1, 2).float()
    found = F.grid_sample(planes, field.to(images.device), mode="bilinear", padding_mode="border", align_corners=False)
    return found.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


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
    if inputs.dim() == 4:
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
    if kind == "resized_crop_flip":
        return resized_crop_flip(images, generator)
    if kind == "strong":
        return rand_augment(crop_flip(images, generator), generator)
    return crop_flip(images, generator, crop=kind == "crop_flip")
