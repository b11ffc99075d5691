"""Methods that reuse the teacher's own classifier.

Legend: N examples, C classes, D features, H height, W width; f^s, f^t embeddings, F^s, F^t last maps of student and teacher.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError, ShapeError, check_range
from goodteacher.base.probability import reduce
from goodteacher.base.shapes import shapes_of
from goodteacher.base.stages import children_behind
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Reduction, Setting, Terms
from goodteacher.methods.connectors import (
    check_embeddings,
    check_maps,
    check_widths,
    mean_square,
    pool_to_smaller,
    wide,
)
from goodteacher.models.taps import TappedModel, Taps, guess_taps


def srrl(
    student_embedding: Tensor,
    teacher_embedding: Tensor,
    classifier: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Distance to the teacher's embedding, as it is and as the teacher's classifier sees it.

    .. math:: \ell_n = \frac{\alpha}{D} \Vert h_n - f^t_n \Vert^2 + \frac{\beta}{C} \Vert W (h_n - f^t_n) \Vert^2

    Args:
        student_embedding: ``(N, D)``, h, already through the connector; receives the gradient.
        teacher_embedding: ``(N, D)``; treated as constant.
        classifier: ``(C, D)``, W, the weight of the teacher's last layer; treated as constant. Its bias cancels.
        alpha: weight of the embeddings' distance, >= 0.
        beta: weight of the logits' distance, >= 0.
        reduction: over the batch; features and classes are averaged.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``.

    Raises:
        ShapeError: if the shapes do not fit, or values are not finite.
        ConfigError: if a weight is negative.

    Example:
        >>> import torch
        >>> srrl(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]))
        tensor(4.5000)

    Source: Yang et al. (2021b), feature matching and softmax regression.
    """
    check_embeddings(student_embedding=student_embedding, teacher_embedding=teacher_embedding)
    check_widths(student_embedding=student_embedding, teacher_embedding=teacher_embedding)
    check_range("alpha", alpha, low=0.0)
    check_range("beta", beta, low=0.0)
    if classifier.dim() != 2 or classifier.shape[1] != student_embedding.shape[1]:
        rule = f"must have shape (C, {student_embedding.shape[1]})"
        raise ShapeError("classifier", rule=rule, received=tuple(classifier.shape))
    gap = wide(student_embedding) - wide(teacher_embedding.detach())
    as_seen = gap @ classifier.detach().to(gap.dtype).T
    return reduce(alpha * gap.square().mean(dim=1) + beta * as_seen.square().mean(dim=1), reduction)


class SRRL(Loss):
    """Embedding through a connector against the teacher's, twice; see `srrl`.

    Args:
        setting: supplies shapes and the trained teacher, whose classifier is copied.
        alpha: weight of the embeddings' distance.
        beta: weight of the logits' distance.
    """

    needs = Needs(frozenset({"embedding"}), frozenset({"embedding"}), uses_teacher=True)

    def __init__(self, setting: Setting, *, alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        check_range("alpha", alpha, low=0.0)
        check_range("beta", beta, low=0.0)
        self.alpha, self.beta = alpha, beta
        ((student_width,), (teacher_width,)) = shapes_of(setting, "srrl", student="embedding")[0]
        self.connector = nn.Sequential(
            nn.Linear(student_width, teacher_width, bias=False), nn.BatchNorm1d(teacher_width), nn.ReLU()
        )
        self.classifier: Tensor
        self.register_buffer("classifier", _head(_network(setting, "srrl"), "srrl").weight.detach().clone())

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``srrl``."""
        assert teacher is not None and network.embedding is not None and teacher.embedding is not None
        hidden = self.connector(wide(network.embedding))
        return {"srrl": srrl(hidden, teacher.embedding, self.classifier, alpha=self.alpha, beta=self.beta)}


def simkd(student_map: Tensor, teacher_map: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    r"""Mean squared difference between the projected last map of the student and the teacher's.

    .. math:: \ell_n = \frac{1}{DHW} \Vert P(F^s_n) - F^t_n \Vert^2

    Args:
        student_map: ``(N, D, H, W)``, already through the projector P; receives the gradient.
        teacher_map: ``(N, D, H', W')``; treated as constant. The larger of the two maps is average-pooled to the smaller.
        reduction: over the batch; features and places are averaged.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; in squares of the map's unit.

    Raises:
        ShapeError: unless both are maps of the same examples, equally wide and finite.

    Example:
        >>> import torch
        >>> simkd(torch.zeros(1, 1, 1, 1), torch.tensor([[[[1.0, 3.0], [1.0, 3.0]]]]))
        tensor(4.)

    Source: Chen et al. (2022), feature alignment in the last layer.
    """
    check_maps(student_map=student_map, teacher_map=teacher_map)
    check_widths(student_map=student_map, teacher_map=teacher_map)
    return reduce(mean_square(*pool_to_smaller(wide(student_map), wide(teacher_map.detach()))), reduction)


class Frozen(nn.Sequential):
    """Copies of trained modules, one after the other, that stay as they are: evaluation mode, no gradient of their own."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__(*(copy.deepcopy(part) for part in parts))
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stay in evaluation mode."""
        return self


class Projector(nn.Module):
    """Three convolutions that turn a student's last map into a teacher's.

    Args:
        width_in: of the student's map.
        width: of the teacher's.
        factor: how many times narrower it is inside.
        size: height and width to which larger maps are pooled first.
    """

    def __init__(self, width_in: int, width: int, factor: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size, inner = size, max(1, width // factor)
        self.layers = nn.Sequential(*_conv(width_in, inner, 1), *_conv(inner, inner, 3), *_conv(inner, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, width_in, H, W)`` to ``(N, width, *size)``."""
        x = wide(x)
        if x.shape[2:] != self.size:
            x = F.adaptive_avg_pool2d(x, self.size)
        projected: Tensor = self.layers(x)
        return projected


class SimKD(Loss):
    """The student's last map, projected, takes the place of the teacher's, whose classifier is kept; see `simkd`.

    The target is the map that the teacher pools for its classifier, after whatever follows its last stage. There is no term for
    labels or logits, and the student's own classifier does not train: use `deployed`.

    Args:
        setting: supplies shapes and the trained teacher, whose parts behind the last stage are copied.
        beta: weight.
        factor: how many times narrower than the teacher's map the projector is inside.

    Source: Chen et al. (2022), the reused classifier.
    """

    needs = Needs(frozenset({"stages"}), frozenset({"stages"}), uses_teacher=True)

    def __init__(self, setting: Setting, *, beta: float = 1.0, factor: int = 2) -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        check_range("factor", factor, low=1)
        self.beta = beta
        shapes_of(setting, "simkd", student="stages")
        student, teacher = setting.network_shapes["stages"][-1], setting.teacher_shapes["stages"][-1]
        size = (min(student[1], teacher[1]), min(student[2], teacher[2]))
        network = _network(setting, "simkd")
        behind = list(children_behind(network, guess_taps(network).stages[-1], "method 'simkd'").values())
        pools = [i for i, part in enumerate(behind) if isinstance(part, nn.AdaptiveAvgPool2d)]
        if not pools:
            raise ConfigError("method 'simkd'", rule="needs a teacher that pools its last map", received="none")
        head = _head(network, "simkd")
        self.finish = Frozen(*behind[: pools[0]])
        self.classifier = Frozen(*behind[pools[0] :], nn.Flatten(1), head)
        self.projector = Projector(student[0], head.in_features, factor, size)

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``simkd``."""
        assert teacher is not None, "the plan refuses simkd without a teacher"
        with torch.no_grad():
            target = self.finish(wide(teacher.stages[-1]))
        return {"simkd": self.beta * simkd(self.projector(network.stages[-1]), target)}

    def deployed(self, network: nn.Module) -> nn.Module:
        """Return the network that is evaluated and exported: the student's stages, the projector, the teacher's classifier.

        Args:
            network: the network in training; it and the parts of this method are shared, not copied.

        Returns:
            A module from inputs to logits ``(N, C)``.
        """
        return Deployed(network, self)


class Deployed(nn.Module):
    """A student that ends in a projector and its teacher's classifier; see `SimKD.deployed`."""

    def __init__(self, student: nn.Module, method: SimKD) -> None:
        super().__init__()
        self.student, self.projector, self.classifier = student, method.projector, method.classifier
        inner = guess_taps(student)
        self.taps = Taps(
            stages=tuple(f"student.{site}" for site in inner.stages),
            pre_activations=tuple(f"student.{site}" for site in inner.pre_activations),
            stem=f"student.{inner.stem}" if inner.stem else None,
            head=f"classifier.{len(self.classifier) - 1}",
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to logits ``(N, C)``."""
        stages = TappedModel(self.student)(x, frozenset({"stages"})).stages
        logits: Tensor = self.classifier(self.projector(stages[-1]))
        return logits


def _conv(width_in: int, width: int, size: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(width_in, width, size, padding=size // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()


def _network(setting: Setting, method: str) -> nn.Module:
    if setting.teacher is None:
        raise ConfigError(f"method '{method}'", rule="needs a teacher that is a network", received="none")
    return setting.teacher


def _head(network: nn.Module, method: str) -> nn.Linear:
    name = guess_taps(network).head
    head = network.get_submodule(name) if name else None
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"method '{method}'", rule="needs a linear classifier in the teacher", received=type(head))
    return head
