"""A problem: train, validation and test examples with labels, class names and, where known, the true label distribution."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.errors import DataError
from goodteacher.base.input_spec import InputSpec
from goodteacher.data.cautions import of_little_variation, other_scales, safe_deviation
from goodteacher.data.columns import parts_of
from goodteacher.data.facts import Facts
from goodteacher.data.inputs import tensor_content
from goodteacher.data.soft import settled
from goodteacher.data.splits import Split, SplitName

__all__ = ["Problem", "Split", "SplitName"]


@dataclass(frozen=True)
class Problem:
    """Train, validation and test splits with class names.

    Attributes:
        name: for people and file names.
        train: what models are trained on.
        validation: the only split anything is chosen on.
        test: read once, at the end.
        class_names: C names.
        augment: the augmentation that fits these inputs unless a recipe says otherwise.
        notes: what a number on this problem must say beside it (recovered labels, a JPEG copy).
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    augment: str = "none"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for split_name in ("train", "validation", "test"):
            split = getattr(self, split_name)
            _check_split(self.name, split_name, split, len(self.class_names))
            if split.truth is not None:
                what = f"truth in the {split_name} split of '{self.name}'"
                truth, note = settled(split.truth, split.indices, what)
                if truth is not split.truth:
                    object.__setattr__(self, split_name, replace(split, truth=truth))
                object.__setattr__(self, "notes", (*self.notes, *([note] if note else [])))
        absent = torch.bincount(self.train.labels, minlength=self.classes) == 0
        if absent.any():
            names = ", ".join(n for n, a in zip(self.class_names, absent.tolist(), strict=True) if a)
            raise DataError(
                f"training split of '{self.name}'",
                rule="needs at least one example of every class",
                received=f"none of: {names}",
                remedy="number classes from 0, drop the class, or give it examples",
            )

    def __repr__(self) -> str:
        return f"Problem({self.describe()})"  # not the tensors

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example as a model sees it: ``(channels, H, W)`` or ``(D,)``."""
        return self.train.inputs.shape

    @property
    def is_image(self) -> bool:
        """Whether inputs are pictures."""
        return self.train.inputs.kind == "image"

    @property
    def knows_truth(self) -> bool:
        """Whether the true label distribution of the test split is known."""
        return self.test.truth is not None

    def split(self, name: SplitName) -> Split:
        """Return a split by name."""
        splits: dict[str, Split] = {"train": self.train, "validation": self.validation, "test": self.test}
        return splits[name]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, what is divided by, and which of them stand for a deviation that is none."""
        mean, std = self.train.inputs.statistics()
        safe, hardly = safe_deviation(mean, std)
        return mean.float(), safe.float(), hardly

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training inputs per channel (images, in [0, 1]) or per feature.

        A feature that hardly varies has its size in place of its deviation, see `goodteacher.data.cautions.safe_deviation`.
        """
        return self._moments[0], self._moments[1]

    @property
    def hardly_varying(self) -> Tensor:
        """Which features or channels are constant in training, or as good as that."""
        return self._moments[2]

    @cached_property
    def cautions(self) -> tuple[str, ...]:
        """What is odd about the inputs: features that hardly vary in training, splits on another scale."""
        others = {"validation": self.validation.inputs, "test": self.test.inputs}
        return (*of_little_variation(self.train.inputs, self.hardly_varying), *other_scales(self.train.inputs, others))

    @cached_property
    def spec(self) -> InputSpec:
        """What a network made for this problem sees: its own size, normalised by its training statistics."""
        mean, std = (tuple(s.tolist()) for s in self.statistics)
        return InputSpec(self.train.inputs.kind, self.input_shape, mean, std)

    def with_train_rows(self, rows: Tensor) -> Problem:
        """Return the problem with some of its training examples, normalised as the whole of them is."""
        part = replace(self, train=self.train.take(rows))
        part.__dict__["_moments"] = self._moments
        return part

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every number in the problem: two runs share results only if they saw the same data.

        The problem's own augmentation is part of it, because a recipe may leave the choice to the problem; and so are the
        statistics that inputs are normalised by, because a part of a problem keeps those of the whole.
        """
        digest = hashlib.sha256(repr((self.class_names, self.augment)).encode())
        for statistic in self.statistics:
            digest.update(statistic.numpy().tobytes())
        for split in (self.train, self.validation, self.test):
            for part in split.inputs.content():
                digest.update(part)
            for tensor in (split.labels, split.indices, split.truth, split.votes):
                for part in (b"none",) if tensor is None else tensor_content(tensor):
                    digest.update(part)
        return digest.hexdigest()[:16]

    @cached_property
    def facts(self) -> Facts:
        """What a plan must know of the problem, and a report says of it."""
        return Facts(
            self.fingerprint,
            self.classes,
            self.input_shape,
            len(self.train),
            self.is_image,
            self.train.truth is not None,
            self.train.votes is not None,
            self.name,
            self.describe(),
            self.class_names,
            (*self.notes, *self.cautions),
            self.spec,
        )

    @cached_property
    def hashes(self) -> dict[str, Tensor]:
        """Hash of each example's inputs by split, ``(N,)`` int64: what a network of this problem has seen."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part.inputs.hashes() for name, part in parts.items()}

    def describe(self) -> str:
        """Return one line: sizes, classes, shape and what is known of the truth."""
        shape = "x".join(map(str, self.input_shape))
        known = " · true label distribution known" if self.knows_truth else ""
        voted = " · human votes on test" if self.test.votes is not None else ""
        sizes = f"{len(self.train)} train / {len(self.validation)} validation / {len(self.test)} test"
        return f"{self.name}: {sizes} · {self.classes} classes · {shape}{known}{voted}"

    @staticmethod
    def from_arrays(
        x_train: np.ndarray,
        y_train: np.ndarray,
        x_test: np.ndarray,
        y_test: np.ndarray,
        *,
        x_val: np.ndarray | None = None,
        y_val: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        validation: float = 0.1,
        seed: int = 0,
        name: str = "arrays",
        **distributions: np.ndarray,
    ) -> Problem:
        """Build a problem from arrays; see `goodteacher.data.arrays.problem_from_arrays`."""
        arrays: dict[str, Any] = {
            "x_train": x_train,
            "y_train": y_train,
            "x_test": x_test,
            "y_test": y_test,
            **distributions,
        }
        arrays |= {
            k: v for k, v in {"x_val": x_val, "y_val": y_val, "class_names": class_names}.items() if v is not None
        }
        return Problem(name, **parts_of(arrays, validation=validation, seed=seed))


def _check_split(problem: str, name: str, split: Split, classes: int) -> None:
    what = f"{name} split of '{problem}'"
    n = len(split.labels)
    if n == 0:
        raise DataError(
            what, rule="must not be empty", received="0 examples", remedy="check the files or the split sizes"
        )
    if len(split.inputs) != n or len(split.indices) != n:
        raise DataError(what, rule="needs one label an input", received=f"{len(split.inputs)} inputs and {n} labels")
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"labels in the {what}",
            rule=f"must lie in [0, {classes - 1}]",
            received=f"values from {low} to {high}",
            remedy="number the classes from 0, or name them all in class_names",
        )
    if bad := split.inputs.not_finite():
        raise DataError(
            f"inputs in the {what}", rule="must be finite", received=f"NaN or infinity in {bad} of {n} examples"
        )
    for field in ("truth", "votes"):
        tensor = getattr(split, field)
        if tensor is not None and tuple(tensor.shape) != (n, classes):
            raise DataError(
                f"{field} in the {what}", rule=f"must have shape ({n}, {classes})", received=tuple(tensor.shape)
            )
