"""Named arrays, and what they say of a problem: its splits, its class names, the augmentation that fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, DataError, check_choice, check_range, suggest
from goodteacher.data.inputs import Inputs, as_inputs
from goodteacher.data.splits import Split, stratified_split
from goodteacher.data.values import read_inputs, read_labels, read_table

_REQUIRED = ("x_train", "y_train", "x_test", "y_test")
_TABLES = tuple(f"{kind}_{part}" for kind in ("p", "votes") for part in ("train", "val", "test"))
KNOWN = (*_REQUIRED, "x_val", "y_val", "class_names", *_TABLES)
CONFIDENCE = "y_train_confidence"


class Parts(TypedDict):
    """What a `Problem` is made of, but for its name."""

    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    augment: str
    notes: tuple[str, ...]


def parts_of(
    arrays: Mapping[str, Any],
    *,
    validation: float = 0.1,
    seed: int = 0,
    augment: str | None = None,
    labels_key: str = "y_train",
    confidence: float | None = None,
) -> Parts:
    """Return the parts of the problem that named arrays hold; see `goodteacher.data.arrays.problem_from_arrays`."""
    check_keys(arrays, labels_key)
    inputs, read = read_inputs(arrays)
    train, test = _split(arrays, "train", labels_key, inputs), _split(arrays, "test", "y_test", inputs)
    train, sure = _confident(arrays, train, confidence)
    notes = (*read, *sure)
    if labels_key != "y_train":
        notes += (f"training labels are '{labels_key}'",)
    if "x_val" in arrays:
        held_out = _split(arrays, "val", "y_val", inputs)
    else:
        kept, rows = stratified_split(train.labels.numpy(), validation, seed)
        train, held_out = train.take(torch.from_numpy(kept)), train.take(torch.from_numpy(rows))
    for part, split in (("x_val", held_out), ("x_test", test)):
        got, want = ((s.inputs.kind, s.inputs.shape) for s in (split, train))
        if got != want:
            got_text, want_text = (f"{kind}s of shape {shape}" for kind, shape in (got, want))
            raise DataError(part, rule=f"must have examples like those of x_train, {want_text}", received=got_text)
    return {
        "train": train,
        "validation": held_out,
        "test": test,
        "class_names": _class_names(arrays, (train, held_out, test)),
        "augment": augment or fitting_augment(train.inputs),
        "notes": notes,
    }


def fitting_augment(inputs: Inputs) -> str:
    """Return ``crop_flip`` for pictures at least 24 pixels wide, else ``none``: 4 pixels are half of an 8x8 digit."""
    return "crop_flip" if inputs.kind == "image" and inputs.shape[2] >= 24 else "none"


def _is_misspelt(key: str) -> bool:
    extra = any(key.startswith(f"{known}_") for known in KNOWN)
    return key not in KNOWN and not extra and key.startswith(("x_", "y_", "p_", "votes_"))


def check_keys(keys: Iterable[str], labels_key: str) -> None:
    """Raise `DataError` for missing or misspelt names of arrays, `ConfigError` for an unknown column of labels."""
    keys = list(keys)
    for key in filter(_is_misspelt, keys):
        raise DataError(f"array '{key}'", rule="must have a known name", remedy=suggest(key, KNOWN))
    for key in _REQUIRED:
        if key not in keys:
            raise DataError(
                f"array '{key}'",
                rule=f"is required, as are {', '.join(_REQUIRED)}",
                received=f"only {', '.join(keys) or 'nothing'}",
                remedy="add it under this name",
            )
    for kind in ("x", "y", "p", "votes"):
        if f"{kind}_val" in keys and not {"x_val", "y_val"} <= set(keys):
            raise DataError(
                f"array '{kind}_val'", rule="needs both x_val and y_val beside it", remedy="give all or none"
            )
    check_choice("labels_key", labels_key, [k for k in keys if k == "y_train" or k.startswith("y_train_")])


def _split(arrays: Mapping[str, Any], part: str, labels_key: str, inputs: Mapping[str, Tensor]) -> Split:
    x, labels = inputs[f"x_{part}"], read_labels(arrays[labels_key], labels_key)
    n = len(labels)
    if len(x) != n:
        raise DataError(f"x_{part} and {labels_key}", rule="must have the same length", received=f"{len(x)} and {n}")
    truth, votes = (read_table(arrays, f"{kind}_{part}", n) for kind in ("p", "votes"))
    return Split(as_inputs(x), labels, torch.arange(n), truth, votes)


def _confident(arrays: Mapping[str, Any], train: Split, least: float | None) -> tuple[Split, tuple[str, ...]]:
    if least is None:
        unused = f"every training label is kept, though '{CONFIDENCE}' doubts some"
        return train, (unused,) if CONFIDENCE in arrays else ()
    check_range("confidence", least, low=0, high=1)
    if CONFIDENCE not in arrays:
        raise ConfigError("confidence", rule=f"needs the column '{CONFIDENCE}'", remedy="add it or drop the option")
    sure = np.asarray(arrays[CONFIDENCE])
    if sure.shape != (len(train),) or sure.dtype.kind not in "fiub":
        raise DataError(CONFIDENCE, rule=f"must be numbers of shape ({len(train)},)", received=sure.shape)
    rows = np.flatnonzero(sure >= least)
    note = f"only the {len(rows)} of {len(train)} training rows with '{CONFIDENCE}' of at least {least:g}"
    return train.take(torch.from_numpy(rows)), (note,)


def _class_names(arrays: Mapping[str, Any], splits: tuple[Split, ...]) -> tuple[str, ...]:
    if "class_names" in arrays:
        given = np.asarray(arrays["class_names"]).ravel().tolist()
        names = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in given)
    else:
        tables = [t for s in splits for t in (s.truth, s.votes) if t is not None]
        tops = [int(s.labels.max()) + 1 for s in splits if len(s)]
        classes = max([*tops, *(t.shape[1] for t in tables)], default=0)
        # Every class needs a training example, so more classes than that means labels that are not 0..C-1.
        if classes > len(splits[0]):
            received = f"a label or table for {classes} classes and {len(splits[0])} training examples"
            raise DataError("labels", rule="must be numbered from 0", received=received, remedy="renumber the classes")
        names = tuple(map(str, range(classes)))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if len(names) < 2 or twice:
        got = f"'{twice[0]}' twice" if twice else ", ".join(names)
        raise DataError("class names", rule="must be at least two, all different", received=got)
    return names
