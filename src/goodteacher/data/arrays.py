"""Problems from arrays in memory or in an .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from goodteacher.base.errors import DataError
from goodteacher.data.columns import CONFIDENCE, KNOWN, check_keys, parts_of
from goodteacher.data.problem import Problem
from goodteacher.data.values import objects


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
    options: dict[str, Any] = {"augment": augment, "labels_key": labels_key, "confidence": confidence}
    return Problem(name, **parts_of(arrays, validation=validation, seed=seed, **options))


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
            arrays = {key: _plain(file, key, path) for key in keys if key in (*KNOWN, labels_key, CONFIDENCE)}
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
    check_keys(keys, labels_key)
    options: dict[str, Any] = {"augment": augment, "labels_key": labels_key, "confidence": confidence}
    return problem_from_arrays(arrays, validation=validation, seed=seed, name=name or path.stem, **options)


def _plain(file: Any, key: str, path: Path) -> Any:
    try:
        return file[key]
    except ValueError as error:
        if "Object arrays" in str(error):  # numpy's words; what else a ValueError says is of a damaged file
            raise objects(key, f" in '{path}'") from error
        raise
