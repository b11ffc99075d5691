"""The student-friendly teacher: while it trains, copies of its student's blocks hang on its stages and are taught along.

Legend: N examples, C classes, D features, H height, W width; stage i of the teacher, stage j of the student.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn

from goodteacher.base.checks import check_logits
from goodteacher.base.errors import ConfigError, check_range
from goodteacher.base.probability import kl, log_soften, reduce, widen
from goodteacher.base.stages import stage_names, tail_behind
from goodteacher.base.types import Batch, Logits, Loss, Needs, Output, Progress, Reduction, Setting, Terms
from goodteacher.objectives import scores

Shape: TypeAlias = tuple[int, ...]
WHAT = "objective 'sftn'"


def branch_divergence(
    branch_logits: Logits, teacher_logits: Logits, *, temperature: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    r"""Softened divergence from a branch of the student's blocks to the teacher that it hangs on.

    .. math:: \ell_n = \tau^2 \, \mathrm{KL} \bigl( \mathrm{softmax}(z^i_n / \tau) \,\Vert\, \mathrm{softmax}(z^T_n / \tau) \bigr)

    The branch comes first, the other way round than in distillation, and both learn: the teacher gives way where its student's
    blocks cannot follow.

    Args:
        branch_logits: ``(N, C)`` of a branch; receives the gradient.
        teacher_logits: ``(N, C)``; receives it too.
        temperature: ``τ > 0``, dimensionless.
        reduction: over the batch; classes are always summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats times τ².

    Raises:
        ShapeError: if the shapes differ, or values are not finite.
        ConfigError: if τ is not positive.

    Example:
        >>> z = torch.tensor([[2.0, 0.0]])
        >>> branch_divergence(z, z)
        tensor(0.)

    Source: Park et al. (2021), the divergence between student branches and teacher.
    """
    check_logits(branch_logits=branch_logits, teacher_logits=teacher_logits)
    branch, teacher = log_soften(branch_logits, temperature), log_soften(teacher_logits, temperature)
    return reduce(temperature**2 * kl(branch, teacher), reduction)


def paired_stages(teacher: Sequence[Shape], student: Sequence[Shape]) -> list[tuple[int, int]]:
    """Return which of the student's maps each branch starts from, and which of the teacher's it is made of.

    With as many stages on both sides, stage i goes with stage i, whatever their sizes. Otherwise each of the student's goes
    with the teacher's deepest of the same height and width, and those without one have no branch. The student's last stage has
    none in any case, because no block follows it.

    Args:
        teacher: ``(D, H, W)`` of each stage, shallow to deep.
        student: likewise.

    Returns:
        Pairs (teacher's, student's), counted from 0, shallow to deep.

    Raises:
        ConfigError: if there is no pair, or a map is none.

    Example:
        >>> paired_stages([(8, 32, 32), (8, 16, 16), (8, 8, 8)], [(4, 16, 16), (4, 8, 8), (4, 4, 4), (4, 4, 4)])
        [(1, 0), (2, 1)]

    Source: Park et al. (2021) for as many stages; the rest is this package's own.
    """
    if any(len(shape) != 3 for shape in (*teacher, *student)):
        received = f"shapes {tuple(teacher)} and {tuple(student)}"
        raise ConfigError(WHAT, rule="needs maps (D, H, W) after the stages of both networks", received=received)
    if len(teacher) == len(student):
        pairs = [(i, i) for i in range(len(student) - 1)]
    else:
        deepest = {shape[1:]: i for i, shape in enumerate(teacher)}
        pairs = [(deepest[shape[1:]], j) for j, shape in enumerate(student[:-1]) if shape[1:] in deepest]
    if not pairs:
        sizes = [" ".join(f"{h}x{w}" for _, h, w in shapes) or "none" for shapes in (teacher, student)]
        raise ConfigError(
            WHAT,
            rule="needs two networks with as many stages, at least two, or with maps of one size before the student's last",
            received=f"maps of {sizes[0]} in the teacher and {sizes[1]} in the student",
            remedy="choose another student or teacher",
        )
    return pairs


def transform(teacher: Shape, student: Shape) -> nn.Sequential:
    """Return what turns a teacher's map into a student's: convolution, batch normalisation, ReLU, and the right size.

    Equal sizes take a convolution 1x1. A map k times as large takes one of 3x3 at stride k; others are convolved 1x1, then
    repeated to a larger size or averaged to a smaller one.

    Args:
        teacher: ``(D, H, W)`` of the teacher's map.
        student: of the student's.

    Returns:
        A module from ``(N, *teacher)`` to ``(N, *student)``.

    Example:
        >>> sum(p.numel() for p in transform((64, 16, 16), (32, 16, 16)).parameters())
        2112

    Source: Park et al. (2021), the feature transform; the choice of kernel is this package's own.
    """
    (width_in, height, breadth), (width, to_height, to_breadth) = teacher, student
    times = height // to_height
    strided = times > 1 and (height, breadth) == (times * to_height, times * to_breadth)
    convolution = (
        nn.Conv2d(width_in, width, 3, stride=times, padding=1, bias=False)
        if strided
        else nn.Conv2d(width_in, width, 1, bias=False)
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(width), nn.ReLU()]
    if not strided and (height, breadth) != (to_height, to_breadth):
        grows = height <= to_height and breadth <= to_breadth
        size = (to_height, to_breadth)
        layers.append(nn.Upsample(size, mode="nearest") if grows else nn.AdaptiveAvgPool2d(size))
    return nn.Sequential(*layers)


def student_named(objective: Mapping[str, Mapping[str, Any]]) -> tuple[str, dict[str, Any]] | None:
    """Return the student that an objective is made for, for whoever builds networks.

    Args:
        objective: names of parts to their options, as `compose.parse` returns them.

    Returns:
        The model's name and options, or None for an objective that serves any student.

    Raises:
        ConfigError: if the student is missing, or not one model.

    Example:
        >>> student_named({"sftn": {"student": {"wrn_16_2": None}}}), student_named({"brier": {}})
        (('wrn_16_2', {}), None)
    """
    if "sftn" not in objective:
        return None
    student = objective["sftn"].get("student")
    if student is None:
        raise ConfigError(
            WHAT,
            rule="needs to know the student it makes a teacher for",
            received="none",
            remedy="write {sftn: {student: MODEL}}, where MODEL is a name of `goodteacher list models`",
        )
    if isinstance(student, str):
        return student, {}
    if not isinstance(student, Mapping) or len(student) != 1:
        raise ConfigError(
            f"option 'student' of {WHAT}",
            rule="must be a model's name, or a mapping from one name to its options",
            received=repr(student),
        )
    ((name, options),) = student.items()
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f"model '{name}'", rule="takes a mapping from option to value", received=repr(options))
    return str(name), dict(options or {})


@final
class StudentFriendly(Loss):
    r"""Cross-entropy of the teacher and of branches made of its student's blocks, with their divergence from it.

    .. math:: L = \lambda_T \, \mathrm{CE}(q^T, y) + \sum_i \bigl[ \lambda_{KL} \tau^2 \, \mathrm{KL}(\tilde q^i \Vert \tilde q^T)
              + \lambda_{CE} \, \mathrm{CE}(q^i, y) \bigr]

    Branch i is a `transform` of the teacher's map after stage i, then a copy of the student's blocks behind the stage that
    `paired_stages` names, and of its classifier. All train together, each branch with weights of its own; the branches are
    dropped at export.

    Args:
        setting: supplies ``network_shapes``, those of the teacher in training, and ``student`` with ``student_shapes``, the
            student's network.
        student: the student's model: a name, or a mapping from the name to its options. Required; whoever builds the setting
            reads it (see `student_named`).
        weight_teacher: λ_T > 0, of the teacher's cross-entropy.
        weight_kl: λ_KL ≥ 0.
        weight_ce: λ_CE ≥ 0.
        temperature: τ > 0, of the divergence.

    Raises:
        ConfigError: if there is no student, a network is no chain of stages, or the two have no stages to pair.

    Source: Park et al. (2021).
    """

    needs = Needs(network=frozenset({"stages"}), weighs_classes=True)
    # Two branches make the loss nine times cross-entropy's: on digits a resnet14 stays near chance at lr 0.1 and learns at 0.05.
    advice = "use half the lr, or smaller weight_kl and weight_ce"

    def __init__(
        self,
        setting: Setting,
        *,
        student: str | Mapping[str, Any] | None = None,
        weight_teacher: float = 1.0,
        weight_kl: float = 3.0,
        weight_ce: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        check_range("weight_teacher", weight_teacher, low=0.0, open_low=True)
        check_range("weight_kl", weight_kl, low=0.0)
        check_range("weight_ce", weight_ce, low=0.0)
        check_range("temperature", temperature, low=0.0, open_low=True)
        student_named({"sftn": {"student": student}})
        self.weight_teacher, self.weight_kl, self.weight_ce = weight_teacher, weight_kl, weight_ce
        self.temperature = temperature
        model = _student(setting)
        names = stage_names(model, f"the student of {WHAT}")
        taught, own = setting.network_shapes.get("stages", ()), setting.student_shapes.get("stages", ())
        if len(own) != len(names):
            rule = f"must describe the student's {len(names)} stages"
            raise ConfigError("Setting.student_shapes", rule=rule, received=own)
        pairs = paired_stages(taught, own)
        self.sites = tuple(i for i, _ in pairs)
        self.branches = nn.ModuleList(
            nn.Sequential(transform(taught[i], own[j]), tail_behind(model, names[j], f"the student of {WHAT}"))
            for i, j in pairs
        )

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the terms ``cross_entropy``, ``branch_divergence`` and ``branch_cross_entropy``, summed over branches."""
        answers = [branch(widen(network.stages[i])) for i, branch in zip(self.sites, self.branches, strict=True)]
        apart = [branch_divergence(z, network.logits, temperature=self.temperature) for z in answers]
        wrong = [batch.weighed_mean(scores.cross_entropy(z, batch.labels, reduction="none")) for z in answers]
        return {
            "cross_entropy": self.weight_teacher
            * batch.weighed_mean(scores.cross_entropy(network.logits, batch.labels, reduction="none")),
            "branch_divergence": self.weight_kl * torch.stack(apart).sum(),
            "branch_cross_entropy": self.weight_ce * torch.stack(wrong).sum(),
        }


def _student(setting: Setting) -> nn.Module:
    if setting.student is None:
        raise ConfigError(
            WHAT,
            rule="needs the student's network and the shapes of its stages",
            received="a setting without them",
            remedy="pass Setting(student=model, student_shapes=shapes)",
        )
    return setting.student
