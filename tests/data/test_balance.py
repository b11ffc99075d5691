from __future__ import annotations

import dataclasses

import pytest
import torch

from goodteacher.base.seeds import torch_stream
from goodteacher.data.balance import balanced_order, class_weights
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.loader import Loader

LABELS = torch.tensor([0] * 60 + [1] * 7 + [3] * 3)


def stream(epoch=0):
    return torch_stream(0, "order", epoch)


def test_each_class_that_has_examples_comes_equally_often():
    order = balanced_order(LABELS, stream())
    assert len(order) == len(LABELS)
    counts = LABELS[order].bincount(minlength=4)
    assert counts[2] == 0 and set(counts[[0, 1, 3]].tolist()) <= {23, 24} and counts.sum() == 70
    assert not torch.equal(LABELS[order], LABELS[order].sort().values)


def test_rows_of_a_class_come_equally_often_up_to_one():
    times = balanced_order(LABELS, stream()).bincount(minlength=70)
    assert times[:60].max() == 1
    assert times[60:67].max() - times[60:67].min() <= 1 and times[67:].max() - times[67:].min() <= 1


def test_an_order_is_a_function_of_the_stream():
    assert torch.equal(balanced_order(LABELS, stream()), balanced_order(LABELS, stream()))
    assert not torch.equal(balanced_order(LABELS, stream()), balanced_order(LABELS, stream(1)))


def test_frequent_examples_that_one_epoch_leaves_out_come_in_another():
    seen = torch.cat([balanced_order(LABELS, stream(epoch)) for epoch in range(20)]).unique()
    assert len(seen) == 70


def test_weights_are_one_on_average_over_the_training_examples():
    balanced = class_weights(LABELS, 4, "balanced")
    torch.testing.assert_close(balanced, torch.tensor([70 / 180, 70 / 21, 0.0, 70 / 9]))
    for wanted in ("balanced", (1.0, 2.0, 5.0, 0.5)):
        assert class_weights(LABELS, 4, wanted)[LABELS].mean() == pytest.approx(1, rel=1e-6)
    doubled = class_weights(LABELS, 4, (2.0, 4.0, 10.0, 1.0))
    torch.testing.assert_close(doubled, class_weights(LABELS, 4, (1.0, 2.0, 5.0, 0.5)))


def test_a_loader_shows_classes_equally_often_and_the_same_for_whoever_asks():
    problem = gaussian_problem(train=90, validation=9, test=9)
    rare = problem.train.labels != 2
    rare[problem.train.labels.eq(2).nonzero()[0]] = True
    unlike = dataclasses.replace(problem, train=problem.train.take(rare.nonzero().flatten()))
    made = Loader(unlike, batch_size=10, seed=3, balanced=True)
    labels = torch.cat([made.batch(step).labels for step in range(made.steps_per_epoch)])
    counts = labels.bincount(minlength=3)
    assert counts.max() - counts.min() <= 2
    again = Loader(unlike, batch_size=10, seed=3, balanced=True)
    assert torch.equal(again.batch(4).indices, made.batch(4).indices)
    assert not torch.equal(Loader(unlike, batch_size=10, seed=3).batch(4).indices, made.batch(4).indices)
