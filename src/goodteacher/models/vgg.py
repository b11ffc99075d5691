"""The CIFAR VGGs of the distillation literature, with batch normalisation: vgg8 to vgg19."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError
from goodteacher.models.taps import Taps

Widths = tuple[int, ...]


class PoolOf64(nn.Module):
    """2x2 max pool, only of maps 8 high: what is left of a 64x64 input at this depth.

    A 32x32 input arrives here 4 high and goes on unpooled, so that both sizes end on maps 4 high.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, D, 8, W)`` to ``(N, D, 4, W/2)`` and anything else to itself."""
        return F.max_pool2d(x, 2) if x.shape[2] == 8 else x


class VGG(nn.Module):
    """Five blocks of conv3x3-BN-ReLU with max pools between them and one linear layer.

    Args:
        classes: C.
        blocks: widths of the convolutions, block by block.
        channels: of the input.

    Source: Simonyan & Zisserman (2015), table 1; batch normalisation and single linear layer as in Tian et al. (2020).
    """

    def __init__(self, classes: int, *, blocks: tuple[Widths, ...], channels: int = 3) -> None:
        super().__init__()
        if len(blocks) != 5 or not all(blocks):
            raise ConfigError("blocks of a VGG", rule="must be five tuples of widths", received=blocks)
        self.stem = _block(channels, blocks[0])
        pools = (nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(2), PoolOf64())
        stages = [
            nn.Sequential(OrderedDict(pool=pool, block=_block(before[-1], widths)))
            for pool, (before, widths) in zip(pools, pairwise(blocks), strict=True)
        ]
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(blocks[-1][-1], classes)
        self.taps = Taps(
            stem="stem",
            stages=("stage1", "stage2", "stage3", "stage4"),
            # The last of each three modules of a block is the ReLU, its input the last BN's output.
            pre_activations=tuple(f"stage{s}.block.{3 * len(blocks[s]) - 1}:input" for s in (1, 2, 3, 4)),
            head="fc",
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` with H, W >= 8 to logits ``(N, C)``."""
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def _block(width_in: int, widths: Widths) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width in pairwise((width_in, *widths)):
        layers += [nn.Conv2d(before, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)
