"""ShuffleNetV1 and ShuffleNetV2 as the CIFAR distillation benchmarks use them: a 1x1 stem and no max pool."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from goodteacher.models.taps import Taps

STEM = 24
V1_GROUPS = 3
V1_STAGES = ((240, 4), (480, 8), (960, 4))
"""(width, blocks) of each stage."""
V2_STAGES = ((116, 4), (232, 8), (464, 4))
V2_TOP = 1024


class ShuffleUnit(nn.Module):
    """Grouped conv1x1, channel shuffle, depthwise conv3x3, grouped conv1x1; added to or, at stride 2, beside the input.

    Args:
        width_in: of the input.
        width: of the output, after concatenation.
        stride: 1 adds the input, 2 concatenates its average pool.
        groups: of the first convolution.
    """

    def __init__(self, width_in: int, width: int, stride: int, groups: int) -> None:
        super().__init__()
        added = width - width_in if stride == 2 else width
        inner = added // 4
        self.branch = nn.Sequential(
            nn.Conv2d(width_in, inner, 1, groups=groups, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.ChannelShuffle(groups),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            # Not in the original unit; the benchmarks' figures were made with it.
            nn.ReLU(),
            nn.Conv2d(inner, added, 1, groups=V1_GROUPS, bias=False),
            nn.BatchNorm2d(added),
        )
        self.shrink = nn.AvgPool2d(3, 2, 1) if stride == 2 else None
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, width_in, H, W)`` to ``(N, width, H/stride, W/stride)``."""
        y: Tensor = self.branch(x)
        joined = y + x if self.shrink is None else torch.cat([y, self.shrink(x)], dim=1)
        out: Tensor = self.activation(joined)
        return out


class ShuffleNetV1(nn.Module):
    """Three stages of shuffle units in three groups.

    Args:
        classes: C.
        channels: of the input.

    Source: Zhang et al. (2018), table 1, g = 3; the stem as in Tian et al. (2020).
    """

    def __init__(self, classes: int, *, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.activation = nn.ReLU()
        before = STEM
        stages: list[nn.Sequential] = []
        for width, blocks in V1_STAGES:
            # The stem is too narrow to be convolved in groups.
            first = ShuffleUnit(before, width, 2, groups=1 if before == STEM else V1_GROUPS)
            stages.append(nn.Sequential(first, *(ShuffleUnit(width, width, 1, V1_GROUPS) for _ in range(blocks - 1))))
            before = width
        self.stage1, self.stage2, self.stage3 = stages
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)
        self.taps = _taps(V1_STAGES)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` to logits ``(N, C)``."""
        x = self.activation(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


class SplitUnit(nn.Module):
    """Half of the channels pass, half go through conv1x1, depthwise conv3x3, conv1x1; then a shuffle."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(*_pointwise(half, half), nn.ReLU(), *_depthwise(half, 1), *_pointwise(half, half))
        self.activation = nn.ReLU()
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, width, H, W)`` to the same shape."""
        left, right = x.chunk(2, dim=1)
        # The left half comes out of a ReLU already, so a second one leaves it as it is; what the activation reads is
        # thereby the whole pre-activation, for taps.
        out: Tensor = self.shuffle(self.activation(torch.cat([left, self.branch(right)], dim=1)))
        return out


class DownUnit(nn.Module):
    """Two branches at stride 2 over all channels, concatenated and shuffled."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.left = nn.Sequential(*_depthwise(width_in, 2), *_pointwise(width_in, half))
        self.right = nn.Sequential(
            *_pointwise(width_in, half), nn.ReLU(), *_depthwise(half, 2), *_pointwise(half, half)
        )
        self.activation = nn.ReLU()
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, width_in, H, W)`` to ``(N, width, H/2, W/2)``."""
        out: Tensor = self.shuffle(self.activation(torch.cat([self.left(x), self.right(x)], dim=1)))
        return out


class ShuffleNetV2(nn.Module):
    """Three stages of split units behind a down unit, at width 1.

    The pre-activation of a stage is read before the last shuffle, so its channels are in another order than the map's.

    Args:
        classes: C.
        channels: of the input.

    Source: Ma et al. (2018), table 5, 1x; the stem as in Tian et al. (2020).
    """

    def __init__(self, classes: int, *, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.activation = nn.ReLU()
        before = STEM
        stages: list[nn.Sequential] = []
        for width, blocks in V2_STAGES:
            stages.append(nn.Sequential(DownUnit(before, width), *(SplitUnit(width) for _ in range(blocks - 1))))
            before = width
        self.stage1, self.stage2, self.stage3 = stages
        self.last = nn.Sequential(*_pointwise(before, V2_TOP), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(V2_TOP, classes)
        self.taps = _taps(V2_STAGES)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` to logits ``(N, C)``."""
        x = self.activation(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.fc(self.pool(self.last(x)).flatten(1))
        return logits


def _pointwise(width_in: int, width: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width)


def _depthwise(width: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width)


def _taps(stages: tuple[tuple[int, int], ...]) -> Taps:
    numbered = list(enumerate((blocks for _, blocks in stages), start=1))
    return Taps(
        stem="activation",
        stages=tuple(f"stage{s}" for s, _ in numbered),
        pre_activations=tuple(f"stage{s}.{blocks - 1}.activation:input" for s, blocks in numbered),
        head="fc",
    )
