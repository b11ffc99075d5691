"""Methods that match maps: hints, distributions of neurons, variational information, factors.

Legend: N examples, D features, H height, W width; F^s, F^t maps of student and teacher at one depth.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodteacher.base.checks import check_same_shape
from goodteacher.base.errors import ConfigError, ShapeError, check_choice, check_range
from goodteacher.base.probability import reduce
from goodteacher.base.shapes import shapes_of
from goodteacher.base.types import Batch, Loss, Needs, Output, PerExample, Progress, Reduction, Setting, Terms
from goodteacher.methods.connectors import (
    FACTOR_RATE,
    Regressor,
    check_maps,
    factor_encoder,
    mean_square,
    pool_to_smaller,
    total,
    wide,
)

FactorForm: TypeAlias = Literal["code", "paper"]
STAGES = Needs(frozenset({"stages"}), frozenset({"stages"}), uses_teacher=True)


def fitnet(student_map: Tensor, teacher_map: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    r"""Mean squared difference between a regressed student map and the teacher's hint.

    .. math:: \ell_n = \frac{1}{DHW} \Vert r(F^s_n) - F^t_n \Vert^2

    Args:
        student_map: ``(N, D, H, W)``, already through the regressor r; receives the gradient.
        teacher_map: ``(N, D, H, W)``; treated as constant.
        reduction: over the batch; features and places are averaged.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; in squares of the map's unit.

    Raises:
        ShapeError: if the shapes differ, or values are not finite.

    Example:
        >>> import torch
        >>> fitnet(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3.0))
        tensor(9.)

    Source: Romero et al. (2015), equation 3.

    Differs: the paper trains the hint first and the label afterwards, and halves the sum over places; the CRD benchmark
    trains both together with weight 100, which is the default here.
    """
    check_maps(student_map=student_map, teacher_map=teacher_map)
    check_same_shape(student_map=student_map, teacher_map=teacher_map)
    return reduce(mean_square(wide(student_map), wide(teacher_map.detach())), reduction)


class FitNet(Loss):
    """One hint through a regressor, weighted by β; see `fitnet`.

    Args:
        setting: supplies shapes.
        beta: weight.
        layer: which stage gives the hint, counted from 1.
    """

    needs = STAGES

    def __init__(self, setting: Setting, *, beta: float = 100.0, layer: int = 2) -> None:
        super().__init__()
        shapes = shapes_of(setting, "fitnet", student="stages")
        check_range("beta", beta, low=0.0)
        check_range("layer", layer, low=1, high=len(shapes))
        self.beta, self.layer = beta, layer
        self.regressor = Regressor(*shapes[layer - 1])

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``fitnet``."""
        assert teacher is not None, "the plan refuses fitnet without a teacher"
        guided = self.regressor(network.stages[self.layer - 1])
        return {"fitnet": self.beta * fitnet(guided, teacher.stages[self.layer - 1])}


def nst(student_map: Tensor, teacher_map: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    r"""Squared maximum mean discrepancy between the activation patterns of neurons, with a quadratic kernel.

    .. math:: \ell_n = \frac{1}{D'^2} \sum_{ij} k(v^t_i, v^t_j) + \frac{1}{D^2} \sum_{ij} k(v^s_i, v^s_j)
              - \frac{2}{D D'} \sum_{ij} k(v^s_i, v^t_j), \quad k(u, v) = (u^\top v)^2, \; v_d = F_d / \Vert F_d \Vert

    Args:
        student_map: ``(N, D, H, W)``; receives the gradient.
        teacher_map: ``(N, D', H', W')``; treated as constant. The larger of the two maps is average-pooled to the smaller.
        reduction: over the batch; pairs of features are averaged.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; dimensionless, in [0, 2], not changed by a positive factor on
        either map.

    Raises:
        ShapeError: unless both are maps of the same examples and finite.

    Example:
        >>> import torch
        >>> x = torch.eye(2).view(1, 2, 1, 2)
        >>> nst(x, x[:, :1])
        tensor(0.5000)

    Source: Huang & Wang (2017), with the polynomial kernel of degree 2.
    """
    check_maps(student_map=student_map, teacher_map=teacher_map)
    pooled = pool_to_smaller(wide(student_map), wide(teacher_map.detach()))
    student, teacher = (F.normalize(x.flatten(2), dim=2) for x in pooled)
    if student.shape[2] <= max(student.shape[1], teacher.shape[1]):
        # The three sums are the squared distance of two second moments (HW, HW), the smaller matrices on deep maps.
        gap = _second_moment(student) - _second_moment(teacher)
        return reduce(gap.square().sum(dim=(1, 2)), reduction)
    each = _mean_kernel(teacher, teacher) + _mean_kernel(student, student) - 2 * _mean_kernel(student, teacher)
    return reduce(each, reduction)


def _second_moment(v: Tensor) -> Tensor:
    return v.transpose(1, 2) @ v / v.shape[1]


def _mean_kernel(u: Tensor, v: Tensor) -> PerExample:
    return (u @ v.transpose(1, 2)).square().mean(dim=(1, 2))


class VID(nn.Module):
    r"""Variational information: likelihood of the teacher's map under a Gaussian around the regressed student's.

    .. math:: \ell_n = \frac{1}{D'HW} \sum_{dhw} \tfrac12 \Bigl[ \frac{(F^t_{ndhw} - \mu_d(F^s_n)_{hw})^2}{\sigma_d^2}
              + \log \sigma_d^2 \Bigr], \quad \sigma_d^2 = \log(1 + e^{\rho_d}) + \varepsilon

    Args:
        student_width: D.
        teacher_width: D'. The regressor μ is three convolutions 1x1 of this width with ReLU between them.
        initial_variance: σ² before training, > ε.
        epsilon: ε, the least variance.

    Returns:
        Called with ``student_map`` ``(N, D, H, W)`` and ``teacher_map`` ``(N, D', H', W')``, which is treated as constant, it
        returns a scalar, or ``(N,)`` with ``reduction="none"``; nats per entry less a constant, so it can be negative.

    Raises:
        ShapeError: unless both are maps of the same examples, finite, and of the declared widths.
        ConfigError: if the initial variance is not above ε.

    Example:
        >>> import torch
        >>> vid = VID(1, 1)
        >>> _ = [p.data.zero_() for p in vid.regressor.parameters()]
        >>> vid(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)).item()  # log(5) / 2
        0.804...

    Source: Ahn et al. (2019), the Gaussian bound with a variance for each channel.

    Differs: one toolkit keeps ρ outside its parameters, so that σ² stays 5; here it trains, as in the paper and in the CRD
    benchmark.
    """

    def __init__(
        self, student_width: int, teacher_width: int, *, initial_variance: float = 5.0, epsilon: float = 1e-5
    ) -> None:
        super().__init__()
        check_range("epsilon", epsilon, low=0.0, open_low=True)
        check_range("initial_variance", initial_variance, low=epsilon, open_low=True)
        self.widths, self.epsilon = (student_width, teacher_width), epsilon
        self.regressor = nn.Sequential(
            nn.Conv2d(student_width, teacher_width, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_width, teacher_width, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_width, teacher_width, 1, bias=False),
        )
        self.rho = nn.Parameter(torch.full((teacher_width,), math.log(math.expm1(initial_variance - epsilon))))

    def forward(self, student_map: Tensor, teacher_map: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        """Return the loss of one pair of maps."""
        check_maps(student_map=student_map, teacher_map=teacher_map)
        got = (student_map.shape[1], teacher_map.shape[1])
        if got != self.widths:
            raise ShapeError("widths of the maps", rule=f"must be {self.widths}", received=f"{got} in their shapes")
        student, teacher = pool_to_smaller(wide(student_map), wide(teacher_map.detach()))
        variance = (F.softplus(self.rho) + self.epsilon)[:, None, None]
        surprise = (teacher - self.regressor(student)).square() / variance + variance.log()
        return reduce(0.5 * surprise.flatten(1).mean(dim=1), reduction)


class VIDMethod(Loss):
    """Variational information after every stage, weighted by β; see `VID`."""

    needs = STAGES

    def __init__(self, setting: Setting, *, beta: float = 1.0, initial_variance: float = 5.0) -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        self.beta = beta
        pairs = shapes_of(setting, "vid", student="stages")
        self.losses = nn.ModuleList([VID(s[0], t[0], initial_variance=initial_variance) for s, t in pairs])

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``vid``, summed over stages."""
        assert teacher is not None, "the plan refuses vid without a teacher"
        stages = zip(self.losses, network.stages, teacher.stages, strict=False)
        return {"vid": self.beta * total([loss(s, t) for loss, s, t in stages])}


def ft(
    student_factor: Tensor, teacher_factor: Tensor, *, form: FactorForm = "code", reduction: Reduction = "mean"
) -> Tensor:
    r"""Distance between the factors that translator and paraphraser make of the last maps.

    .. math:: \ell_n = \frac{1}{HW} \Bigl\Vert \frac{q^s_n}{\Vert q^s_n \Vert_2} - \frac{q^t_n}{\Vert q^t_n \Vert_2}
              \Bigr\Vert_1, \quad q_{nhw} = \sum_d F_{ndhw}^2

    Args:
        student_factor: ``(N, D, H, W)`` from the translator; receives the gradient.
        teacher_factor: ``(N, D', H', W')`` from the paraphraser; treated as constant. The larger of the two is average-pooled
            to the smaller.
        form: ``code`` as above; ``paper`` compares the whole factors, ``q = F``, and sums instead of averaging.
        reduction: over the batch.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; dimensionless, not changed by a positive factor on either side.

    Raises:
        ShapeError: unless both are maps of the same examples and finite; in ``paper`` also if their widths differ.
        ConfigError: if the form is unknown.

    Example:
        >>> import torch
        >>> x = torch.tensor([[[[1.0, 0.0]]]])
        >>> ft(x, x.flip(3))
        tensor(1.)

    Source: Kim, Park & Kwak (2018), factor transfer with p = 1.

    Differs: ``code`` is the form behind the figures of the CRD benchmark (weight 200), ``paper`` the equation.
    """
    check_maps(student_factor=student_factor, teacher_factor=teacher_factor)
    check_choice("form", form, ("code", "paper"))
    student, teacher = pool_to_smaller(wide(student_factor), wide(teacher_factor.detach()))
    if form == "paper":
        check_same_shape(student_factor=student, teacher_factor=teacher)
        gap = F.normalize(student.flatten(1), dim=1) - F.normalize(teacher.flatten(1), dim=1)
        return reduce(gap.abs().sum(dim=1), reduction)
    gap = _factor_direction(student) - _factor_direction(teacher)
    return reduce(gap.abs().mean(dim=1), reduction)


def _factor_direction(factor: Tensor) -> Tensor:
    return F.normalize(factor.square().mean(dim=1).flatten(1), dim=1)


class FT(Loss):
    """Factor of the last map through a translator, weighted by β; the teacher's paraphraser is prepared; see `ft`."""

    needs = Needs(
        frozenset({"stages"}), frozenset({"stages"}), uses_teacher=True, preparation=frozenset({"paraphraser"})
    )

    def __init__(self, setting: Setting, *, beta: float = 200.0, form: FactorForm = "code") -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        check_choice("form", form, ("code", "paper"))
        shapes_of(setting, "ft", student="stages")
        self.beta, self.form = beta, form
        width = int(setting.teacher_shapes["stages"][-1][0] * FACTOR_RATE)
        self.translator = factor_encoder(setting.network_shapes["stages"][-1][0], width, normalised=True)

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``ft``."""
        if teacher is None or "factors" not in teacher.extra:
            raise ConfigError("method 'ft'", rule="needs a teacher prepared with 'paraphraser'", received="none")
        factor = self.translator(wide(network.stages[-1]))
        return {"ft": self.beta * ft(factor, teacher.extra["factors"][0], form=self.form)}
