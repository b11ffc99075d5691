"""Folds of the training split, for teachers that never see the labels of the examples they give targets for."""

from __future__ import annotations

import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError
from goodteacher.base.seeds import numpy_stream
from goodteacher.base.types import Labels
from goodteacher.data.problem import Problem


def assign_folds(labels: Labels, folds: int, seed: int) -> Tensor:
    """Deal training examples out to folds, class by class.

    Args:
        labels: ``(N,)``, of the training split.
        folds: K ≥ 2.
        seed: of the deal.

    Returns:
        ``(N,)`` int64 in [0, K): each example's fold. Sizes within a class differ by at most one, and so do sizes overall.

    Raises:
        ConfigError: for fewer than two folds, or more folds than the smallest class has examples.

    Example:
        >>> assign_folds(torch.tensor([0, 0, 1, 1]), 2, seed=0).bincount()
        tensor([2, 2])

    Source: Dao et al. (2021), section 4, for their use in distillation.
    """
    smallest = int(labels.bincount()[labels.unique()].min())
    if not 2 <= folds <= smallest:
        raise ConfigError(
            "folds",
            rule=f"must be at least 2 and at most the examples of the smallest class, {smallest}",
            received=folds,
        )
    fold = torch.empty_like(labels)
    dealt = 0
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero().flatten()
        shuffled = rows[torch.from_numpy(numpy_stream(seed, "folds", label).permutation(len(rows)))]
        # Each class goes on where the last one stopped, so that the folds' totals stay even.
        fold[shuffled] = (torch.arange(len(rows)) + dealt) % folds
        dealt += len(rows)
    return fold


def without_fold(problem: Problem, fold: int, folds: int, seed: int) -> Problem:
    """Return the problem with one fold taken out of its training split.

    Inputs are still normalised by the whole split's statistics, which know no labels: every fold's network must read the
    same inputs.

    Args:
        problem: the whole.
        fold: which to take out.
        folds: K.
        seed: of the deal.

    Returns:
        A problem with the other K − 1 folds as its training split.

    Raises:
        ConfigError: as `assign_folds`.
    """
    kept = (assign_folds(problem.train.labels, folds, seed) != fold).nonzero().flatten()
    return problem.with_train_rows(kept)
