"""Problems from arrays in memory or in an .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, DataError, check_choice, check_range, suggest
from goodteacher.data.columns import objects, read_inputs, read_labels, read_table
from goodteacher.data.inputs import Inputs, as_inputs
from goodteacher.data.problem import Problem, Split
from goodteacher.data.splits import stratified_split

_REQUIRED = ("x_train", "y_train", "x_test", "y_test")
_TABLES = tuple(f"{kind}_{part}" for kind in ("p", "votes") for part in ("train", "val", "test"))
_KNOWN = (*_REQUIRED, "x_val", "y_val", "class_names", *_TABLES)
_CONFIDENCE = "y_train_confidence"


def problem_from_arrays(
    arrays: Mapping[str, Any],
    *,
    validation: float = 0.1,
    seed: int = 0,
    name: str = "arrays",
    augment: str | None = None,
    labels_key: str = "y_train",
    confidence: float | None = None,
) -> Problem:
    """Build a problem from named arrays.

    Args:
        arrays: ``x_train``, ``y_train``, ``x_test``, ``y_test``; if known ``x_val`` and ``y_val``, ``class_names``,
            true label distributions ``p_train``, ``p_val``, ``p_test`` and vote counts ``votes_train``, ``votes_val``,
            ``votes_test``, both ``(N, C)``. Inputs are images ``(N, H, W)`` or ``(N, H, W, 1 or 3)`` of whole numbers from 0
            to 255 or 65535, or vectors ``(N, D)`` of any number type; labels are whole numbers ``(N,)``. Extra columns
            (``y_train_noisy``) are ignored.
        validation: share of the training rows that becomes the validation split where there is no ``x_val``.
        seed: of that split.
        name: of the problem.
        augment: name of an augmentation; None chooses by `fitting_augment`.
        labels_key: which column holds the training labels: ``y_train`` or one that begins with ``y_train_``.
        confidence: keep only training rows whose ``y_train_confidence`` is at least this.

    Returns:
        The problem; the indices of a split are rows of the arrays it was taken from.

    Raises:
        ConfigError: for an unknown ``labels_key``, a ``confidence`` without its column, a fraction out of range.
        DataError: for missing, misspelt or malformed arrays.

    Example:
        >>> arrays = {"x_train": np.eye(6), "y_train": [0, 1] * 3, "x_test": np.eye(6), "y_test": [0, 1] * 3}
        >>> problem_from_arrays(arrays, validation=0.34).describe()
        'arrays: 4 train / 2 validation / 6 test · 2 classes · 6'
    """
    _check_keys(arrays, labels_key)
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
    return Problem(
        name=name,
        train=train,
        validation=held_out,
        test=test,
        class_names=_class_names(arrays, (train, held_out, test)),
        augment=augment or fitting_augment(train.inputs),
        notes=notes,
    )


def npz_problem(
    path: str | Path,
    *,
    validation: float = 0.1,
    seed: int = 0,
    name: str | None = None,
    augment: str | None = None,
    labels_key: str = "y_train",
    confidence: float | None = None,
) -> Problem:
    """Build a problem from an .npz file; options as in `problem_from_arrays`, name is the file's unless given.

    Raises:
        DataError: if the file is missing, damaged or no .npz file; nothing in it is ever unpickled.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"'{path}'", rule="must be an .npz file", received="no such file", remedy="check the path")
    try:
        # Opened here, because numpy.load leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            keys = list(file.files)
            # An extra column may be huge, or of a kind that only unpickling would read, so it is left alone.
            arrays = {key: _plain(file, key, path) for key in keys if key in (*_KNOWN, labels_key, _CONFIDENCE)}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # What numpy says of a file that is no archive recommends to unpickle it.
        reason = "no archive of arrays" if "pickle" in str(error) else str(error)
        raise DataError(
            f"'{path}'",
            rule="must be an .npz file of plain arrays",
            received=f"{type(error).__name__}: {reason}",
            remedy="write it again with numpy.savez",
        ) from error
    _check_keys(keys, labels_key)
    options: dict[str, Any] = {"augment": augment, "labels_key": labels_key, "confidence": confidence}
    return problem_from_arrays(arrays, validation=validation, seed=seed, name=name or path.stem, **options)


def _plain(file: Any, key: str, path: Path) -> Any:
    try:
        return file[key]
    except ValueError as error:
        if "Object arrays" in str(error):  # numpy's words; what else a ValueError says is of a damaged file
            raise objects(key, f" in '{path}'") from error
        raise


def fitting_augment(inputs: Inputs) -> str:
    """Return ``crop_flip`` for pictures at least 24 pixels wide, else ``none``: 4 pixels are half of an 8x8 digit."""
    return "crop_flip" if inputs.kind == "image" and inputs.shape[2] >= 24 else "none"


def _is_misspelt(key: str) -> bool:
    extra = any(key.startswith(f"{known}_") for known in _KNOWN)
    return key not in _KNOWN and not extra and key.startswith(("x_", "y_", "p_", "votes_"))


def _check_keys(keys: Iterable[str], labels_key: str) -> None:
    keys = list(keys)
    for key in filter(_is_misspelt, keys):
        raise DataError(f"array '{key}'", rule="must have a known name", remedy=suggest(key, _KNOWN))
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
        unused = f"every training label is kept, though '{_CONFIDENCE}' doubts some"
        return train, (unused,) if _CONFIDENCE in arrays else ()
    check_range("confidence", least, low=0, high=1)
    if _CONFIDENCE not in arrays:
        raise ConfigError("confidence", rule=f"needs the column '{_CONFIDENCE}'", remedy="add it or drop the option")
    sure = np.asarray(arrays[_CONFIDENCE])
    if sure.shape != (len(train),) or sure.dtype.kind not in "fiub":
        raise DataError(_CONFIDENCE, rule=f"must be numbers of shape ({len(train)},)", received=sure.shape)
    rows = np.flatnonzero(sure >= least)
    note = f"only the {len(rows)} of {len(train)} training rows with '{_CONFIDENCE}' of at least {least:g}"
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
