"""ResNet-18 to ResNet-152 in four stages, with the stem of the CIFAR benchmarks or of ImageNet."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError, check_choice
from goodteacher.models.resnet import BasicBlock
from goodteacher.models.taps import Taps

BASIC_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Bottleneck(nn.Module):
    """conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1-BN, plus the shortcut, then ReLU; the stride is in the 3x3."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        inner = width // 4
        self.conv1 = nn.Conv2d(width_in, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.shortcut = (
            nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if stride != 1 or width_in != width
            else nn.Identity()
        )
        # A module, not a function: its input is the pre-activation that taps read.
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, width_in, H, W)`` to ``(N, width, H/stride, W/stride)``."""
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        out: Tensor = self.activation(self.bn3(self.conv3(y)) + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """Four stages of basic or bottleneck blocks at strides 1, 2, 2, 2.

    Args:
        classes: C.
        depth: 18 or 34 (basic blocks), 50, 101 or 152 (bottlenecks).
        stem: ``cifar`` (conv3x3) or ``imagenet`` (conv7x7 at stride 2 and a max pool at stride 2).
        channels: of the input.

    Source: He et al. (2016), table 1, with a bottleneck's stride in its 3x3 as in torchvision; the ``cifar`` form as in
    Tian et al. (2020).
    """

    def __init__(
        self, classes: int, *, depth: int, stem: Literal["cifar", "imagenet"] = "cifar", channels: int = 3
    ) -> None:
        super().__init__()
        check_choice("stem of a ResNet", stem, ("cifar", "imagenet"))
        counts = {**BASIC_DEPTHS, **BOTTLENECK_DEPTHS}.get(depth)
        if counts is None:
            raise ConfigError("depth of a ResNet", rule="must be 18, 34, 50, 101 or 152", received=depth)
        block, factor = (BasicBlock, 1) if depth in BASIC_DEPTHS else (Bottleneck, 4)
        widths = (64, *(factor * width for width in (64, 128, 256, 512)))
        size, stride = (3, 1) if stem == "cifar" else (7, 2)
        self.conv1 = nn.Conv2d(channels, 64, size, stride, size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.activation = nn.ReLU()
        self.shrink = nn.Identity() if stem == "cifar" else nn.MaxPool2d(3, 2, 1)
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            _stage(block, widths[s], widths[s + 1], counts[s], stride=1 if s == 0 else 2) for s in range(4)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], classes)
        self.taps = Taps(
            stem="activation",
            stages=("stage1", "stage2", "stage3", "stage4"),
            pre_activations=tuple(f"stage{s}.{count - 1}.activation:input" for s, count in enumerate(counts, start=1)),
            head="fc",
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` to logits ``(N, C)``."""
        x = self.shrink(self.activation(self.bn1(self.conv1(x))))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def _stage(block: type[BasicBlock | Bottleneck], width_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(block(width_in, width, stride), *(block(width, width, 1) for _ in range(blocks - 1)))
