"""A problem from a table of pictures: a CSV file with a column of paths, one of labels, and one of splits where there is any."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from goodteacher.base.errors import DataError
from goodteacher.data.decode import MOST_PIXELS
from goodteacher.data.folder import pictures_problem
from goodteacher.data.listing import SPLITS, Listing, in_order
from goodteacher.data.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

# Names that a column may have, the first of them in messages.
COLUMNS = {
    "path": ("path", "file", "filename", "filepath", "image", "image_path"),
    "label": ("label", "class", "target", "y"),
    "split": ("split", "subset", "fold", "set"),
}


def table_problem(
    path: str | Path,
    *,
    size: int = 32,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    skip_broken: bool = False,
    most_pixels: int = MOST_PIXELS,
    cache: str | Path | None = None,
) -> Problem:
    """Build a problem from a CSV file of pictures.

    Columns are ``path`` (told from the file's folder unless absolute), ``label`` (text, also where it looks like a number) and,
    where there is one, ``split``: train, validation or test, by their usual names. Other columns are named in a note.

    Args:
        path: of the CSV file.
        size: as in `folder_problem`, like all that follow.
        validation: see there.
        test: see there.
        seed: see there.
        skip_broken: see there.
        most_pixels: see there.
        cache: see there.

    Raises:
        ConfigError: for an option out of range.
        DataError: for a missing file or column, an empty or unknown value, a picture that is not there, or broken ones.
    """
    file = Path(path)
    return pictures_problem(
        file.stem, file.parent, lambda: list_table(file), size=size, validation=validation, test=test, seed=seed,
        skip_broken=skip_broken, most_pixels=most_pixels, cache=cache,
    )  # fmt: skip


def list_table(file: Path) -> Listing:
    """List the pictures of a CSV file, part by part and row by row."""
    frame = _read(file)
    found = {
        key: next((c for c in frame.columns if c.strip().lower() in names), None) for key, names in COLUMNS.items()
    }
    for key in ("path", "label"):
        if found[key] is None:
            rule = f"must have a column '{key}' (or {', '.join(COLUMNS[key][1:])})"
            raise DataError(f"table '{file}'", rule=rule, received=", ".join(map(repr, frame.columns)))
    for key in ("path", "label"):
        empty = np.flatnonzero(frame[found[key]].str.strip() == "")
        if len(empty):
            received = f"none in {len(empty)} of {len(frame)} rows, the first in line {empty[0] + 2}"
            raise DataError(
                f"column '{found[key]}' of '{file}'", rule="must hold a value in each row", received=received
            )
    paths = [file.parent / name.strip() for name in frame[found["path"]]]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        received = f"{len(missing)} of {len(paths)} that are not there, the first '{missing[0]}'"
        raise DataError(f"pictures of '{file}'", rule="must be files", received=received)
    labels = frame[found["label"]].str.strip()
    classes = in_order(set(labels))
    if len(classes) < 2:
        raise DataError(f"labels of '{file}'", rule="must name at least 2 classes", received=", ".join(classes))
    numbers = labels.map({name: number for number, name in enumerate(classes)}).to_numpy(dtype=np.int64)
    splits = np.array(["train"] * len(frame)) if found["split"] is None else _splits(frame[found["split"]], file)
    order = np.concatenate([np.flatnonzero(splits == part) for part in SPLITS])
    parts = {part: np.flatnonzero(splits[order] == part) for part in SPLITS if (splits == part).any()}
    return Listing(classes, tuple(paths[row] for row in order), numbers[order], parts, _unread(frame, found))


def _read(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        received = f"{type(error).__name__}: {error}"
        raise DataError(
            f"table '{file}'", rule="must be a CSV file in UTF-8 with headings", received=received
        ) from None


def _splits(column: pd.Series[str], file: Path) -> np.ndarray:
    """Return ``train``, ``validation`` or ``test`` for each row."""
    known = {name: part for part, names in SPLITS.items() for name in names}
    words = column.str.strip().str.lower()
    strange = np.flatnonzero(~words.isin(list(known)))
    if len(strange):
        received = f"{column.iloc[strange[0]]!r} in line {strange[0] + 2}"
        raise DataError(f"splits of '{file}'", rule=f"must be among {', '.join(known)}", received=received)
    found = words.map(known).to_numpy(dtype=str)
    if not (found == "train").any():
        raise DataError(f"splits of '{file}'", rule="must have rows of train", received=", ".join(sorted(set(found))))
    # As in a folder: the one held-out part of two is the test split.
    return np.where(found == "validation", "test", found) if not (found == "test").any() else found


def _unread(frame: pd.DataFrame, found: dict[str, str | None]) -> tuple[str, ...]:
    others = [repr(name) for name in frame.columns if name not in found.values()]
    return (f"columns not read: {', '.join(others)}",) if others else ()
