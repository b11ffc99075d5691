"""RandAugment by whole batches: each image draws its own operations; an operation runs once on the images that drew it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# (N, C, H, W) float images in [0, 255] and signed strength in [-1, 1] -> the same.
Operation = Callable[[Tensor, Tensor], Tensor]


def _blend(image: Tensor, other: Tensor, strength: Tensor) -> Tensor:
    factor = (1 + 0.9 * strength)[:, None, None, None]
    return (other + factor * (image - other)).clamp(0, 255)


def _grey(image: Tensor) -> Tensor:
    if image.shape[1] == 1:
        return image
    weights = torch.tensor([0.299, 0.587, 0.114], device=image.device)  # ITU-R 601 luma
    return (image * weights[None, :, None, None]).sum(dim=1, keepdim=True).expand_as(image)


def _affine(image: Tensor, matrix: Tensor) -> Tensor:
    # Transparent borders become mid-grey 128, as in Cubuk et al.'s reference settings.
    grid = F.affine_grid(matrix, list(image.shape), align_corners=False)
    return F.grid_sample(image - 128, grid, mode="nearest", padding_mode="zeros", align_corners=False) + 128


def _matrix(n: int, device: torch.device) -> Tensor:
    return torch.eye(2, 3, device=device).repeat(n, 1, 1)


def _rotate(image: Tensor, strength: Tensor) -> Tensor:
    angle = strength * math.radians(30)
    matrix = _matrix(len(image), image.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin(), angle.sin()
    return _affine(image, matrix)


def _shear_or_shift(row: int, column: int, reach: float) -> Operation:
    def apply(image: Tensor, strength: Tensor) -> Tensor:
        matrix = _matrix(len(image), image.device)
        matrix[:, row, column] = strength * reach
        return _affine(image, matrix)

    return apply


def _autocontrast(image: Tensor, strength: Tensor) -> Tensor:
    low, high = image.amin(dim=(2, 3), keepdim=True), image.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (image - low) * 255 / (high - low).clamp_min(1), image)


def _equalise(image: Tensor, strength: Tensor) -> Tensor:
    flat = image.round().long().flatten(2)
    counts = torch.zeros(*flat.shape[:2], 256, device=image.device).scatter_add_(
        2, flat, torch.ones_like(flat, dtype=torch.float)
    )
    cumulative = counts.cumsum(dim=2)
    first = cumulative.gather(2, flat.amin(dim=2, keepdim=True))
    total = cumulative[..., -1:]
    table = ((cumulative - first) * 255 / (total - first).clamp_min(1)).clamp(0, 255)
    return torch.where(total > first, table.gather(2, flat), image.flatten(2)).view_as(image)


def _posterise(image: Tensor, strength: Tensor) -> Tensor:
    bits = (8 - (4 * strength.abs()).round())[:, None, None, None]
    step = 2 ** (8 - bits)
    return (image / step).floor() * step


def _solarise(image: Tensor, strength: Tensor) -> Tensor:
    threshold = (256 * (1 - strength.abs()))[:, None, None, None]
    return torch.where(image >= threshold, 255 - image, image)


def _sharpen(image: Tensor, strength: Tensor) -> Tensor:
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], device=image.device) / 13
    channels = image.shape[1]
    smooth = image.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(image, kernel.expand(channels, 1, 3, 3), groups=channels)
    return _blend(image, smooth, strength)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, _: image,
    "autocontrast": _autocontrast,
    "equalise": _equalise,
    "rotate": _rotate,
    "solarise": _solarise,
    "colour": lambda image, s: _blend(image, _grey(image), s),
    "posterise": _posterise,
    "contrast": lambda image, s: _blend(image, _grey(image).mean(dim=(1, 2, 3), keepdim=True).expand_as(image), s),
    "brightness": lambda image, s: _blend(image, torch.zeros_like(image), s),
    "sharpness": _sharpen,
    "shear_x": _shear_or_shift(0, 1, 0.3),
    "shear_y": _shear_or_shift(1, 0, 0.3),
    # affine_grid counts half-widths: 0.9 of them is 0.45 of the side, Cubuk et al.'s reach.
    "translate_x": _shear_or_shift(0, 2, 0.9),
    "translate_y": _shear_or_shift(1, 2, 0.9),
}


def rand_augment(images: Tensor, generator: torch.Generator, *, operations: int = 2, magnitude: float = 10.0) -> Tensor:
    """Apply a few randomly drawn operations to each image at one magnitude and a random sign.

    Args:
        images: ``(N, H, W, C)`` uint8, C = 1 or 3.
        generator: CPU stream of the draws.
        operations: how many an image.
        magnitude: of 30; each operation scales it to its own reach.

    Returns:
        ``(N, H, W, C)`` uint8.

    Example:
        >>> rand_augment(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.Generator()).dtype
        torch.uint8

    Source: Cubuk et al. (2020), RandAugment; (2, 10) as in Jin et al. (2023).
    """
    n = len(images)
    work = images.permute(0, 3, 1, 2).float()
    names = list(OPERATIONS)
    for _ in range(operations):
        choice = torch.randint(len(names), (n,), generator=generator)
        sign = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
        strength = (sign * magnitude / 30).to(work.device)
        for k, name in enumerate(names):
            rows = (choice == k).nonzero().squeeze(1).to(work.device)
            if len(rows):
                work[rows] = OPERATIONS[name](work[rows], strength[rows])
    return work.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
