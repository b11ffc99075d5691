"""Splits of a problem, and a seeded way to make two of one that keeps every class in both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from goodteacher.base.errors import DataError, check_range
from goodteacher.base.seeds import numpy_stream
from goodteacher.data.inputs import Inputs, as_inputs

Rows = npt.NDArray[np.int64]
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Split:
    """One split of a problem, on the CPU; what a row holds never changes.

    Attributes:
        inputs: `Inputs`; a tensor of ``(N, H, W, 3 or 1)`` uint8 images, or of ``(N, D)`` float32 vectors, is taken as them.
        labels: ``(N,)`` int64.
        indices: ``(N,)`` int64, each row's place in the source, so that votes and tables can be matched to it.
        truth: ``(N, C)`` float32 true label distribution, or None where unknown.
        votes: ``(N, C)`` human vote counts, or None.
    """

    inputs: Inputs
    labels: Tensor
    indices: Tensor
    truth: Tensor | None = None
    votes: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", as_inputs(self.inputs))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> Split:
        """Return the split that holds the given rows, in that order."""
        truth = None if self.truth is None else self.truth[rows]
        votes = None if self.votes is None else self.votes[rows]
        return Split(self.inputs.take(rows), self.labels[rows], self.indices[rows], truth, votes)

    def with_labels(self, labels: Tensor, truth: Tensor | None) -> Split:
        """Return the same examples under other labels and another true distribution."""
        return replace(self, labels=labels, truth=truth)


def stratified_split(
    labels: npt.NDArray[Any], fraction: float, seed: int, *, stream: str = "validation"
) -> tuple[Rows, Rows]:
    """Split rows into two parts, class by class.

    Each class draws on its own stream, so that adding or dropping a class leaves the split of the others as it was.

    Args:
        labels: ``(N,)`` integers.
        fraction: share of each class that is held out, in (0, 1); rounded, but at least one example is held out and at
            least one kept wherever a class has two.
        seed: of the problem.
        stream: what the split is for; splits of different names are independent.

    Returns:
        Row numbers kept and row numbers held out, each in ascending order.

    Raises:
        ConfigError: if ``fraction`` is not in (0, 1).
        DataError: if ``labels`` is not a vector of integers, or has no class with two examples.

    Example:
        >>> kept, held_out = stratified_split(np.array([0, 0, 0, 1, 1, 1]), 0.34, seed=0)
        >>> len(kept), len(held_out)
        (4, 2)
    """
    check_range(f"{stream} fraction", fraction, low=0, high=1, open_low=True, open_high=True)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            "labels", rule="must be a vector of integers", received=f"{labels.dtype} of shape {labels.shape}"
        )
    kept, held_out = [], []
    for label in np.unique(labels).tolist():
        rows = numpy_stream(seed, stream, label).permutation(np.flatnonzero(labels == label))
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        held_out.append(rows[:count])
        kept.append(rows[count:])
    if sum(map(len, held_out)) == 0:
        raise DataError(
            f"{stream} split",
            rule="needs a class with at least two examples",
            received=f"{len(labels)} examples of {len(kept)} classes",
            remedy="give more examples or a ready-made split",
        )
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held_out))
