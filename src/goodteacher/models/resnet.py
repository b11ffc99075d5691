"""The CIFAR ResNets of the distillation literature: resnet8 to resnet110, resnet8x4 and resnet32x4."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from goodteacher.models.taps import Taps


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN, plus the shortcut, then ReLU."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = (
            nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if stride != 1 or width_in != width
            else nn.Identity()
        )
        # A module, not a function: its input is the pre-activation that taps read.
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, width_in, H, W)`` to ``(N, width, H/stride, W/stride)``."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out: Tensor = self.activation(y + self.shortcut(x))
        return out


class CifarResNet(nn.Module):
    """Three stages of basic blocks at strides 1, 2, 2.

    Args:
        classes: C.
        depth: 6n + 2 for n blocks a stage.
        widths: of the stem and the three stages.
        channels: of the input.

    Source: He et al. (2016), section 4.2; widths and shortcuts as in Tian et al. (2020).
    """

    def __init__(
        self, classes: int, *, depth: int, widths: tuple[int, int, int, int] = (16, 16, 32, 64), channels: int = 3
    ) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.activation = nn.ReLU()
        self.stage1 = _stage(widths[0], widths[1], blocks, stride=1)
        self.stage2 = _stage(widths[1], widths[2], blocks, stride=2)
        self.stage3 = _stage(widths[2], widths[3], blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[3], classes)
        self.taps = Taps(
            stem="activation",
            stages=("stage1", "stage2", "stage3"),
            pre_activations=tuple(f"stage{s}.{blocks - 1}.activation:input" for s in (1, 2, 3)),
            head="fc",
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` to logits ``(N, C)``."""
        x = self.activation(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def _stage(width_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(width_in, width, stride)
    return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(blocks - 1)))
