"""Shapes of two networks' taps: read out for a method that matches maps, and made up into a step to try a loss on.

Legend: N examples, C classes, D features, H height, W width; a shape is written without N.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Batch, Needs, Output, Setting, Tap

Shape: TypeAlias = tuple[int, ...]
ROWS = 4  # examples of a made-up step

HOW_TO_TAP = (
    "`goodteacher list taps MODEL` shows module names; give them as model: {MODEL: {taps: {stages: [...], head: ...}}}, or in "
    "Python as an attribute taps = Taps(...) of the network"
)


def shapes_of(
    setting: Setting, method: str, *, student: Tap | None = None, teacher: Tap | None = None
) -> list[tuple[Shape, Shape]]:
    """Return the shapes of student's and teacher's maps, zipped from the shallow end; the shorter list wins.

    Args:
        setting: where shapes are described.
        method: for messages.
        student: tap of the student.
        teacher: tap of the teacher, by default the same.

    Returns:
        Pairs of ``(D, H, W)``; of ``(D,)`` for the tap ``embedding``.

    Raises:
        ConfigError: if a tap is not described, or holds vectors where maps are needed.

    Example:
        >>> setting = Setting(10, network_shapes={"stages": ((16, 8, 8),)}, teacher_shapes={"stages": ((32, 8, 8),)})
        >>> shapes_of(setting, "at", student="stages")
        [((16, 8, 8), (32, 8, 8))]
    """
    tap: Tap = student or "stages"
    sides = [("student", setting.network_shapes, tap), ("teacher", setting.teacher_shapes, teacher or tap)]
    for side, shapes, name in sides:
        if not shapes.get(name):
            raise ConfigError(
                f"method '{method}'",
                rule=f"reads the {side}'s tap '{name}'",
                received="a network without it",
                remedy=f"{HOW_TO_TAP}; or choose a method that compares logits",
            )
        if name != "embedding" and any(len(shape) != 3 for shape in shapes[name]):
            raise ConfigError(
                f"method '{method}'",
                rule=f"needs maps (D, H, W) from the {side}'s tap '{name}'",
                received=f"shapes {shapes[name]}",
                remedy="choose a convolutional network, or a method that compares logits or embeddings",
            )
    return list(zip(sides[0][1][sides[0][2]], sides[1][1][sides[1][2]], strict=False))


def made_up_step(setting: Setting, needs: Needs) -> tuple[Output, Output, Batch]:
    """Return what network and teacher might answer for a batch of four, drawn from N(0, 1), always the same.

    Args:
        setting: C, and shapes of the taps ``embedding`` and ``stages``; where one is not described, any shape will do.
        needs: which of the two taps are read.

    Returns:
        The network's output, the teacher's, and the batch.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(ROWS, *shape, generator=generator, device="cpu")

    def output(shapes: Mapping[str, tuple[Shape, ...]], taps: frozenset[Tap]) -> Output:
        embedding = draw(*shapes.get("embedding", ((8,),))[0]) if "embedding" in taps else None
        stages = shapes.get("stages", ((4, 2, 2),)) if "stages" in taps else ()
        return Output(draw(setting.classes), embedding, tuple(draw(*shape) for shape in stages))

    rows = torch.arange(ROWS, device="cpu")
    batch = Batch(draw(1), rows % setting.classes, rows)
    network = output(setting.network_shapes, needs.network)
    return network, output(setting.teacher_shapes, needs.teacher), batch
