"""Batches mixed with another order of themselves: mixup and cutmix, each example with a partner of the same batch.

Legend: N examples, λ share of an example's own label.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.types import Labels, Mixed

Box = tuple[int, int, int, int]
"""Top, bottom, left and right of a rectangle in pixels; bottom and right are outside it."""


def blend(inputs: Tensor, partners: Tensor, share: float) -> Tensor:
    r"""Return inputs blended with their partners.

    .. math:: \tilde x_n = \lambda x_n + (1 - \lambda) x_{\pi(n)}

    Args:
        inputs: ``(N, ...)``, normalised.
        partners: π, ``(N,)`` int64, rows of the batch.
        share: λ in [0, 1].

    Returns:
        The same shape and layout.

    Example:
        >>> blend(torch.tensor([[0.0], [4.0]]), torch.tensor([1, 0]), 0.75)
        tensor([[1.],
                [3.]])

    Source: Zhang et al. (2018), mixup.
    """
    return share * inputs + (1 - share) * inputs[partners]


def cut_box(height: int, width: int, share: float, centre: tuple[int, int]) -> Box:
    r"""Return the rectangle around a centre with the image's proportions and a share :math:`1 - \lambda` of its area, clipped.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        share: λ in [0, 1], of the area outside the rectangle before it is clipped.
        centre: row and column, pixels.

    Returns:
        The part of the rectangle inside the image.

    Example:
        >>> cut_box(8, 8, 0.75, (4, 4)), cut_box(8, 8, 0.75, (0, 7))
        ((2, 6, 2, 6), (0, 2, 5, 8))

    Source: Yun et al. (2019), cutmix, equation 2.
    """
    half_height, half_width = (int(side * math.sqrt(1 - share)) // 2 for side in (height, width))
    row, column = centre
    top, bottom = max(0, row - half_height), min(height, row + half_height)
    left, right = max(0, column - half_width), min(width, column + half_width)
    return top, bottom, left, right


def paste(images: Tensor, partners: Tensor, box: Box) -> tuple[Tensor, float]:
    """Return images with a rectangle taken from their partners, and the share of the area that stayed.

    Args:
        images: ``(N, C, H, W)``.
        partners: ``(N,)`` int64, rows of the batch.
        box: the rectangle, inside the image.

    Returns:
        ``(N, C, H, W)`` in the same layout, and λ in [0, 1] by counted pixels.

    Source: Yun et al. (2019), cutmix.
    """
    top, bottom, left, right = box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])


def mix(
    images: Tensor, labels: Labels, draws: np.random.Generator, *, mixup: float | None, cutmix: float | None
) -> tuple[Tensor, Mixed]:
    """Mix a batch with a random order of itself.

    Args:
        images: ``(N, C, H, W)``, or ``(N, D)`` vectors for mixup, normalised.
        labels: ``(N,)`` int64.
        draws: stream of the draws: the order, which of the two, the share, the place.
        mixup: α > 0 of Beta(α, α), or None.
        cutmix: α > 0 of Beta(α, α), or None; with both given, one of the two is drawn with probability ½.

    Returns:
        The mixed images, and the partners' labels with the share of the own.

    Source: Zhang et al. (2018); Yun et al. (2019).
    """
    partners = torch.from_numpy(draws.permutation(len(images))).to(images.device)
    heads = bool(draws.random() < 0.5)
    cuts = cutmix is not None and (mixup is None or heads)
    alpha = cutmix if cuts else mixup
    assert alpha is not None, "a batch is mixed in one way at least"
    share = float(draws.beta(alpha, alpha))
    if cuts:
        height, width = images.shape[2:]
        centre = int(draws.integers(height)), int(draws.integers(width))
        mixed, share = paste(images, partners, cut_box(height, width, share, centre))
    else:
        mixed = blend(images, partners, share)
    return mixed, Mixed(labels[partners], share)
