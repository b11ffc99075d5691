"""The labels of some: which examples they are, and that the others' labels are never read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.types import Batch, Output, Progress, Setting
from goodteacher.data.labels import label_subset
from goodteacher.data.problem import Problem
from goodteacher.methods.semisupervised import Labelled, labelled_cross_entropy, labelled_rows
from goodteacher.methods.table import build_method

LABELS = torch.arange(30) % 3


def problem():
    x, y = np.arange(60, dtype=np.float32).reshape(30, 2), LABELS.numpy()
    return Problem.from_arrays(x, y, x, y, x_val=x, y_val=y)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_labelled_are_those_of_a_label_subset(seed):
    whole = problem()
    part = label_subset(whole, per_class=4, seed=seed)
    assert labelled_rows(whole.train.labels, 4, seed).tolist() == part.train.indices.tolist()


def test_the_labels_of_all_others_are_never_read():
    method = build_method({"labelled": {"per_class": 2, "seed": 1}}, Setting(classes=3, examples=30, labels=LABELS))
    rows = torch.arange(30)
    student = Output(torch.randn(30, 3, generator=torch.Generator().manual_seed(0)))
    known = torch.zeros(30, dtype=torch.bool)
    known[labelled_rows(LABELS, 2, 1)] = True
    shuffled = torch.where(known, LABELS, (LABELS + 1) % 3)
    values = [
        method(student, None, Batch(torch.zeros(30, 1), labels, rows), Progress(0, 1, 1))
        for labels in (LABELS, shuffled)
    ]
    expected = torch.nn.functional.cross_entropy(student.logits[known], LABELS[known]) * 6 / 30
    assert list(values[0]) == ["labelled"]
    torch.testing.assert_close(values[0]["labelled"], expected)
    torch.testing.assert_close(values[1]["labelled"], expected)


def test_it_stands_beside_a_method_that_reads_no_label():
    setting = Setting(classes=3, examples=30, labels=LABELS)
    method = build_method({"kd": {"gamma": 0}, "labelled": {"per_class": 2, "weight": 0.1}}, setting)
    student, teacher = Output(torch.randn(5, 3)), Output(torch.randn(5, 3))
    terms = method(student, teacher, Batch(torch.zeros(5, 1), LABELS[:5], torch.arange(5)), Progress(0, 1, 1))
    assert list(terms) == ["kd", "labelled"]


def test_mistakes_say_why():
    with pytest.raises(ConfigError, match="per_class: must be at most the 10 of class 0"):
        Labelled(Setting(classes=3, examples=30, labels=LABELS), per_class=11)
    with pytest.raises(ShapeError, match="labelled: must be a bool tensor"):
        labelled_cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([1, 0]))
    unlabelled = Labelled(Setting(classes=3, examples=30), per_class=2)
    with pytest.raises(ConfigError, match="needs the labels of all training examples"):
        unlabelled(Output(torch.zeros(1, 3)), None, Batch(torch.zeros(1, 1), LABELS[:1], LABELS[:1]), Progress(0, 1, 1))
