"""Small parts that feature methods share: checks of maps, pooling to one size, regressors and encoders of factors.

Legend: N examples, D features, H height, W width; a shape is written without N.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodteacher.base.checks import check_float
from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.shapes import Shape
from goodteacher.base.types import PerExample

FACTOR_RATE = 0.5
"""Width of a factor as a share of the teacher's map; Kim, Park & Kwak (2018)."""


def wide(x: Tensor) -> Tensor:
    """Return half-precision numbers as float32 and others as they are."""
    return x.float() if x.dtype in {torch.float16, torch.bfloat16} else x


def check_maps(**maps: Tensor) -> None:
    """Raise `ShapeError` unless every named tensor is float, finite and ``(N, D, H, W)``, all with the same N ≥ 1."""
    _check_dimensions(4, "(N, D, H, W)", maps)


def check_embeddings(**embeddings: Tensor) -> None:
    """Raise `ShapeError` unless every named tensor is float, finite and ``(N, D)``, all with the same N ≥ 1."""
    _check_dimensions(2, "(N, D)", embeddings)


def _check_dimensions(dimensions: int, shape: str, tensors: dict[str, Tensor]) -> None:
    check_float(**tensors)
    for name, tensor in tensors.items():
        if tensor.dim() != dimensions or 0 in tensor.shape:
            raise ShapeError(
                name, rule=f"must have shape {shape} without empty axes", received=f"shape {tuple(tensor.shape)}"
            )
    if len({len(tensor) for tensor in tensors.values()}) > 1:
        raise ShapeError(
            " and ".join(tensors),
            rule="must hold the same examples",
            received="shapes " + " and ".join(str(tuple(tensor.shape)) for tensor in tensors.values()),
        )


def check_widths(**maps: Tensor) -> None:
    """Raise `ShapeError` unless all named maps or embeddings have the same D."""
    if len({tensor.shape[1] for tensor in maps.values()}) > 1:
        raise ShapeError(
            " and ".join(maps),
            rule="must have the same number of features D",
            received="shapes " + " and ".join(str(tuple(tensor.shape)) for tensor in maps.values()),
            remedy="bring the student's to the teacher's width with a regressor",
        )


def pool_to_smaller(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return two maps ``(N, D, H, W)`` at the smaller height and width of the two, by adaptive average pooling."""
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))
    pooled = [x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size) for x in (first, second)]
    return pooled[0], pooled[1]


def mean_square(student_map: Tensor, teacher_map: Tensor) -> PerExample:
    """Return the squared difference, averaged over everything but the examples, ``(N,)``."""
    return (student_map - teacher_map).square().flatten(1).mean(dim=1)


class Regressor(nn.Module):
    """Convolution that brings a student's map to a teacher's width and size, then batch normalisation.

    A convolution 3x3 at stride 2 halves the map, a transposed one 4x4 doubles it, and a kernel just large enough trims
    what is larger for other reasons; equal sizes take a convolution 1x1.

    Args:
        student_shape: ``(D, H, W)`` of the student's map.
        teacher_shape: of the teacher's.
        activation: whether a ReLU follows.

    Raises:
        ConfigError: if the teacher's map is larger, but not twice as large.

    Example:
        >>> sum(p.numel() for p in Regressor((128, 16, 16), (128, 16, 16)).parameters())
        16768

    Source: Romero et al. (2015), the regressor of hints, as in the benchmark of Tian et al. (2020).
    """

    def __init__(self, student_shape: Shape, teacher_shape: Shape, *, activation: bool = True) -> None:
        super().__init__()
        (width_in, height, width), (width_out, to_height, to_width) = student_shape, teacher_shape
        if (height, width) == (2 * to_height, 2 * to_width):
            self.conv: nn.Module = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1)
        elif (2 * height, 2 * width) == (to_height, to_width):
            self.conv = nn.ConvTranspose2d(width_in, width_out, 4, stride=2, padding=1)
        elif height >= to_height and width >= to_width:
            self.conv = nn.Conv2d(width_in, width_out, (1 + height - to_height, 1 + width - to_width))
        else:
            raise ConfigError(
                "the teacher's map",
                rule="must be twice as large as the student's, or not larger",
                received=f"{to_height}x{to_width} for a student's {height}x{width}",
            )
        self.bn = nn.BatchNorm2d(width_out)
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, *student_shape)`` to ``(N, *teacher_shape)``."""
        out: Tensor = self.activation(self.bn(self.conv(wide(x))))
        return out


def factor_encoder(width_in: int, width: int, *, normalised: bool) -> nn.Sequential:
    """Return three convolutions 3x3 with LeakyReLU that make a factor of a map.

    Args:
        width_in: of the map.
        width: of the factor.
        normalised: whether batch normalisation follows each convolution (the student's translator).

    Returns:
        A module from ``(N, width_in, H, W)`` to ``(N, width, H, W)``.
    """
    layers: list[nn.Module] = []
    for before, after in ((width_in, width_in), (width_in, width), (width, width)):
        layers += [nn.Conv2d(before, after, 3, padding=1), *([nn.BatchNorm2d(after)] if normalised else [])]
        layers.append(nn.LeakyReLU(0.1))
    return nn.Sequential(*layers)


def factor_decoder(width_in: int, width: int) -> nn.Sequential:
    """Return three transposed convolutions 3x3 with LeakyReLU that make the map of width ``width`` of a factor again."""
    layers: list[nn.Module] = []
    for before, after in ((width_in, width_in), (width_in, width), (width, width)):
        layers += [nn.ConvTranspose2d(before, after, 3, padding=1), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


def initialise_convolutions(module: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / (k² D_out)), as the benchmarks' networks do, and set their biases to zero."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def total(values: list[Tensor]) -> Tensor:
    """Return the sum of scalars."""
    return torch.stack(values).sum()
