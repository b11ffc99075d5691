"""Overhaul of feature distillation: maps before the activation, with the teacher's margin.

Legend: N examples, D features, H height, W width; F^s, F^t pre-activation maps of student and teacher at one depth.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from goodteacher.base.checks import check_same_shape
from goodteacher.base.errors import ConfigError, ShapeError, check_range
from goodteacher.base.probability import reduce
from goodteacher.base.shapes import shapes_of
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Reduction, Setting, Terms
from goodteacher.methods.connectors import check_maps, initialise_convolutions, pool_to_smaller, total, wide
from goodteacher.models.taps import guess_taps

RARE = 1e-3
"""Share of negative values below which their mean is not estimated; Heo et al. (2019b), as released."""


def ofd(student_map: Tensor, teacher_map: Tensor, margin: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    r"""Partial squared distance to the teacher's map above its margin.

    .. math:: \ell_n = \sum_{dhw} [F^s > T \text{ or } T > 0] \, (F^s - T)^2, \quad T = \max(F^t, m_d)

    Args:
        student_map: ``(N, D, H, W)`` before the activation, already through the connector; receives the gradient.
        teacher_map: ``(N, D, H, W)`` before the activation; treated as constant.
        margin: ``(D,)``, at most 0; see `expected_negative`.
        reduction: over the batch; features and places are summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; in squares of the map's unit.

    Raises:
        ShapeError: if the maps' shapes differ, the margin has another width, or values are not finite.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[[-5.0, 1.0]]]]), torch.tensor([[[[-3.0, 3.0]]]])
        >>> ofd(student, teacher, torch.tensor([-1.0]))
        tensor(4.)

    Source: Heo et al. (2019b), margin ReLU and partial L2 distance.

    Differs: the released code keeps the teacher in training mode while it teaches; here it is in evaluation mode.
    """
    check_maps(student_map=student_map, teacher_map=teacher_map)
    check_same_shape(student_map=student_map, teacher_map=teacher_map)
    if tuple(margin.shape) != (teacher_map.shape[1],):
        raise ShapeError("margin", rule=f"must have shape ({teacher_map.shape[1]},)", received=tuple(margin.shape))
    student = wide(student_map)
    target = torch.maximum(wide(teacher_map.detach()), margin.detach().to(student.dtype)[:, None, None])
    counts = (student.detach() > target) | (target > 0)
    gap = torch.where(counts, student - target, torch.zeros_like(target))
    return reduce(gap.square().flatten(1).sum(dim=1), reduction)


def expected_negative(mean: Tensor, spread: Tensor) -> Tensor:
    r"""Expected value of a normal variable where it is negative: the margin below which a response means nothing.

    .. math:: m = \beta - \gamma \frac{\varphi(\beta / \gamma)}{\Phi(-\beta / \gamma)}, \text{ or } -3 \gamma
              \text{ where } \Phi(-\beta / \gamma) \le 0.001

    Args:
        mean: ``(D,)``, β of the batch normalisation.
        spread: ``(D,)``, γ of the batch normalisation; its sign does not count.

    Returns:
        ``(D,)``, at most 0.

    Example:
        >>> import torch
        >>> expected_negative(torch.zeros(1), torch.ones(1))
        tensor([-0.7979])

    Source: Heo et al. (2019b), the margin from batch normalisation.
    """
    beta = mean.detach().double()
    gamma = spread.detach().double().abs().clamp_min(1e-12)
    ratio = beta / gamma
    below = torch.special.ndtr(-ratio)
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    value = torch.where(below > RARE, beta - gamma * density / below.clamp_min(RARE), -3 * gamma)
    return value.to(mean.dtype)


def norm_before_activation(network: nn.Module, site: str, width: int) -> nn.BatchNorm2d:
    """Return the batch normalisation behind a pre-activation tap.

    Args:
        network: where the tap is.
        site: the tap: the normalisation itself, the input of the ReLU behind it, the input of a residual block's last ReLU, or
            a stage that ends with one.
        width: D of the map.

    Returns:
        The module.

    Raises:
        ConfigError: if no single normalisation gives the map, as in networks that concatenate before the activation.
    """
    name = site.removesuffix(":input")
    owner, _, child = name.rpartition(".")
    if name == site:
        candidates = list(network.get_submodule(name).modules())
    elif child.isdigit():
        before = int(child) - 1
        candidates = [network.get_submodule(f"{owner}.{before}")] if before >= 0 else []
    else:
        # A block's own normalisations, not those of its shortcut.
        candidates = [m for m in network.get_submodule(owner).children() if isinstance(m, nn.BatchNorm2d)]
    last = candidates[-1] if candidates else None
    if not isinstance(last, nn.BatchNorm2d) or last.num_features != width or not last.affine:
        raise ConfigError(
            "method 'ofd'",
            rule="needs a teacher with batch normalisation right before the last activation of each stage",
            received=f"{type(network).__name__} without it at '{site}'",
            remedy="choose another teacher or another method",
        )
    return last


class OFD(Loss):
    """Pre-activations of every stage above the teacher's margins, weighted by β; see `ofd`.

    Each shallower map weighs half of the next.

    Args:
        setting: supplies shapes and the trained teacher, from whose batch normalisation the margins are computed.
        beta: weight.
    """

    needs = Needs(frozenset({"pre_activations"}), frozenset({"pre_activations"}), uses_teacher=True)

    def __init__(self, setting: Setting, *, beta: float = 1e-3) -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        self.beta = beta
        pairs = shapes_of(setting, "ofd", student="pre_activations")
        if setting.teacher is None:
            raise ConfigError("method 'ofd'", rule="needs a teacher that is a network", received="none")
        sites = guess_taps(setting.teacher).pre_activations
        connectors = []
        for i, (site, (student, teacher)) in enumerate(zip(sites, pairs, strict=False)):
            norm = norm_before_activation(setting.teacher, site, teacher[0])
            self.register_buffer(f"margin{i}", expected_negative(norm.bias, norm.weight))
            connectors.append(
                nn.Sequential(nn.Conv2d(student[0], teacher[0], 1, bias=False), nn.BatchNorm2d(teacher[0]))
            )
        self.connectors = nn.ModuleList(connectors)
        initialise_convolutions(self)

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``ofd``, summed over stages."""
        assert teacher is not None, "the plan refuses ofd without a teacher"
        depth = len(self.connectors)
        values = []
        maps = zip(self.connectors, network.pre_activations, teacher.pre_activations, strict=False)
        for i, (connector, of_student, of_teacher) in enumerate(maps):
            pooled = pool_to_smaller(connector(wide(of_student)), wide(of_teacher))
            values.append(ofd(*pooled, self.get_buffer(f"margin{i}")) / 2.0 ** (depth - i - 1))
        return {"ofd": self.beta * total(values)}
