"""Conformance rows of the methods on logits and on the relations of a batch.

Losses whose published weight is in the thousands are multiplied, so that absolute tolerances mean something; `pkt` only by
50, because its ε leaves a gradient of 1e-9 at equality.
"""

from __future__ import annotations

import functools
import inspect
import math

import torch
from torch import nn

import references_logits as slow
from goodteacher import losses
from goodteacher.base.types import Batch, Output, Progress, Setting
from goodteacher.methods.table import METHODS
from rows import C, N, Row, logits_and_labels, tensor, two_embeddings, two_logits, two_logits_and_labels, two_maps

LN2, LN3 = math.log(2), math.log(3)
PAIR = ("student_logits", "teacher_logits")
EMBEDDINGS = ("student_embedding", "teacher_embedding")
# q = (3/4, 1/4) against p = (1/2, 1/2).
THREE_TO_ONE = 0.75 * math.log(1.5) - 0.25 * LN2
TO_TEACHER = frozenset({"shift", "classes", "batch", "zero"})
# Three points on a line against the corner of a square: what rkd sees, worked out in the rows below.
LINE, CORNER = tensor([0.0], [1.0], [2.0]), tensor([0.0, 0.0], [1.0, 0.0], [0.0, 1.0])
LINE_TO_CORNER = (0.5 + (1 + math.sqrt(0.5) - 0.5) + (1 - math.sqrt(0.5)) ** 2 / 2) * 2 / 27


def times(weight, function):
    """The function multiplied by a weight, under its own name."""

    @functools.wraps(function)
    def weighted(*args, **kwargs):
        return weight * function(*args, **kwargs)

    return weighted


def standardised_kd(student_logits, teacher_logits, **options):
    return losses.kd(losses.standardise(student_logits), losses.standardise(teacher_logits), **options)


def standardised_dkd(student_logits, teacher_logits, labels, **options):
    return losses.dkd(losses.standardise(student_logits), losses.standardise(teacher_logits), labels, **options)


def three_classes(**more):
    """Student (1/3, 1/3, 1/3) and teacher (1/2, 3/8, 1/8) at T = 2."""
    z = 2 * torch.tensor([[4.0, 3.0, 1.0]], dtype=torch.float64).log()
    return {"student_logits": torch.zeros_like(z), "teacher_logits": z, **more}


def with_temperature(generator, n=N):
    return {**two_logits(generator, n), "temperature": 1 + 3 * torch.rand(n, generator=generator, dtype=torch.float64)}


def some_labelled(generator, n=N):
    return {**logits_and_labels(generator, n), "labelled": torch.arange(n) % 2 == 0}


def with_table(generator, n=N):
    drawn = two_logits(generator, n)
    return {"student_logits": drawn["student_logits"], "probabilities": drawn["teacher_logits"].softmax(dim=1)}


def fake_step(n=4, *, student_width=6, teacher_width=7):
    """What a loop would hand to a method: outputs of two networks with every tap and a strong view, and a batch."""
    generator = torch.Generator().manual_seed(0)
    draw = functools.partial(torch.randn, generator=generator)

    def network(width):
        strong = Output(draw(n, C), embedding=draw(n, width))
        stages = (draw(n, width, 4, 4), draw(n, width, 2, 2))
        return Output(draw(n, C) * 2, embedding=draw(n, width), stages=stages, views={"strong": strong})

    batch = Batch(draw(n, 3), torch.randint(C, (n,), generator=generator), torch.arange(n))
    return network(student_width), network(teacher_width), batch


def fake_setting(*, student_width=6, teacher_width=7):
    """The setting of `fake_step`."""
    shapes = [
        {"embedding": ((width,),), "stages": ((width, 4, 4), (width, 2, 2))} for width in (student_width, teacher_width)
    ]
    return Setting(C, examples=8, network_shapes=shapes[0], teacher_shapes=shapes[1])


def method(name, setting=None, **options):
    """A method of the table alone, without the label's share."""
    row = METHODS[name]
    needs_setting = "setting" in inspect.signature(row.build).parameters
    return row.build(**({"setting": setting or fake_setting()} if needs_setting else {}), **options)


def at_epoch(epoch, epochs=240):
    """The first step of an epoch counted from 1."""
    return Progress(10 * (epoch - 1), 10, epochs)


def nowhere():
    """A batch and a moment for methods that look at neither, past every warm-up."""
    empty = torch.zeros(0, dtype=torch.int64)
    return Batch(torch.zeros(0), empty, empty), Progress(1000, 1, 2000)


def ctkd_module(student_logits, teacher_logits):
    """The global form with its span such that T = 1 + (1 + 1/e) σ(1) = 2."""
    method = losses.CTKD(Setting(classes=student_logits.shape[-1]), alpha=1.0, span=1 + math.exp(-1))
    method.double().requires_grad_(False)
    return method(Output(student_logits), Output(teacher_logits), *nowhere())["ctkd"]


def cc_module(student_embedding, teacher_embedding, form="pairs"):
    """With both linear embeddings the identity."""
    lengths = student_embedding.shape[-1]
    shapes = {"embedding": ((lengths,),)}
    method = losses.CC(
        Setting(C, network_shapes=shapes, teacher_shapes=shapes), beta=2.0, form=form, dimensions=lengths
    )
    for linear in (method.student, method.teacher):
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    none = torch.zeros(0)
    outputs = Output(none, embedding=student_embedding), Output(none, embedding=teacher_embedding)
    return method.double().requires_grad_(False)(*outputs, *nowhere())["cc"]


def against_even(*logits, **more):
    """A student that knows nothing, and a teacher's logits."""
    z = tensor([float(v) for v in logits])
    return {"student_logits": torch.zeros_like(z), "teacher_logits": z, **more}


ROWS = [
    # b: (1/2, 1/2) against (1/3, 2/3); among the others (3/4, 1/4) against (1/2, 1/2); T² = 4.
    Row(
        "dkd",
        losses.dkd,
        two_logits_and_labels,
        three_classes(labels=torch.tensor([0])),
        4 * (0.5 * math.log(1.5) + 0.5 * math.log(0.75) + 6 * THREE_TO_ONE),
        slow.dkd,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER,
        zero_pair=PAIR,
        options={"beta": 6.0, "temperature": 2.0},
    ),
    # Two logits become (±1/√2), which T = √2 / log 3 brings to (1/4, 3/4) against (3/4, 1/4): T² · log 3 / 2.
    Row(
        "standardised_kd",
        standardised_kd,
        two_logits,
        {"student_logits": tensor([0.0, 4.0]), "teacher_logits": tensor([5.0, 1.0])},
        1 / LN3,
        slow.standardised_kd,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER | {"scale"},
        zero_pair=PAIR,
        options={"temperature": math.sqrt(2) / LN3},
        covers="standardise",
        stands_for=("logit_standardization",),
    ),
    Row(
        "standardised_dkd",
        standardised_dkd,
        two_logits_and_labels,
        {"student_logits": tensor([0.0, 4.0]), "teacher_logits": tensor([5.0, 1.0]), "labels": torch.tensor([1])},
        1 / LN3,
        slow.standardised_dkd,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER | {"scale"},
        zero_pair=PAIR,
        options={"beta": 2.0, "temperature": math.sqrt(2) / LN3},
        covers="standardise",
    ),
    # Rows correlate +1 and -1, mean 0; the teacher's columns are constant and correlate with nothing: T² (β + γ).
    Row(
        "dist",
        losses.dist,
        two_logits,
        {
            "student_logits": tensor([2 * LN3, 0.0], [0.0, 2 * LN3]),
            "teacher_logits": tensor([2 * LN3, 0.0], [2 * LN3, 0.0]),
        },
        4 * (2 + 3),
        slow.dist,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER - {"zero"},  # at equality ε in the denominator leaves 1e-8 over the squared length
        reduces=False,
        options={"beta": 2.0, "gamma": 3.0, "temperature": 2.0},
    ),
    Row(
        "ttm",
        losses.ttm,
        two_logits,
        against_even(2 * LN3, 0),
        THREE_TO_ONE,
        slow.ttm,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER - {"zero"},
        options={"temperature": 2.0},
    ),
    # p^t = (9/10, 1/10), whose square roots add up to 4/√10.
    Row(
        "wttm",
        losses.wttm,
        two_logits,
        against_even(2 * LN3, 0),
        4 / math.sqrt(10) * THREE_TO_ONE,
        slow.wttm,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER - {"zero"},
        options={"temperature": 2.0},
    ),
    # One example at T = 1: ⟨q, q⟩ - ⟨p, p⟩ = 10/16 - 1/2, and qqᵀ - ppᵀ has entries 5, -1, -1, -3 sixteenths.
    Row(
        "mlkd",
        losses.mlkd,
        two_logits,
        against_even(LN3, 0),
        THREE_TO_ONE + (1 / 8) ** 2 + (25 + 1 + 1 + 9) / 256 / 2,
        slow.mlkd,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER,
        reduces=False,
        zero_pair=PAIR,
        options={"temperatures": (1.0,)},
    ),
    Row(
        "mlkd_five_temperatures",
        losses.mlkd,
        two_logits,
        against_even(0, 0),
        0.0,
        slow.mlkd,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER,
        reduces=False,
        zero_pair=PAIR,
    ),
    Row(
        "mlkd_without_consistency",
        losses.mlkd,
        two_logits,
        against_even(LN3, 0),
        THREE_TO_ONE,
        slow.mlkd,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER,
        reduces=False,
        zero_pair=PAIR,
        options={"temperatures": (1.0,), "consistency": False},
    ),
    Row(
        "ctkd",
        losses.ctkd,
        with_temperature,
        against_even(2 * LN3, 0, temperature=torch.tensor(2.0)),
        4 * THREE_TO_ONE,
        slow.ctkd,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER,
        zero_pair=PAIR,
    ),
    Row(
        "ctkd_module",
        ctkd_module,
        two_logits,
        against_even(2 * LN3, 0),
        4 * THREE_TO_ONE,
        functools.partial(slow.ctkd, temperature=torch.tensor(2.0)),
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER,
        reduces=False,
        zero_pair=PAIR,
        covers="CTKD",
    ),
    # KL(even, even) = 0; 0.3 / 2 - 0.4 / 4 + 0.5 / 8.
    Row(
        "ptloss",
        losses.ptloss,
        two_logits,
        against_even(0, 0),
        0.15 - 0.1 + 0.0625,
        slow.ptloss,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER - {"zero"},
        options={"coefficients": (0.3, -0.4, 0.5)},
    ),
    Row(
        "ptloss_unperturbed",
        losses.ptloss,
        two_logits,
        against_even(LN3, 0),
        THREE_TO_ONE,
        slow.ptloss,
        PAIR[:1],
        PAIR[1:],
        holds=TO_TEACHER,
        zero_pair=PAIR,
        options={"coefficients": (0.0,)},
    ),
    # q² ∝ (9/10, 1/10) at T = 1/2; factor 2 T² = 1/2.
    Row(
        "filter_kd",
        losses.filter_kd,
        with_table,
        {"student_logits": tensor([0.0, 0.0]), "probabilities": tensor([0.75, 0.25])},
        0.5 * (0.9 * math.log(1.8) + 0.1 * math.log(0.2)),
        slow.filter_kd,
        PAIR[:1],
        holds=frozenset({"shift", "batch"}),
        options={"temperature": 0.5, "factor": 2.0},
        stands_for=("filter",),
    ),
    # Each row: teacher (1/2, 1/2), student (2/3, 1/3); two rows over four entries.
    Row(
        "pkt",
        times(50, losses.pkt),
        two_embeddings,
        {"student_embedding": torch.eye(2, dtype=torch.float64), "teacher_embedding": tensor([1.0, 0.0], [2.0, 0.0])},
        50 * 0.5 * math.log(9 / 8) / 2,
        times(50, slow.pkt),
        EMBEDDINGS[:1],
        EMBEDDINGS[1:],
        holds=frozenset({"batch", "zero", "scale"}),
        reduces=False,
        zero_pair=EMBEDDINGS,
    ),
    # Rows (1, 0) against (1, 1)/√2: (1 - 1/√2)² + 1/2 each.
    Row(
        "sp",
        times(3000, losses.sp),
        two_maps,
        {"student_map": torch.eye(2, dtype=torch.float64), "teacher_map": torch.ones(2, 3, dtype=torch.float64)},
        3000 * (1 - math.sqrt(0.5)),
        times(3000, slow.sp),
        ("student_map",),
        ("teacher_map",),
        holds=frozenset({"batch", "zero", "scale"}),
        reduces=False,
        zero_pair=("student_map", "teacher_map"),
    ),
    # Distances 1, 3, 2 of mean 2 against 1, 2, 1 of mean 4/3: differences -1/4, 0, 1/4, each twice in nine.
    Row(
        "rkd_distance",
        losses.rkd_distance,
        two_embeddings,
        {"student_embedding": tensor([0.0], [1.0], [3.0]), "teacher_embedding": LINE},
        4 * 0.5 * 0.25**2 / 9,
        slow.rkd_distance,
        EMBEDDINGS[:1],
        EMBEDDINGS[1:],
        holds=frozenset({"batch", "zero", "scale"}),
        reduces=False,
        zero_pair=EMBEDDINGS,
    ),
    # Cosines 1, -1, 1 against 0, 1/√2, 1/√2, each twice in 27.
    Row(
        "rkd_angle",
        losses.rkd_angle,
        two_embeddings,
        {"student_embedding": LINE, "teacher_embedding": CORNER},
        LINE_TO_CORNER,
        slow.rkd_angle,
        EMBEDDINGS[:1],
        EMBEDDINGS[1:],
        holds=frozenset({"batch", "zero", "scale"}),
        reduces=False,
        zero_pair=EMBEDDINGS,
    ),
    # Distances 1, 2, 1 of mean 4/3 against 1, 1, √2 of mean (2 + √2)/3.
    Row(
        "rkd",
        losses.rkd,
        two_embeddings,
        {"student_embedding": LINE, "teacher_embedding": CORNER},
        25 * sum((a * 0.75 - b * 3 / (2 + math.sqrt(2))) ** 2 for a, b in ((1, 1), (2, 1), (1, math.sqrt(2)))) / 9
        + 50 * LINE_TO_CORNER,
        slow.rkd,
        EMBEDDINGS[:1],
        EMBEDDINGS[1:],
        holds=frozenset({"batch", "zero", "scale"}),
        reduces=False,
        zero_pair=EMBEDDINGS,
    ),
    # δ = 1, 3, 4: (1·3 + 3·4) / 2.
    Row(
        "cc",
        losses.cc,
        two_embeddings,
        {"student_embedding": tensor([1.0], [2.0], [0.0]), "teacher_embedding": tensor([0.0], [5.0], [4.0])},
        7.5,
        slow.cc,
        EMBEDDINGS,
        holds=frozenset({"zero"}),
        reduces=False,
        zero_pair=EMBEDDINGS,
    ),
    # log 2 for one example of two: the other has no label.
    Row(
        "labelled",
        losses.labelled_cross_entropy,
        some_labelled,
        {
            "logits": tensor([0.0, 0.0], [3.0, 0.0]),
            "labels": torch.tensor([1, 1]),
            "labelled": torch.tensor([True, False]),
        },
        LN2 / 2,
        slow.labelled_cross_entropy,
        ("logits",),
        holds=frozenset({"shift", "classes", "batch"}),
    ),
    # Off the diagonal ⟨h, h'⟩ is 0 against 1: e^{-0.8} (0.8 + 0.32), in two entries of four.
    Row(
        "cc_kernel",
        losses.cc_kernel,
        two_embeddings,
        {"student_embedding": torch.eye(2, dtype=torch.float64), "teacher_embedding": tensor([1.0, 0.0], [3.0, 0.0])},
        (math.exp(-0.8) * 1.12) ** 2 / 2,
        slow.cc_kernel,
        EMBEDDINGS,
        holds=frozenset({"batch", "zero", "scale"}),
        reduces=False,
        zero_pair=EMBEDDINGS,
    ),
    Row(
        "cc_module",
        cc_module,
        two_embeddings,
        {"student_embedding": tensor([1.0], [2.0], [0.0]), "teacher_embedding": tensor([0.0], [5.0], [4.0])},
        2 * 7.5,
        times(2.0, slow.cc),
        EMBEDDINGS[:1],
        EMBEDDINGS[1:],
        holds=frozenset({"zero"}),
        reduces=False,
        zero_pair=EMBEDDINGS,
        covers="CC",
    ),
]
