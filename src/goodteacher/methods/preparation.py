"""What is trained once for each teacher before any student starts: rotation heads and the paraphraser of its last map."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from goodteacher.base.errors import ConfigError
from goodteacher.base.probability import log_soften, nll
from goodteacher.base.types import Labels, Logits, Output, Setting, Tap, Terms
from goodteacher.methods.connectors import FACTOR_RATE, factor_decoder, factor_encoder, mean_square, total, wide
from goodteacher.methods.selfsupervised import ROTATIONS, RotationHeads
from goodteacher.models.taps import TappedModel


class Prepared(nn.Module, abc.ABC):
    """A frozen teacher with a part that trains; the teacher stays in evaluation mode and takes no gradient.

    Args:
        teacher: trained; its parameters are frozen.
        part: what trains.

    Attributes:
        views: the view of the batch that `loss` takes, by name; empty for the plain one.
    """

    views: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, teacher: nn.Module, part: nn.Module) -> None:
        super().__init__()
        self.teacher, self.part = teacher.eval().requires_grad_(False), part

    def train(self, mode: bool = True) -> Prepared:
        """Set the mode of the part."""
        super().train(mode)
        self.teacher.eval()
        return self

    def read(self, inputs: Tensor, wanted: frozenset[Tap]) -> Output:
        """Return the teacher's own output, without gradient."""
        with torch.no_grad():
            return TappedModel(self.teacher)(inputs, wanted)

    def forward(self, inputs: Tensor) -> Logits:
        """Return the teacher's logits ``(N, C)``; in training mode what the part answers, ``(N, ...)``, as a step computes it."""
        if not self.training:
            return self.read(inputs, frozenset()).logits
        return torch.cat([x.flatten(1) for x in self.answers(inputs)], dim=1)

    @abc.abstractmethod
    def answers(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the part makes of inputs, with gradient."""

    @abc.abstractmethod
    def outputs(self, inputs: Tensor, wanted: frozenset[Tap]) -> Output:
        """Return the teacher's output with what the part adds in ``extra``; evaluation mode, no gradient."""

    @abc.abstractmethod
    def loss(self, inputs: Tensor, labels: Labels) -> Terms:
        """Return the terms that the part minimises."""


class PreparedHeads(Prepared):
    """Heads of class and rotation on a frozen teacher, which add ``heads`` to its output.

    Args:
        teacher: trained.
        setting: supplies C and ``teacher_shapes`` of the taps ``stages`` and, for a VGG, ``stem``.

    Source: Yang et al. (2021a), the teacher's auxiliary classifiers; its own weights are kept (variant 1 of the released code).
    """

    views = frozenset({"rotated"})
    part: RotationHeads

    def __init__(self, teacher: nn.Module, setting: Setting) -> None:
        super().__init__(teacher, RotationHeads(teacher, setting.teacher_shapes, setting.classes))

    def answers(self, inputs: Tensor) -> tuple[Logits, ...]:
        """Return each head's logits ``(N, 4 C)``."""
        return self.part(self.read(inputs, self.part.taps))  # type: ignore[no-any-return]

    def outputs(self, inputs: Tensor, wanted: frozenset[Tap]) -> Output:
        """Return the output for images, at whatever angle, with ``extra["heads"]``, logits ``(N, 4 C)`` a head."""
        self.eval()
        with torch.no_grad():
            output = self.read(inputs, wanted | self.part.taps)
            return replace(output, extra={**output.extra, "heads": self.part(output)})

    def loss(self, inputs: Tensor, labels: Labels) -> Terms:
        """Return the term ``rotation_heads``, cross-entropy to joint labels summed over heads.

        Args:
            inputs: ``(4 N, ...)`` rotated images, rows 4 n + r.
            labels: ``(N,)`` classes.
        """
        joint = (ROTATIONS * labels[:, None] + torch.arange(ROTATIONS, device=labels.device)).flatten()
        return {"rotation_heads": total([nll(log_soften(z), joint).mean() for z in self.answers(inputs)])}


class PreparedFactors(Prepared):
    """Paraphraser, an autoencoder of a frozen teacher's last map, which adds ``factors`` to its output.

    Args:
        teacher: trained.
        setting: supplies ``teacher_shapes`` of the tap ``stages``.

    Source: Kim, Park & Kwak (2018), the paraphraser.
    """

    part: nn.ModuleDict

    def __init__(self, teacher: nn.Module, setting: Setting) -> None:
        shapes = setting.teacher_shapes.get("stages", ())
        if not shapes or len(shapes[-1]) != 3:
            raise ConfigError("preparation 'paraphraser'", rule="needs a teacher with maps", received=shapes)
        width = shapes[-1][0]
        narrow = int(width * FACTOR_RATE)
        encoder = factor_encoder(width, narrow, normalised=False)
        super().__init__(teacher, nn.ModuleDict({"encoder": encoder, "decoder": factor_decoder(narrow, width)}))

    def answers(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the teacher's last map ``(N, D, H, W)`` and its reconstruction."""
        target = wide(self.read(inputs, frozenset({"stages"})).stages[-1])
        return target, self.part["decoder"](self.part["encoder"](target))

    def outputs(self, inputs: Tensor, wanted: frozenset[Tap]) -> Output:
        """Return the output for inputs with ``extra["factors"]``, one factor ``(N, D / 2, H, W)``."""
        self.eval()
        with torch.no_grad():
            output = self.read(inputs, wanted | {"stages"})
            factor = self.part["encoder"](wide(output.stages[-1]))
            return replace(output, extra={**output.extra, "factors": (factor,)})

    def loss(self, inputs: Tensor, labels: Labels) -> Terms:
        """Return the term ``paraphraser``, mean squared error of the reconstruction; labels are not read."""
        target, again = self.answers(inputs)
        return {"paraphraser": mean_square(again, target).mean()}


@dataclass(frozen=True)
class PreparationRow:
    """A row of the table of preparations.

    Attributes:
        build: called with teacher and setting.
        extra: key under which the result appears in ``Output.extra``.
        source: paper.
        epochs: of its training, by default.
        milestones: shares of its training after which the learning rate falls to a tenth.
    """

    build: Callable[[nn.Module, Setting], Prepared]
    extra: str
    source: str
    epochs: int = 30
    milestones: tuple[float, ...] = ()


PREPARATIONS: dict[str, PreparationRow] = {
    "rotation_heads": PreparationRow(
        PreparedHeads, "heads", "Yang et al. (2021a)", epochs=100, milestones=(0.3, 0.6, 0.9)
    ),
    "paraphraser": PreparationRow(PreparedFactors, "factors", "Kim, Park & Kwak (2018)"),
}
