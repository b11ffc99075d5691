"""Conformance rows of the methods on maps and embeddings.

Losses of the order of a thousandth are multiplied, so that absolute tolerances mean something.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

import references_features as slow
from goodteacher import losses
from goodteacher.base.types import Batch, Output, Progress, Setting, Terms
from goodteacher.data.augment import rotations
from goodteacher.models.table import build_model
from goodteacher.models.taps import TappedModel, tap_shapes
from rows import Inputs, N, Row, tensor, two_embeddings, two_logits, two_maps

MAPS = ("student_map", "teacher_map")
EMBEDDINGS = ("student_embedding", "teacher_embedding")
Z = 4.0
FLOW = (("student_map", "student_next"), ("teacher_map", "teacher_next"))
SCALED = frozenset({"batch", "zero", "scale"})
TO_TEACHER = frozenset({"batch", "zero"})


def times(weight, function):
    """The function multiplied by a weight, under its own name."""

    @functools.wraps(function)
    def weighted(*args, **kwargs):
        return weight * function(*args, **kwargs)

    return weighted


def unequal_maps(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw student maps ``(n, 3, 4, 4)`` and teacher maps ``(n, 5, 2, 2)``."""
    inputs = two_maps(generator, n)
    return {**inputs, "teacher_map": torch.randn(n, 5, 2, 2, generator=generator, dtype=torch.float64)}


def smaller_teacher(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw student maps ``(n, 3, 4, 4)`` and teacher maps ``(n, 3, 2, 2)``."""
    return {**two_maps(generator, n), "teacher_map": unequal_maps(generator, n)["teacher_map"][:, :3]}


def deep_maps(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw student and teacher maps with more features than places."""
    draw = lambda d: torch.randn(n, d, 2, 2, generator=generator, dtype=torch.float64)  # noqa: E731
    return {"student_map": draw(5), "teacher_map": draw(6)}


def factors(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw factors of student and teacher."""
    inputs = two_maps(generator, n)
    return {"student_factor": inputs["student_map"], "teacher_factor": inputs["teacher_map"]}


def two_flows(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw two consecutive maps of each network, of equal widths and unequal sizes."""
    draw = lambda d, h: torch.randn(n, d, h, h, generator=generator, dtype=torch.float64)  # noqa: E731
    first, second = {"student_map": draw(3, 4), "teacher_map": draw(3, 4)}, {}
    second = {"student_next": draw(5, 2), "teacher_next": draw(5, 2)}
    return {**first, **second}


def with_margin(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw pre-activation maps, and margins below zero."""
    return {**two_maps(generator, n), "margin": -torch.rand(3, generator=generator, dtype=torch.float64)}


def with_classifier(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw embeddings and a classifier."""
    return {
        **two_embeddings(generator, n),
        "classifier": torch.randn(4, 7, generator=generator, dtype=torch.float64),
    }


def like(module: nn.Module, x: torch.Tensor) -> nn.Module:
    """The module, frozen, in float64 for float64 inputs, else in float32."""
    return module.requires_grad_(False).to(torch.float64 if x.dtype == torch.float64 else torch.float32)


def build_vid(student_map, teacher_map):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return like(losses.VID(student_map.shape[1], teacher_map.shape[1]), student_map)


def vid(student_map, teacher_map, **options):
    if student_map.dim() != 4:
        return losses.VID(1, 1)(student_map, teacher_map, **options)
    return build_vid(student_map, teacher_map)(student_map, teacher_map, **options)


def slow_vid(student_map, teacher_map):
    module = build_vid(student_map, teacher_map)
    weights = [p.flatten(1).tolist() for p in module.regressor.parameters()]
    return slow.vid(student_map, teacher_map, weights, module.rho.tolist())


def build_crd(student_embedding, *, width_in, mode, negatives):
    """Embeddings that change nothing but the length, memories of unit rows; two classes in turn."""
    examples = len(student_embedding) + 3
    module = losses.CRD(
        width_in,
        width_in,
        torch.arange(examples) % 2,
        width=width_in,
        negatives=negatives,
        temperature=1.0,
        mode=mode,
    )
    for embed in (module.embed_student, module.embed_teacher):
        nn.init.eye_(embed.weight)
        nn.init.zeros_(embed.bias)
    rows = torch.eye(width_in)[torch.arange(examples) % width_in]
    module.student_memory, module.teacher_memory = rows, rows.clone()
    module.normalisers = torch.full((2,), Z)  # set once by the first batch, and constant when differentiated
    return like(module, student_embedding)


def crd(student_embedding, teacher_embedding, mode="exact", negatives=16384):
    module = build_crd(student_embedding, width_in=teacher_embedding.shape[1], mode=mode, negatives=negatives)
    indices = torch.arange(len(teacher_embedding))
    return module(student_embedding, teacher_embedding, indices, torch.Generator().manual_seed(0))


def slow_crd(student_embedding, teacher_embedding, mode="exact", negatives=16384):
    module = build_crd(student_embedding, width_in=teacher_embedding.shape[1], mode=mode, negatives=negatives)
    positives, candidates, chosen = module.draw(torch.arange(len(student_embedding)), torch.Generator().manual_seed(0))
    return slow.crd(
        F.normalize(student_embedding, dim=1).tolist(),
        F.normalize(teacher_embedding, dim=1).tolist(),
        module.student_memory.tolist(),
        module.teacher_memory.tolist(),
        positives.tolist(),
        [row[pick].tolist() for row, pick in zip(candidates, chosen, strict=True)],
        1.0,
        Z,
    )


# Squares (3, 4) and (4, 3), which are 5 long: unit vectors (.6, .8) and (.8, .6).
THREE_FOUR = {
    "student_map": tensor([[[math.sqrt(3), 2.0]]]),
    "teacher_map": tensor([[[2.0, math.sqrt(3)]]]),
}
# Singular vectors (1, 0), (1, 0) of the student, (1, 0), (c, c) of the teacher with c = 1/sqrt(2).
_C = math.sqrt(0.5)
_A, _B, _E = math.exp(-((1 - _C) ** 2) / 8), math.exp(-1 / 16), math.exp(-1 / 8)
RIGHT, DIAGONAL = tensor([[[2.0]], [[0.0]]]), tensor([[[3.0]], [[3.0]]])
# Positive score e, two negatives of score 1, K/M = 1/2.
_HIT = -math.log(math.e / Z / (math.e / Z + 0.5 + 1e-7))
_MISS = -math.log(0.5 / (1 / Z + 0.5 + 1e-7))
ONE = torch.ones(1, 1, 2, 2, dtype=torch.float64)


def maps_row(name, call, make, value, expected, reference, **more):
    """A row whose inputs are one map of the student and one of the teacher."""
    return Row(name, call, make, value, expected, reference, MAPS[:1], MAPS[1:], zero_pair=MAPS, **more)


ROWS = [
    maps_row("at", times(100, losses.at), two_maps, THREE_FOUR, 4.0, times(100, slow.at), holds=SCALED),
    maps_row(
        "at_paper",
        losses.at,
        two_maps,
        THREE_FOUR,
        math.sqrt(0.08),
        slow.at,
        holds=SCALED,
        options={"form": "paper"},
    ),
    maps_row(
        "at_unequal",
        times(100, losses.at),
        unequal_maps,
        {"student_map": tensor([[[3.0, 3.0], [3.0, 3.0]]]), "teacher_map": tensor([[[7.0]]])},
        0.0,
        times(100, slow.at),
        holds=frozenset({"batch", "scale"}),
        options={"power": 3.0},
    ),
    maps_row(
        "fitnet",
        losses.fitnet,
        two_maps,
        {"student_map": 0 * ONE, "teacher_map": 3 * ONE},
        9.0,
        slow.fitnet,
        holds=TO_TEACHER,
    ),
    # Two patterns at right angles against the first of them: 1 + 1/2 - 2/2.
    maps_row(
        "nst",
        times(10, losses.nst),
        two_maps,
        {"student_map": tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), "teacher_map": tensor([[[1.0, 0.0]]])},
        5.0,
        times(10, slow.nst),
        holds=SCALED,
    ),
    maps_row(
        "nst_unequal",
        times(10, losses.nst),
        unequal_maps,
        {"student_map": 2 * ONE, "teacher_map": tensor([[[1.0]], [[1.0]]])},
        0.0,
        times(10, slow.nst),
        holds=frozenset({"batch", "scale"}),
    ),
    maps_row(
        "nst_deep",
        times(10, losses.nst),
        deep_maps,
        {"student_map": ONE, "teacher_map": ONE},
        0.0,
        times(10, slow.nst),
        holds=frozenset({"batch", "scale"}),
    ),
    # Nothing from the student means a mean of 0: (1/5 + log 5) / 2.
    maps_row(
        "vid",
        vid,
        unequal_maps,
        {"student_map": 0 * ONE, "teacher_map": ONE},
        (0.2 + math.log(5)) / 2,
        slow_vid,
        holds=frozenset({"batch"}),
        covers="VID",
    ),
    Row(
        "ft",
        times(10, losses.ft),
        factors,
        {"student_factor": tensor([[[1.0, 0.0]]]), "teacher_factor": tensor([[[0.0, 2.0]]])},
        10.0,
        times(10, slow.ft),
        ("student_factor",),
        ("teacher_factor",),
        holds=SCALED,
        zero_pair=("student_factor", "teacher_factor"),
    ),
    Row(
        "ft_paper",
        losses.ft,
        factors,
        {"student_factor": tensor([[[3.0, 4.0]]]), "teacher_factor": tensor([[[4.0, 3.0]]])},
        0.4,
        slow.ft,
        ("student_factor",),
        ("teacher_factor",),
        holds=SCALED,
        zero_pair=("student_factor", "teacher_factor"),
        options={"form": "paper"},
    ),
    # On the right side but inside the margin, and on the wrong side: 0.5² + 1.5².
    maps_row(
        "ab",
        losses.ab,
        two_maps,
        {"student_map": tensor([[[0.5, 0.5]]]), "teacher_map": tensor([[[2.0, -2.0]]])},
        2.5,
        slow.ab,
        holds=frozenset({"batch"}),
    ),
    Row(
        "fsp",
        losses.fsp,
        two_flows,
        {"student_map": ONE, "student_next": 3 * ONE, "teacher_map": ONE, "teacher_next": ONE},
        4.0,
        slow.fsp,
        *FLOW,
        holds=frozenset({"batch"}),
    ),
    Row(
        "kdsvd",
        times(100, losses.kdsvd),
        two_flows,
        {"student_map": RIGHT, "student_next": RIGHT, "teacher_map": RIGHT, "teacher_next": DIAGONAL},
        100 * ((1 - _A) ** 2 + (_E - _A) ** 2 + (_E - _B) ** 2 + (1 - _B) ** 2),
        times(100, slow.kdsvd),
        *FLOW,
        holds=frozenset({"batch", "scale"}),
        tolerance=1e-4,
    ),
    Row(
        "kdsvd_two",
        times(100, losses.kdsvd),
        two_flows,
        {"student_map": RIGHT, "student_next": RIGHT, "teacher_map": RIGHT, "teacher_next": RIGHT},
        0.0,
        times(100, slow.kdsvd),
        *FLOW,
        holds=frozenset({"batch", "scale"}),
        tolerance=1e-4,
        half=0.05,
        options={"vectors": 2},
    ),
    # Below the margin of -1 nothing is asked of -5 against -3; 1 is 2 away from 3.
    maps_row(
        "ofd",
        losses.ofd,
        with_margin,
        {
            "student_map": tensor([[[-5.0, 1.0]]]),
            "teacher_map": tensor([[[-3.0, 3.0]]]),
            "margin": torch.tensor([-1.0], dtype=torch.float64),
        },
        4.0,
        slow.ofd,
        holds=TO_TEACHER,
    ),
    maps_row(
        "hcl",
        losses.hcl,
        two_maps,
        {"student_map": tensor([[[1.0, -1.0], [1.0, -1.0]]]), "teacher_map": 0 * ONE},
        2 / 3,
        slow.hcl,
        holds=TO_TEACHER,
        stands_for=("reviewkd",),
    ),
    Row(
        "srrl",
        losses.srrl,
        with_classifier,
        {
            "student_embedding": tensor([1.0, 0.0]),
            "teacher_embedding": tensor([0.0, 0.0]),
            "classifier": tensor([2.0, 0.0]),
        },
        4.5,
        slow.srrl,
        EMBEDDINGS[:1],
        EMBEDDINGS[1:],
        holds=TO_TEACHER,
        zero_pair=EMBEDDINGS,
    ),
    maps_row(
        "simkd",
        losses.simkd,
        two_maps,
        {"student_map": tensor([[[0.0]]]), "teacher_map": tensor([[[1.0, 3.0], [1.0, 3.0]]])},
        4.0,
        slow.simkd,
        holds=TO_TEACHER,
    ),
    maps_row(
        "simkd_smaller_teacher",
        losses.simkd,
        smaller_teacher,
        {"student_map": tensor([[[1.0, 3.0], [1.0, 3.0]]]), "teacher_map": tensor([[[0.0]]])},
        4.0,
        slow.simkd,
        holds=frozenset({"batch"}),
    ),
    # q = (3/4, 1/4) against p = (1/2, 1/2) at T = 3.
    Row(
        "hsakd",
        losses.hsakd,
        two_logits,
        {"student_logits": tensor([0.0, 0.0]), "teacher_logits": tensor([3 * math.log(3), 0.0])},
        9 * (0.75 * math.log(1.5) - 0.25 * math.log(2)),
        slow.hsakd,
        ("student_logits",),
        ("teacher_logits",),
        holds=frozenset({"shift", "classes", "batch", "zero"}),
        zero_pair=("student_logits", "teacher_logits"),
    ),
    Row(
        "crd_in_batch",
        losses.crd_in_batch,
        two_embeddings,
        {"student_embedding": tensor([1.0, 0.0], [0.0, 1.0]), "teacher_embedding": tensor([2.0, 0.0], [0.0, 3.0])},
        math.log(1 + math.exp(-1)),
        slow.crd_in_batch,
        EMBEDDINGS,
        holds=frozenset({"batch", "scale"}),
        reduces=False,
        options={"temperature": 1.0},
    ),
    Row(
        "crd",
        crd,
        two_embeddings,
        {"student_embedding": tensor([1.0, 0.0]), "teacher_embedding": tensor([1.0, 0.0])},
        2 * (_HIT + 2 * _MISS),
        slow_crd,
        EMBEDDINGS[:1],
        EMBEDDINGS[1:],
        reduces=False,
        covers="CRD",
    ),
    Row(
        "crd_relax",
        crd,
        two_embeddings,
        {"student_embedding": tensor([1.0, 0.0]), "teacher_embedding": tensor([1.0, 0.0])},
        2 * (_HIT + 2 * _MISS),
        slow_crd,
        EMBEDDINGS[:1],
        EMBEDDINGS[1:],
        reduces=False,
        covers="CRD",
        options={"mode": "relax", "negatives": 2},
    ),
]


@dataclass(frozen=True)
class Pair:
    """Two small networks of the table, what a method is told of them, and a batch."""

    setting: Setting
    batch: Batch

    def outputs(self, method, *, prepared=None) -> tuple[Output, Output]:
        """What the loop would serve the method with."""
        needs = method.needs
        assert self.setting.network is not None and self.setting.teacher is not None
        student, teacher = TappedModel(self.setting.network), TappedModel(self.setting.teacher.eval())
        seen = student(self.batch.inputs, needs.network)
        seen = replace(seen, views={v: student(self.batch.views[v], needs.network) for v in needs.views})
        with torch.no_grad():
            taught = teacher(self.batch.inputs, needs.teacher)
            if prepared is not None:
                taught = prepared.outputs(self.batch.inputs, needs.teacher)
                views = {v: prepared.outputs(self.batch.views[v], frozenset()) for v in needs.views}
                taught = replace(taught, views=views)
            elif needs.views:
                taught = replace(taught, views={v: teacher(self.batch.views[v], frozenset()) for v in needs.views})
        return seen, taught

    def terms(self, method, *, step=0, steps_per_epoch=1, initial=False, prepared=None) -> Terms:
        """The method's terms at a step."""
        progress = Progress(step, steps_per_epoch, 240, seed=1, initial=initial)
        return method(*self.outputs(method, prepared=prepared), self.batch, progress)


def pair(student: str, teacher: str, *, n: int = 4, classes: int = 4) -> Pair:
    """Build a pair on 32 x 32 images, or on vectors for two ``mlp``."""
    shape = (6,) if student == "mlp" else (3, 32, 32)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, *shape, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = [build_model(name, classes=classes, input_shape=shape) for name in (student, teacher)]
    shapes = [tap_shapes(network, inputs[:2])[1] for network in networks]
    labels = torch.arange(40) % classes
    setting = Setting(classes, len(labels), *shapes, *networks, labels)
    views = {"rotated": rotations(inputs), "strong": inputs.flip(3)} if len(shape) == 3 else {}
    indices = torch.arange(n) * 3
    return Pair(setting, Batch(inputs, labels[indices], indices, views))


def teaches(pair: Pair, method, names: set[str], **where) -> Terms:
    """Check that the terms are finite, named as expected, and reach the student's first layer; return them."""
    terms = pair.terms(method, **where)
    assert set(terms) == names
    assert all(term.shape == () and torch.isfinite(term) for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert pair.setting.network is not None and pair.setting.teacher is not None
    first = next(pair.setting.network.parameters())
    assert first.grad is not None and torch.isfinite(first.grad).all() and float(first.grad.abs().max()) > 0
    assert all(p.grad is None for p in pair.setting.teacher.parameters())
    return terms


FAMILY = ("resnet8", "resnet14")
"""Student and teacher of one family."""
CROSS = ("shufflenetv1", "resnet8x4")
"""Two families: other widths, and a teacher's maps twice as large."""
DEEP = ("mobilenetv2_0.1", "vgg8")
"""Two families with four stages, of unequal sizes."""
PAIRS = (FAMILY, CROSS, DEEP)
