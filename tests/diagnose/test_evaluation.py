"""Scores of a finished network: by hand, against scikit-learn, and with intervals that hold what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics

from goodteacher.base.errors import ShapeError
from goodteacher.diagnose.evaluation import evaluate

NAMES = ("a", "b", "c")


def drawn(n=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor([0.7, 0.2, 0.1]), n, replacement=True, generator=generator)
    logits = torch.randn(n, 3, generator=generator) + 1.5 * torch.nn.functional.one_hot(labels, 3)
    return logits, labels


def test_against_scikit_learn():
    logits, labels = drawn()
    found, answers = evaluate(logits, labels, NAMES), logits.argmax(dim=1)
    p = logits.double().softmax(dim=1)
    expected = {
        "accuracy": metrics.accuracy_score(labels, answers),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, answers),
        "macro_f1": metrics.f1_score(labels, answers, average="macro"),
        "nll": metrics.log_loss(labels, p),
        "brier": float((p - torch.nn.functional.one_hot(labels, 3)).square().sum(dim=1).mean()),
    }
    for name, value in expected.items():
        assert found.scores[name].mean == pytest.approx(value), name
    recalls = metrics.recall_score(labels, answers, average=None)
    precisions = metrics.precision_score(labels, answers, average=None)
    assert [c.recall for c in found.classes] == pytest.approx(recalls)
    assert all(c.low < c.recall < c.high for c in found.classes if 0 < c.recall < 1)
    assert [c.precision for c in found.classes] == pytest.approx(precisions)
    assert [c.examples for c in found.classes] == torch.bincount(labels).tolist()


def test_the_majority_is_no_skill_where_classes_are_balanced():
    labels = torch.tensor([0] * 90 + [1] * 10)
    logits = torch.tensor([[1.0, 0.0]]).repeat(100, 1)
    found = evaluate(logits, labels, ("common", "rare"))
    assert found.scores["accuracy"].mean == 0.9 and found.scores["balanced_accuracy"].mean == 0.5
    assert found.classes[1].recall == 0 and found.classes[1].precision is None


def test_a_class_without_examples_counts_nowhere():
    found = evaluate(torch.eye(3)[:2], torch.tensor([0, 1]), NAMES)
    assert found.scores["balanced_accuracy"].mean == 1.0 and found.classes[2].recall is None
    assert found.classes[2].examples == 0 and found.classes[2].low is None
    # One of one: Wilson's lower end is 1 / (1 + z²), and the upper is 1.
    assert (found.classes[0].low, found.classes[0].high) == pytest.approx((1 / (1 + 1.959964**2), 1.0))


def test_intervals_are_of_the_examples():
    logits, labels = drawn(400)
    accuracy = evaluate(logits, labels, NAMES).scores["accuracy"]
    half = 1.96 * np.sqrt(accuracy.mean * (1 - accuracy.mean) / 400)
    assert accuracy.low == pytest.approx(accuracy.mean - half, abs=0.01)
    assert accuracy.high == pytest.approx(accuracy.mean + half, abs=0.01)
    assert accuracy.n == 400


def test_the_same_table_has_the_same_intervals():
    assert evaluate(*drawn(50), NAMES) == evaluate(*drawn(50), NAMES)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="labels"):
        evaluate(torch.zeros(2, 3), torch.tensor([0, 3]), NAMES)
