"""Folds: every example in one, classes even, normalisation shared, and no row of the fold left in training."""

from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.data.folds import assign_folds, without_fold
from goodteacher.data.gaussian import gaussian_problem


def test_folds_are_even_in_all_and_within_each_class():
    labels = torch.tensor([0] * 17 + [1] * 23 + [3] * 11)
    fold = assign_folds(labels, 5, seed=1)
    assert fold.bincount(minlength=5).max() - fold.bincount(minlength=5).min() <= 1
    for label in (0, 1, 3):
        counts = fold[labels == label].bincount(minlength=5)
        assert counts.max() - counts.min() <= 1


def test_the_deal_depends_on_the_seed_alone():
    labels = torch.arange(60) % 3
    assert assign_folds(labels, 4, seed=7).equal(assign_folds(labels, 4, seed=7))
    assert not assign_folds(labels, 4, seed=7).equal(assign_folds(labels, 4, seed=8))


def test_a_problem_without_a_fold_holds_the_other_rows_and_the_same_normalisation():
    whole = gaussian_problem(train=90, validation=30, test=30)
    fold = assign_folds(whole.train.labels, 3, seed=2)
    part = without_fold(whole, 1, 3, seed=2)
    assert part.train.inputs.tensor.equal(whole.train.inputs.tensor[fold != 1])
    assert part.train.truth.equal(whole.train.truth[fold != 1])
    assert part.validation is whole.validation and part.fingerprint != whole.fingerprint
    for own, shared in zip(part.statistics, whole.statistics, strict=True):
        assert own.equal(shared)
    alone = part.train.inputs.tensor.double().mean(dim=0).float()
    assert not torch.allclose(alone, part.statistics[0])  # it would have been another


@pytest.mark.parametrize("folds", [1, 4])
def test_too_few_or_too_many_folds_are_refused(folds):
    with pytest.raises(ConfigError, match=r"folds: must be at least 2 and at most .* 3, got"):
        assign_folds(torch.tensor([0] * 3 + [1] * 9), folds, seed=0)
