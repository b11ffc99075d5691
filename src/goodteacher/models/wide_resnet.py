"""The wide ResNets of the distillation literature: wrn_16_1, wrn_16_2, wrn_40_1 and wrn_40_2."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError, check_range
from goodteacher.models.taps import Taps


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-conv3x3, plus the shortcut; the sum is not activated."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False) if width_in != width else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, width_in, H, W)`` to ``(N, width, H/stride, W/stride)``."""
        active = F.relu(self.bn1(x))
        y: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        # A projection reads the activated map, an identity passes the raw one.
        passed: Tensor = x if self.shortcut is None else self.shortcut(active)
        return y + passed


class WideResNet(nn.Module):
    """Three stages of pre-activation blocks at strides 1, 2, 2.

    Stage maps are the raw residual streams. The pre-activation of a stage is what the next BN makes of its map, as the
    literature's feature methods read it.

    Args:
        classes: C.
        depth: 6n + 4 for n blocks a stage.
        width: factor k on the stages' widths 16, 32, 64.
        channels: of the input.

    Source: Zagoruyko & Komodakis (2016), table 1; no dropout.
    """

    def __init__(self, classes: int, *, depth: int, width: int, channels: int = 3) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ConfigError("depth of a wide ResNet", rule="must be 6n + 4 with n >= 1", received=depth)
        check_range("width of a wide ResNet", width, low=1)
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.stage1 = _stage(16, 16 * width, blocks, stride=1)
        self.stage2 = _stage(16 * width, 32 * width, blocks, stride=2)
        self.stage3 = _stage(32 * width, 64 * width, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.activation = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * width, classes)
        self.taps = Taps(
            stem="conv1",
            stages=("stage1", "stage2", "stage3"),
            pre_activations=("stage2.0.bn1", "stage3.0.bn1", "bn1"),
            head="fc",
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` to logits ``(N, C)``."""
        x = self.stage3(self.stage2(self.stage1(self.conv1(x))))
        logits: Tensor = self.fc(self.pool(self.activation(self.bn1(x))).flatten(1))
        return logits


def _stage(width_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = PreActivationBlock(width_in, width, stride)
    return nn.Sequential(first, *(PreActivationBlock(width, width, 1) for _ in range(blocks - 1)))
