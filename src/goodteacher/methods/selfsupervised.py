"""Hierarchical self-supervision: after every stage a head that names class and rotation together.

Legend: N images, rotated to 4 N with rows 4 n + r; C classes, joint labels 4 y + r; D features, H height, W width.
"""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from goodteacher.base.errors import ConfigError, check_range
from goodteacher.base.shapes import Shape
from goodteacher.base.stages import children_behind, stage_names
from goodteacher.base.types import Batch, Logits, Loss, Needs, Output, Progress, Reduction, Setting, Tap, Terms
from goodteacher.methods.connectors import initialise_convolutions, total, wide
from goodteacher.methods.logits import kd
from goodteacher.models.taps import guess_taps

ROTATIONS = 4


def hsakd(
    student_logits: Logits, teacher_logits: Logits, *, temperature: float = 3.0, reduction: Reduction = "mean"
) -> Tensor:
    r"""Softened divergence between one head of the teacher and the student's at the same depth, over joint labels.

    .. math:: \ell_n = T^2 \, \mathrm{KL} \bigl( \mathrm{softmax}(z^t_n / T) \,\Vert\, \mathrm{softmax}(z^s_n / T) \bigr)

    Args:
        student_logits: ``(4 N, 4 C)`` of a head; receives the gradient.
        teacher_logits: ``(4 N, 4 C)`` of the teacher's head; treated as constant.
        temperature: ``T > 0``, dimensionless.
        reduction: over the rotated batch; joint classes are summed.

    Returns:
        Scalar, or ``(4 N,)`` with ``reduction="none"``; nats times T².

    Raises:
        ShapeError: if the shapes differ, or values are not finite.
        ConfigError: if T is not positive.

    Example:
        >>> import torch
        >>> z = torch.zeros(4, 8)
        >>> hsakd(z, z)
        tensor(0.)

    Source: Yang et al. (2021a), distillation of self-supervised distributions.
    """
    return kd(student_logits, teacher_logits, temperature=temperature, reduction=reduction)


class HSAKD(Loss):
    """Heads after every stage and the logits, on images at four angles, against a prepared teacher; see `hsakd`.

    The student's heads are copies of its own remaining stages, drawn anew; they see no labels and are dropped at export.

    Args:
        setting: supplies the student, its shapes and C.
        alpha: weight of the logits' term.
        beta: weight of the heads' terms.
        temperature: of all terms.
    """

    needs = Needs(
        frozenset({"stages"}),
        views=frozenset({"rotated"}),
        uses_teacher=True,
        preparation=frozenset({"rotation_heads"}),
    )

    def __init__(self, setting: Setting, *, alpha: float = 1.0, beta: float = 1.0, temperature: float = 3.0) -> None:
        super().__init__()
        check_range("alpha", alpha, low=0.0)
        check_range("beta", beta, low=0.0)
        check_range("temperature", temperature, low=0.0, open_low=True)
        self.alpha, self.beta, self.temperature = alpha, beta, temperature
        if setting.network is None:
            raise ConfigError("method 'hsakd'", rule="needs the student's network", received="none")
        self.heads = RotationHeads(setting.network, setting.network_shapes, setting.classes)
        if self.heads.taps != {"stages"}:
            self.needs = self.needs | Needs(self.heads.taps)

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the terms ``hsakd_heads``, summed over heads, and ``hsakd_logits``."""
        if teacher is None or "rotated" not in teacher.views or "heads" not in teacher.views["rotated"].extra:
            raise ConfigError("method 'hsakd'", rule="needs a teacher prepared with 'rotation_heads'", received="none")
        seen, taught = network.views["rotated"], teacher.views["rotated"]
        pairs = zip(self.heads(seen), taught.extra["heads"], strict=False)
        heads = total([hsakd(s, t, temperature=self.temperature) for s, t in pairs])
        logits = hsakd(seen.logits, taught.logits, temperature=self.temperature)
        return {"hsakd_heads": self.beta * heads, "hsakd_logits": self.alpha * logits}


class RotationHeads(nn.ModuleList):
    """Heads of a network: from the map after each stage to logits of class and rotation, ``(N, 4 C)``.

    The head after a stage is a copy of everything behind it; after the last stage, of the last stage at equal width and
    stride 1. A VGG's stem is a stage, because a pool follows it, and its last two blocks, of one size, are one stage.

    Args:
        network: a chain of stages, such as every model of the table but ``mlp``.
        shapes: of its taps ``stages`` and, if it has one, ``stem``.
        classes: C.

    Raises:
        ConfigError: if the network is no chain of at least two stages, or its blocks cannot be rebuilt at stride 1.

    Source: Yang et al. (2021a), auxiliary classifiers; the heads' layers as released.
    """

    def __init__(self, network: nn.Module, shapes: Any, classes: int) -> None:
        super().__init__()
        taps = guess_taps(network)
        described = dict(zip(taps.stages, shapes.get("stages", ()), strict=False))
        stage_names(network, "method 'hsakd'")
        stages = [
            name
            for i, name in enumerate(taps.stages)
            if i + 1 == len(taps.stages) or described.get(name) != described.get(taps.stages[i + 1])
        ]
        if taps.stem in dict(network.named_children()) and _starts_with_a_pool(network.get_submodule(taps.stages[0])):
            stages.insert(0, str(taps.stem))
            described[str(taps.stem)] = shapes.get("stem", ((),))[0]
        if len(stages) < 2 or any(len(described.get(name, ())) != 3 for name in stages):
            raise ConfigError("method 'hsakd'", rule="needs a network with two stages of maps", received=described)
        self.sites = [("stem", 0) if name == taps.stem else ("stages", taps.stages.index(name)) for name in stages]
        assert taps.head is not None, "a chain ends with its head"
        width = network.get_submodule(taps.head).in_features
        for i, name in enumerate(stages):
            behind = children_behind(network, name, "method 'hsakd'")
            if i + 1 == len(stages):
                behind = _repeated(network, stages[-2], described) | behind
            parts = [copy.deepcopy(part) for part in behind.values()]
            self.append(nn.Sequential(*parts, nn.Flatten(1), nn.Linear(int(width), ROTATIONS * classes)))  # type: ignore[arg-type]
        self.requires_grad_(True)
        for part in self.modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
        initialise_convolutions(self)
        self.train()

    @property
    def taps(self) -> frozenset[Tap]:
        """Which of a network's taps the heads read."""
        return frozenset(tap for tap, _ in self.sites)  # type: ignore[misc]

    def forward(self, output: Output) -> tuple[Logits, ...]:
        """Return each head's logits ``(N, 4 C)``, shallow to deep."""
        answers = []
        for head, (tap, index) in zip(self, self.sites, strict=True):
            read = output.stem if tap == "stem" else output.stages[index]
            assert read is not None, "the loop serves needs"
            answers.append(head(wide(read)))
        return tuple(answers)


def _starts_with_a_pool(stage: nn.Module) -> bool:
    leaves = [m for m in stage.modules() if not list(m.children())]
    return isinstance(leaves[0], nn.MaxPool2d | nn.AvgPool2d)


def _repeated(network: nn.Module, before: str, shapes: dict[str, Shape]) -> dict[str, nn.Module]:
    """Return the stages behind a child once more, made to follow the last of them: equal width and stride 1."""
    last = guess_taps(network).stages[-1]
    behind = children_behind(network, before, "method 'hsakd'")
    names = list(behind)[: list(behind).index(last) + 1]
    again = {f"{name} again": behind[name] for name in names}
    first = f"{names[0]} again"
    again[first] = _at_stride_1(again[first], shapes[before], shapes[last][0])
    return again


def _at_stride_1(module: nn.Module, shape: Shape, width: int) -> nn.Module:
    """Return a module that maps ``width`` features to as many as the given one does, without making maps smaller.

    Args:
        module: a stage, block or convolution.
        shape: ``(D, H, W)`` of the map it takes.
        width: of the map it shall take.
    """
    if isinstance(module, nn.Sequential):
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        done = False
        for name, child in module.named_children():
            if done:
                parts[name] = child
            elif any(True for _ in child.parameters()):
                parts[name], done = _at_stride_1(child, shape, width), True
            else:
                parts[name] = nn.Identity()  # a pool in front
        return nn.Sequential(parts)
    if isinstance(module, nn.Conv2d):
        return nn.Conv2d(
            width,
            module.out_channels,
            module.kernel_size,  # type: ignore[arg-type]
            padding=module.padding,  # type: ignore[arg-type]
            groups=module.groups,
            bias=module.bias is not None,
        )
    rebuilt = type(module)(**_arguments(module, shape, width))
    for part in rebuilt.modules():
        if isinstance(part, nn.Conv2d):
            part.stride = (1, 1)
    return rebuilt


def _arguments(block: nn.Module, shape: Shape, width: int) -> dict[str, int]:
    """Return the arguments of a block's constructor for another width at stride 1, by their names."""
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    if convolutions:
        first = convolutions[0]
        reference = next(block.parameters())
        with torch.no_grad():
            feed = torch.zeros(1, *shape, device=reference.device, dtype=reference.dtype)
            known = {
                "width_in": width,
                "width": copy.deepcopy(block).eval()(feed).shape[1],
                "stride": 1,
                "groups": first.groups,
                "expansion": first.out_channels // first.in_channels,
            }
        wanted = inspect.signature(type(block)).parameters
        if set(wanted) <= set(known):
            return {name: known[name] for name in wanted}
    raise ConfigError(
        "method 'hsakd'",
        rule="must build the last stage once more at stride 1",
        received=f"blocks of type {type(block).__name__}",
        remedy="give the block's constructor the parameters width_in, width, stride, or choose a model of the table",
    )
