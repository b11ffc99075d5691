"""One row for every loss; `test_conformance.py` puts every row through the same checks."""

from __future__ import annotations

import torch

import references
import rows_features
import rows_logits
import rows_teachers
from goodteacher import losses
from rows import C, Row, logits_and_labels, tensor, two_logits

LN2 = 0.6931471805599453
EVEN = {"logits": tensor([0.0, 0.0]), "labels": torch.tensor([1])}
# softmax of (log 3, 0) is (3/4, 1/4)
THREE_TO_ONE = {"logits": tensor([1.0986122886681098, 0.0]), "labels": torch.tensor([0])}
TO_LABELS = frozenset({"classes", "batch"})

OBJECTIVES = [
    Row(
        "cross_entropy",
        losses.cross_entropy,
        logits_and_labels,
        EVEN,
        LN2,
        references.cross_entropy,
        ("logits",),
        holds=TO_LABELS | {"shift"},
        stands_for=("none",),
    ),
    Row(
        "label_smoothing",
        losses.cross_entropy,
        logits_and_labels,
        THREE_TO_ONE,
        -(0.9 + 0.05) * -0.2876820724517809 - 0.05 * -1.3862943611198906,
        references.cross_entropy,
        ("logits",),
        holds=TO_LABELS | {"shift"},
        options={"smoothing": 0.1},
    ),
    Row(
        "brier",
        losses.brier,
        logits_and_labels,
        THREE_TO_ONE,
        0.125,
        references.brier,
        ("logits",),
        holds=TO_LABELS | {"shift"},
    ),
    Row(
        "brier_mean",
        losses.brier,
        logits_and_labels,
        THREE_TO_ONE,
        0.0625,
        references.brier,
        ("logits",),
        holds=TO_LABELS | {"shift"},
        options={"per_class": "mean"},
    ),
    Row(
        "brier_logits",
        losses.brier_logits,
        logits_and_labels,
        {"logits": tensor([2.0, 0.5]), "labels": torch.tensor([0])},
        (3 * (2 - 4) ** 2 + 0.25) / 2,
        references.brier_logits,
        ("logits",),
        holds=TO_LABELS,
        options={"target": 4.0, "true_weight": 3.0},
    ),
    Row(
        "focal",
        losses.focal,
        logits_and_labels,
        THREE_TO_ONE,
        0.0625 * 0.2876820724517809,
        references.focal,
        ("logits",),
        holds=TO_LABELS | {"shift"},
    ),
    Row(
        "negative_entropy",
        losses.negative_entropy,
        lambda g, n: {"logits": torch.randn(n, C, generator=g, dtype=torch.float64)},
        {"logits": tensor([0.0, 0.0])},
        -LN2,
        references.negative_entropy,
        ("logits",),
        holds=TO_LABELS | {"shift"},
        stands_for=("confidence_penalty",),
    ),
]

METHODS = [
    # q = (3/4, 1/4), p = (1/2, 1/2) at T = 2: T² KL = 4 (3/4 log 3/2 + 1/4 log 1/2)
    Row(
        "kd",
        losses.kd,
        two_logits,
        {"student_logits": tensor([0.0, 0.0]), "teacher_logits": tensor([2 * 1.0986122886681098, 0.0])},
        4 * (0.75 * 0.4054651081081644 - 0.25 * LN2),
        references.kd,
        ("student_logits",),
        ("teacher_logits",),
        holds=frozenset({"shift", "classes", "batch", "zero"}),
        zero_pair=("student_logits", "teacher_logits"),
        options={"temperature": 2.0},
    ),
]

# What a row of a table must be told to be built on the pair of networks of the checks; see `rows_features.pair`.
OPTIONS = {"labelled": {"per_class": 4}, "sftn": {"student": "resnet8"}, "crd": {"negatives": 8}}

ROWS = [*OBJECTIVES, *METHODS, *rows_logits.ROWS, *rows_features.ROWS, *rows_teachers.ROWS]
