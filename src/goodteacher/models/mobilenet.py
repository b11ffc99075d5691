"""MobileNetV2 as the CIFAR distillation benchmarks use it, and MobileNetV1 for ImageNet."""

from __future__ import annotations

from torch import Tensor, nn

from goodteacher.base.errors import ConfigError, check_range
from goodteacher.models.taps import Taps

V2_GROUPS = (
    # expansion (None: the model's), width, blocks, stride of the first block
    (1, 16, 1, 1),
    (None, 24, 2, 1),
    (None, 32, 3, 2),
    (None, 64, 4, 2),
    (None, 96, 3, 1),
    (None, 160, 3, 2),
    (None, 320, 1, 1),
)
V2_STAGES = ((0, 1), (2,), (3, 4), (5, 6))
"""Which groups make a stage: the literature reads maps after groups 1, 2, 4 and 6."""

V1_STAGES = (
    # (width, stride) of each block
    ((64, 1), (128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    ((1024, 2), (1024, 1)),
)


class InvertedResidual(nn.Module):
    """conv1x1 up, depthwise conv3x3, conv1x1 down without activation; plus the input where shapes allow."""

    def __init__(self, width_in: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width_in * expansion
        # At expansion 1 the first convolution is kept: the benchmarks' parameter counts include it.
        self.branch = nn.Sequential(
            *_conv(width_in, inner, 1),
            *_conv(inner, inner, 3, stride, groups=inner),
            nn.Conv2d(inner, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.is_residual = stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, width_in, H, W)`` to ``(N, width, H/stride, W/stride)``."""
        y: Tensor = self.branch(x)
        return x + y if self.is_residual else y


class MobileNetV2(nn.Module):
    """Inverted residuals, with plain ReLU and the strides of the CIFAR benchmarks.

    Stage maps are linear bottlenecks: no activation follows them, so the pre-activations are the maps themselves.

    Args:
        classes: C.
        width: factor on every width but the last 1280, which only grows (benchmarks: 0.5).
        expansion: of a block's inner width.
        stem_stride: 2 in the CRD benchmark; 1, with maps twice as large and four times the cost, in HSAKD.
        channels: of the input.

    Source: Sandler et al. (2018), table 2; strides and ReLU as in Tian et al. (2020).
    """

    def __init__(
        self, classes: int, *, width: float = 0.5, expansion: int = 6, stem_stride: int = 2, channels: int = 3
    ) -> None:
        super().__init__()
        check_range("width of MobileNetV2", width, low=1 / 16)
        check_range("expansion of MobileNetV2", expansion, low=1)
        if stem_stride not in {1, 2}:
            raise ConfigError("stem stride of MobileNetV2", rule="must be 1 or 2", received=stem_stride)
        widths = [int(32 * width), *(int(c * width) for _, c, _, _ in V2_GROUPS)]
        groups = [
            _group(widths[i], widths[i + 1], blocks, stride, factor or expansion)
            for i, (factor, _, blocks, stride) in enumerate(V2_GROUPS)
        ]
        top = max(1280, int(1280 * width))
        self.stem = nn.Sequential(*_conv(channels, widths[0], 3, stem_stride))
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(*(groups[i] for i in stage)) for stage in V2_STAGES
        )
        self.last = nn.Sequential(*_conv(widths[-1], top, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(top, classes)
        stages = ("stage1", "stage2", "stage3", "stage4")
        self.taps = Taps(stem="stem", stages=stages, pre_activations=stages, head="fc")
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` to logits ``(N, C)``."""
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))
        logits: Tensor = self.fc(self.pool(self.last(x)).flatten(1))
        return logits


class MobileNetV1(nn.Module):
    """Depthwise separable convolutions, for ImageNet.

    Args:
        classes: C.
        channels: of the input.

    Source: Howard et al. (2017), table 1.
    """

    def __init__(self, classes: int, *, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(channels, 32, 3, 2))
        before = 32
        stages: list[nn.Sequential] = []
        for rows in V1_STAGES:
            blocks: list[nn.Sequential] = []
            for width, stride in rows:
                blocks.append(nn.Sequential(*_conv(before, before, 3, stride, groups=before), *_conv(before, width, 1)))
                before = width
            stages.append(nn.Sequential(*blocks))
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)
        self.taps = Taps(
            stem="stem",
            stages=("stage1", "stage2", "stage3", "stage4"),
            # A block's sixth module is its last ReLU.
            pre_activations=tuple(f"stage{s}.{len(rows) - 1}.5:input" for s, rows in enumerate(V1_STAGES, start=1)),
            head="fc",
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` to logits ``(N, C)``."""
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def _conv(width_in: int, width: int, size: int, stride: int = 1, groups: int = 1) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(width_in, width, size, stride, size // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(width), nn.ReLU()


def _group(width_in: int, width: int, blocks: int, stride: int, expansion: int) -> nn.Sequential:
    first = InvertedResidual(width_in, width, stride, expansion)
    return nn.Sequential(first, *(InvertedResidual(width, width, 1, expansion) for _ in range(blocks - 1)))
