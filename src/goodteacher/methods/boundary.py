"""Activation boundaries: on which side of zero a neuron of the teacher is.

Legend: N examples, D features, H height, W width; F^s, F^t pre-activation maps of student and teacher at one depth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from goodteacher.base.checks import check_same_shape
from goodteacher.base.errors import check_range
from goodteacher.base.probability import reduce
from goodteacher.base.shapes import shapes_of
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Reduction, Setting, Terms
from goodteacher.methods.connectors import Regressor, check_maps, total, wide

SCALE = 3 / 1000
"""Weight of the sum over maps; Heo et al. (2019a), as released."""


def ab(student_map: Tensor, teacher_map: Tensor, *, margin: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    r"""Squared hinge that moves each neuron of the student to the teacher's side of zero, and beyond the margin.

    .. math:: \ell_n = \sum_{dhw} [F^t \le 0] \max(0, F^s + m)^2 + [F^t > 0] \max(0, m - F^s)^2

    Args:
        student_map: ``(N, D, H, W)`` before the activation, already through the connector; receives the gradient.
        teacher_map: ``(N, D, H, W)`` before the activation; only its signs count.
        margin: ``m >= 0``, in the map's unit.
        reduction: over the batch; features and places are summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; in squares of the map's unit.

    Raises:
        ShapeError: if the shapes differ, or values are not finite.
        ConfigError: if the margin is negative.

    Example:
        >>> import torch
        >>> ab(torch.tensor([[[[0.5, 0.5]]]]), torch.tensor([[[[2.0, -2.0]]]]))
        tensor(2.5000)

    Source: Heo et al. (2019a), the alternative loss with a margin.
    """
    check_maps(student_map=student_map, teacher_map=teacher_map)
    check_same_shape(student_map=student_map, teacher_map=teacher_map)
    check_range("margin", margin, low=0.0)
    student = wide(student_map)
    side = torch.where(teacher_map.detach() > 0, 1.0, -1.0).to(student.dtype)
    return reduce((margin - side * student).clamp_min(0).square().flatten(1).sum(dim=1), reduction)


class AB(Loss):
    """Activation boundaries of every stage in a stage of initialisation, weighted by β; see `ab`.

    Each shallower map weighs half of the next. After the initialisation the method has no term.

    Args:
        setting: supplies shapes.
        beta: weight.
        margin: of the hinge.
        initial_epochs: length of the initialisation.
    """

    needs = Needs(frozenset({"pre_activations"}), frozenset({"pre_activations"}), uses_teacher=True, initial_epochs=30)

    def __init__(self, setting: Setting, *, beta: float = 1.0, margin: float = 1.0, initial_epochs: int = 30) -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        check_range("margin", margin, low=0.0)
        check_range("initial_epochs", initial_epochs, low=1)
        self.beta, self.margin = beta, margin
        self.needs = Needs(self.needs.network, self.needs.teacher, uses_teacher=True, initial_epochs=initial_epochs)
        pairs = shapes_of(setting, "ab", student="pre_activations")
        self.connectors = nn.ModuleList(
            [nn.Identity() if s == t else Regressor(s, t, activation=False) for s, t in pairs]
        )

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``ab`` in the initialisation, and nothing afterwards."""
        if not progress.initial:
            return {}
        assert teacher is not None, "the plan refuses ab without a teacher"
        depth = len(self.connectors)
        maps = zip(self.connectors, network.pre_activations, teacher.pre_activations, strict=False)
        values = [
            2.0 ** (i - depth + 1) * ab(connector(s), t, margin=self.margin) for i, (connector, s, t) in enumerate(maps)
        ]
        return {"ab": self.beta * SCALE * total(values)}
