"""Conformance rows of the terms of teachers made for students."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.func import functional_call

import references_teachers as slow
from goodteacher import losses
from goodteacher.base.errors import ShapeError
from rows import C, N, Row, logits_and_labels, tensor, two_logits

LN3 = math.log(3)
THREE_TO_ONE = tensor([LN3, 0.0])
# softmax of log (4, 3, 1) is (1/2, 3/8, 1/8)
EIGHTHS = torch.tensor([[4.0, 3.0, 1.0]], dtype=torch.float64).log()


def with_averages(generator, n=N):
    drawn = two_logits(generator, n)
    return {"logits": drawn["student_logits"], "averages": drawn["teacher_logits"].softmax(dim=1)}


def with_centres(generator, n=N):
    centres = torch.randn(C, C, generator=generator, dtype=torch.float64).softmax(dim=1)
    return {**logits_and_labels(generator, n), "centres": centres}


def with_a_branch(generator, n=N):
    drawn = two_logits(generator, n)
    return {"branch_logits": drawn["student_logits"], "teacher_logits": drawn["teacher_logits"]}


class Holder(nn.Module):
    """A network of one linear layer that answers its penalty."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self):
        return losses.lipschitz_penalty(self.layer)


def penalty_of_a_layer(weight):
    if weight.dim() != 2:
        raise ShapeError("weight", rule="must have shape (outputs, inputs)", received=tuple(weight.shape))
    holder = Holder(weight.shape[1], weight.shape[0])
    return functional_call(holder, {"layer.weight": weight}, ())


def from_a_table(logits, averages):
    """The term of a table that has seen everything."""
    table = losses.ConsistencyTable(len(averages), averages.shape[-1])
    table.averages, table.visits = averages, torch.ones(len(averages), dtype=torch.int64)
    return table.eval()(logits, torch.arange(len(averages)))


ROWS = [
    # (3/4, 1/4) against (1/4, 3/4).
    Row(
        "consistency",
        losses.consistency,
        with_averages,
        {"logits": THREE_TO_ONE, "averages": tensor([0.25, 0.75])},
        0.5,
        slow.consistency,
        ("logits",),
        ("averages",),
        holds=frozenset({"classes", "batch"}),
    ),
    Row(
        "consistency_table",
        from_a_table,
        with_averages,
        {"logits": THREE_TO_ONE, "averages": tensor([0.25, 0.75])},
        0.5,
        slow.consistency,
        ("logits",),
        ("averages",),
        holds=frozenset({"classes", "batch"}),
        reduces=False,
        covers="ConsistencyTable",
    ),
    # 1/2 against the mean of 3/8 and 1/8; with K = 2 against 3/8.
    Row(
        "top_score_difference",
        losses.top_score_difference,
        lambda g, n: {"logits": logits_and_labels(g, n)["logits"]},
        {"logits": EIGHTHS},
        0.25,
        slow.top_score_difference,
        ("logits",),
        holds=frozenset({"shift", "classes", "batch"}),
        options={"top": 3},
        stands_for=("tolerant",),
    ),
    Row(
        "top_two_difference",
        losses.top_score_difference,
        lambda g, n: {"logits": logits_and_labels(g, n)["logits"]},
        {"logits": EIGHTHS},
        0.125,
        slow.top_score_difference,
        ("logits",),
        holds=frozenset({"shift", "classes", "batch"}),
        options={"top": 2},
    ),
    # (3/4, 1/4) from the centre (1/4, 3/4) of class 1.
    Row(
        "conditional_information",
        losses.conditional_information,
        with_centres,
        {"logits": THREE_TO_ONE, "labels": torch.tensor([1]), "centres": tensor([0.5, 0.5], [0.25, 0.75])},
        0.5 * LN3,
        slow.conditional_information,
        ("logits",),
        holds=frozenset({"shift", "batch"}),
        stands_for=("mcmi",),
    ),
    # (3/4, 1/4) of the branch against (1/2, 1/2) at τ = 2, times 4.
    Row(
        "branch_divergence",
        losses.branch_divergence,
        with_a_branch,
        {"branch_logits": 2 * THREE_TO_ONE, "teacher_logits": tensor([0.0, 0.0])},
        4 * (0.75 * math.log(1.5) - 0.25 * math.log(2)),
        slow.branch_divergence,
        ("branch_logits", "teacher_logits"),
        holds=frozenset({"shift", "classes", "batch", "zero"}),
        zero_pair=("branch_logits", "teacher_logits"),
        options={"temperature": 2.0},
        stands_for=("sftn",),
    ),
    # Columns 1 + 3 and 2 + 0.
    Row(
        "lipschitz_penalty",
        penalty_of_a_layer,
        lambda g, n: {"weight": logits_and_labels(g, n)["logits"]},
        {"weight": tensor([1.0, -2.0], [3.0, 0.0])},
        4.0,
        slow.column_sum,
        ("weight",),
        holds=frozenset({"classes", "batch"}),
        reduces=False,
        covers="lipschitz_penalty",
        stands_for=("lipschitz", "soteacher"),
    ),
]
