"""A problem from a folder of pictures, one folder per class."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, DataError
from goodteacher.data.cache import Decoded, decoded
from goodteacher.data.columns import fitting_augment
from goodteacher.data.decode import MOST_PIXELS, SAID
from goodteacher.data.inputs import Pictures
from goodteacher.data.listing import CACHE, Listing, count_names, list_pictures
from goodteacher.data.problem import Problem, Split
from goodteacher.data.splits import stratified_split

SAMPLED = 64  # files whose sizes are looked at


def folder_problem(
    root: str | Path,
    *,
    size: int = 32,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    skip_broken: bool = False,
    most_pixels: int = MOST_PIXELS,
    cache: str | Path | None = None,
) -> Problem:
    """Build a problem from ``ROOT/train/CLASS/*.jpg`` with ``ROOT/test`` or ``ROOT/val``, or from ``ROOT/CLASS/*.jpg``.

    With both ``test`` and ``val``, ``val`` is the validation split; with one of them, it is the test split. Pictures are
    decoded once, as a viewer shows them: the shorter side is brought to ``size`` and the centre is cut out. The result is
    kept in ``ROOT/.goodteacher-cache`` under a name made of every file's name, size and time of change, and mapped into
    memory; only rows that are picked one by one (a random split) are copied out of the map. Where that folder cannot be
    written, it is kept in ``$GOODTEACHER_CACHE`` or ``~/.cache/goodteacher``.

    Args:
        root: the folder.
        size: height and width of the decoded pictures, in pixels.
        validation: share of the training pictures that becomes the validation split, where none is given.
        test: share of all pictures that becomes the test split, where none is given.
        seed: of these splits.
        skip_broken: leave out files that do not decode and count them in the notes.
        most_pixels: a picture of more does not decode: a small file can unpack to more than the memory.
        cache: folder to keep the decoded pictures in, instead of the one in the data's own folder.

    Returns:
        The problem; indices are places in the sorted list of files. Notes say what was left out and what was done to
        pictures that are more than plain RGB.

    Raises:
        ConfigError: for an option out of range.
        DataError: for a missing folder, a class without pictures, classes that differ between splits, or broken files.
    """
    root = Path(root)
    return pictures_problem(
        root.resolve().name, root, lambda: list_pictures(root), size=size, validation=validation, test=test, seed=seed,
        skip_broken=skip_broken, most_pixels=most_pixels, cache=cache,
    )  # fmt: skip


def pictures_problem(
    name: str,
    root: Path,
    listed: Callable[[], Listing],
    *,
    size: int,
    validation: float,
    test: float,
    seed: int,
    skip_broken: bool,
    most_pixels: int,
    cache: str | Path | None,
) -> Problem:
    """Build a problem from listed pictures.

    Args:
        name: of the problem.
        root: folder that they lie in; names in messages and in the cache are told from it.
        listed: lists them, once the options are known to be sound.
        size: as in `folder_problem`, like all that follow.
        validation: see there.
        test: see there.
        seed: see there.
        skip_broken: see there.
        most_pixels: see there.
        cache: see there.
    """
    for what, value in (("size", size), ("most_pixels", most_pixels)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(what, rule="must be a whole number of pixels of at least 1", received=repr(value))
    listing = listed()
    whole = decoded(root, listing, size, most_pixels, None if cache is None else Path(cache))
    if whole.found.broken and not skip_broken:
        raise DataError(
            f"pictures in '{root}'",
            rule="must all decode",
            received=f"{len(_broken(whole))} of {len(listing.paths)} that do not: {_reasons(root, listing, whole)}",
            remedy="replace or delete them, or set skip_broken",
        )
    broken = np.array(_broken(whole), dtype=np.int64)
    parts = {part: np.setdiff1d(rows, broken) for part, rows in listing.parts.items()}
    for part, share in (("test", test), ("validation", validation)):
        if part not in parts:
            kept, held_out = stratified_split(listing.labels[parts["train"]], share, seed, stream=part)
            parts["train"], parts[part] = parts["train"][kept], parts["train"][held_out]
    pixels, labels = torch.from_numpy(whole.pixels), torch.from_numpy(listing.labels)
    splits = {part: _rows(pixels, labels, rows) for part, rows in parts.items()}
    augment = fitting_augment(splits["train"].inputs)
    notes = (*listing.notes, *_scaled(listing, size), *_notes(root, listing, whole, cache))
    return Problem(name, **splits, class_names=listing.class_names, augment=augment, notes=notes)


def _scaled(listing: Listing, size: int) -> list[str]:
    """Return a note if pictures lose by being scaled down: of a few, for their sizes stand at the head of their files."""
    from PIL import Image

    found = []
    for row in np.linspace(0, len(listing.paths) - 1, min(SAMPLED, len(listing.paths))).round().astype(int):
        # A file that does not open is counted elsewhere, with its reason.
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(listing.paths[row]) as picture:
                found.append(picture.size)
    if not found:
        return []
    width, height = (int(np.median(side)) for side in zip(*found, strict=True))
    if min(width, height) <= size:
        return []
    more = f"--size {min(height, width)} keeps more of them"
    return [f"pictures of about {width}x{height} pixels are scaled to {size}x{size}: option size ({more})"]


def _broken(whole: Decoded) -> list[int]:
    return sorted(row for rows in whole.found.broken.values() for row in rows)


def _reasons(root: Path, listing: Listing, whole: Decoded) -> str:
    """Return the reasons with their counts and first names, the most frequent first; those of other figures are one."""
    alike: dict[str, tuple[str, list[int]]] = {}
    for why, rows in whole.found.broken.items():
        alike.setdefault(re.sub(r"[0-9]+", "0", why), (why, []))[1].extend(rows)
    by_count = sorted(alike.values(), key=lambda found: -len(found[1]))
    said = [f"{why}: {count_names(root, [listing.paths[row] for row in sorted(rows)])}" for why, rows in by_count[:5]]
    return ", ".join([*said, *(["..."] if len(by_count) > 5 else [])])


def _notes(root: Path, listing: Listing, whole: Decoded, cache: str | Path | None) -> list[str]:
    notes = [f"pictures {words}: {whole.found.said[kind]}" for kind, words in SAID.items() if kind in whole.found.said]
    if whole.found.broken:
        notes.append(f"left out, {len(_broken(whole))} pictures that do not decode: {_reasons(root, listing, whole)}")
    if cache is None and whole.folder != root / CACHE:
        notes.append(f"decoded pictures are kept in '{whole.folder}', because '{root / CACHE}' cannot be written")
    return notes


def _rows(pixels: Tensor, labels: Tensor, rows: npt.NDArray[np.int64]) -> Split:
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        run = slice(int(rows[0]), int(rows[-1]) + 1)  # a slice stays in the map; a list of rows would be copied
        return Split(Pictures(pixels[run]), labels[run], torch.arange(run.start, run.stop))
    index = torch.from_numpy(rows)
    return Split(Pictures(pixels[index]), labels[index], index)
