"""Knowledge review: each map of the teacher is learnt from that depth of the student and all deeper ones.

Legend: N examples, D features, H height, W width; F^s, F^t maps of student and teacher at one level.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodteacher.base.checks import check_same_shape
from goodteacher.base.errors import check_range
from goodteacher.base.probability import reduce
from goodteacher.base.shapes import Shape, shapes_of
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Reduction, Setting, Terms
from goodteacher.methods.connectors import check_maps, total, wide

POOLS = (4, 2, 1)
MID_WIDTH = 512
"""Largest width of the fused maps; Chen et al. (2021), as released for CIFAR-100."""


def hcl(student_map: Tensor, teacher_map: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    r"""Hierarchical context loss: mean squared differences of two maps at several sizes.

    .. math:: \ell_n = \frac{\mathrm{mse}(F^s_n, F^t_n) + \sum_k 2^{-k} \, \mathrm{mse}(\mathrm{pool}_{l_k} F^s_n,
              \mathrm{pool}_{l_k} F^t_n)}{1 + \sum_k 2^{-k}}, \quad l_1, l_2, \dots = \text{those of } 4, 2, 1
              \text{ below } H

    Args:
        student_map: ``(N, D, H, W)``, already fused; receives the gradient.
        teacher_map: ``(N, D, H, W)``; treated as constant.
        reduction: over the batch; features and places are averaged.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; in squares of the map's unit.

    Raises:
        ShapeError: if the shapes differ, or values are not finite.

    Example:
        >>> import torch
        >>> hcl(torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]]]), torch.zeros(1, 1, 2, 2))
        tensor(0.6667)

    Source: Chen et al. (2021), hierarchical context loss; the weights are those of the released code.
    """
    check_maps(student_map=student_map, teacher_map=teacher_map)
    check_same_shape(student_map=student_map, teacher_map=teacher_map)
    # Pooling is linear, so the difference is pooled once instead of both maps.
    gap = wide(student_map) - wide(teacher_map.detach())
    value = gap.square().flatten(1).mean(dim=1)
    weight, weights = 1.0, 1.0
    for size in POOLS:
        if size >= gap.shape[2]:
            continue
        weight /= 2
        weights += weight
        value = value + weight * F.adaptive_avg_pool2d(gap, size).square().flatten(1).mean(dim=1)
    return reduce(value / weights, reduction)


class AttentionFusion(nn.Module):
    """Fuses a student's map with what came from the deeper levels, and brings it to the teacher's shape.

    Args:
        student_shape: ``(D, H, W)`` of the student's map.
        teacher_shape: of the teacher's.
        mid_width: of the fused map.
        deepest: whether nothing comes from below.

    Source: Chen et al. (2021), attention-based fusion.
    """

    def __init__(self, student_shape: Shape, teacher_shape: Shape, mid_width: int, *, deepest: bool) -> None:
        super().__init__()
        self.size, self.size_out = student_shape[1:], teacher_shape[1:]
        self.narrow = nn.Sequential(nn.Conv2d(student_shape[0], mid_width, 1, bias=False), nn.BatchNorm2d(mid_width))
        self.attention = None if deepest else nn.Conv2d(2 * mid_width, 2, 1)
        self.widen = nn.Sequential(
            nn.Conv2d(mid_width, teacher_shape[0], 3, padding=1, bias=False), nn.BatchNorm2d(teacher_shape[0])
        )
        for conv in (self.narrow[0], self.widen[0]):
            nn.init.kaiming_uniform_(conv.weight, a=1)  # type: ignore[arg-type]

    def forward(self, x: Tensor, below: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the map for the teacher ``(N, *teacher_shape)`` and the residual for the next shallower level."""
        fused = self.narrow(wide(x))
        if self.attention is not None:
            assert below is not None, "only the deepest level has nothing below"
            below = F.interpolate(below, self.size, mode="nearest")
            weights = torch.sigmoid(self.attention(torch.cat([fused, below], dim=1)))
            fused = fused * weights[:, :1] + below * weights[:, 1:]
        if fused.shape[2:] != self.size_out:
            fused = F.interpolate(fused, self.size_out, mode="nearest")
        return self.widen(fused), fused


class ReviewKD(Loss):
    """Student's stages and embedding reviewed against the teacher's pre-activations and embedding; see `hcl`.

    Args:
        setting: supplies shapes.
        beta: weight after the warm-up. The authors' choices for CIFAR-100: 5 for pairs with wide ResNets, resnet32x4 to
            resnet8x4 and to ShuffleNetV1, 8 to ShuffleNetV2, 0.6 for resnet56 to resnet20, 1 for resnet110 to resnet32.
        warmup: in which the weight grows linearly from 0, epoch by epoch.

    Source: Chen et al. (2021), review with residual learning.
    """

    needs = Needs(frozenset({"stages", "embedding"}), frozenset({"pre_activations", "embedding"}), uses_teacher=True)

    def __init__(self, setting: Setting, *, beta: float = 1.0, warmup: int = 20) -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        check_range("warmup", warmup, low=0)
        self.beta, self.warmup = beta, warmup
        pairs = shapes_of(setting, "reviewkd", student="stages", teacher="pre_activations")
        vectors = shapes_of(setting, "reviewkd", student="embedding")[0]
        levels = [*pairs, ((*vectors[0], 1, 1), (*vectors[1], 1, 1))]
        mid_width = min(MID_WIDTH, levels[-1][0][0])
        self.fusions = nn.ModuleList(
            [AttentionFusion(s, t, mid_width, deepest=i == len(pairs)) for i, (s, t) in enumerate(levels)]
        )

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``reviewkd``, summed over levels."""
        assert teacher is not None and network.embedding is not None and teacher.embedding is not None
        maps = [*network.stages[: len(self.fusions) - 1], network.embedding[:, :, None, None]]
        targets = [*teacher.pre_activations[: len(self.fusions) - 1], teacher.embedding[:, :, None, None]]
        values: list[Tensor] = []
        below: Tensor | None = None
        for fusion, x, target in zip(reversed(self.fusions), reversed(maps), reversed(targets), strict=True):
            answer, below = fusion(x, below)
            values.append(hcl(answer, target))
        share = min(1.0, (progress.epoch - 1) / self.warmup) if self.warmup else 1.0
        return {"reviewkd": self.beta * share * total(values)}
