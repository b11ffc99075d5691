"""A problem from a folder of pictures, one folder a class."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, DataError
from goodteacher.data.columns import fitting_augment
from goodteacher.data.inputs import Pictures
from goodteacher.data.problem import Problem, Split
from goodteacher.data.splits import stratified_split

_PICTURES = (".jpg", ".jpeg", ".png")
_CACHE_VERSION = 1  # raise when decoding changes


@dataclass(frozen=True)
class _Listing:
    """Pictures in a fixed order: part by part, class by class, name by name."""

    class_names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    parts: dict[str, npt.NDArray[np.int64]]
    ignored: int


def folder_problem(
    root: str | Path,
    *,
    size: int = 32,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    skip_broken: bool = False,
) -> Problem:
    """Build a problem from ``ROOT/train/CLASS/*.jpg`` with ``ROOT/test`` or ``ROOT/val``, or from ``ROOT/CLASS/*.jpg``.

    With both ``test`` and ``val``, ``val`` is the validation split; with one of them, it is the test split. Pictures
    (.jpg, .jpeg, .png) are decoded once: the shorter side is brought to ``size`` and the centre is cut out. The result
    is kept in ``ROOT/.goodteacher-cache`` under a name made of every file's name, size and time of change, and mapped
    into memory; only rows that are picked one by one (a random split) are copied out of the map.

    Args:
        root: the folder.
        size: height and width of the decoded pictures, in pixels.
        validation: share of the training pictures that becomes the validation split, where none is given.
        test: share of all pictures that becomes the test split, where none is given.
        seed: of these splits.
        skip_broken: leave out files that do not decode and count them in the notes.

    Returns:
        The problem; indices are places in the sorted list of files.

    Raises:
        ConfigError: for an option out of range.
        DataError: for a missing folder, a class without pictures, classes that differ between splits, or broken files.
    """
    root = Path(root)
    if not isinstance(size, int) or size < 1:
        raise ConfigError("size", rule="must be a whole number of pixels of at least 1", received=repr(size))
    listing = _scan(root)
    images, broken = _decoded(root, listing, size)
    if broken.size and not skip_broken:
        named = ", ".join(str(listing.paths[row].relative_to(root)) for row in broken[:5])
        raise DataError(
            f"pictures in '{root}'",
            rule="must all decode",
            received=f"{broken.size} of {len(listing.paths)} broken: {named}{', ...' if broken.size > 5 else ''}",
            remedy="replace or delete them, or set skip_broken",
        )
    parts = {name: np.setdiff1d(rows, broken) for name, rows in listing.parts.items()}
    for name, source, share in (("test", "train", test), ("validation", "train", validation)):
        if name not in parts:
            kept, held_out = stratified_split(listing.labels[parts[source]], share, seed, stream=name)
            parts[source], parts[name] = parts[source][kept], parts[source][held_out]
    pixels, labels = torch.from_numpy(images), torch.from_numpy(listing.labels)
    splits = {name: _rows(pixels, labels, rows) for name, rows in parts.items()}
    notes = (
        *([f"{broken.size} broken pictures left out"] if broken.size else []),
        *([f"{listing.ignored} files that are no pictures ignored"] if listing.ignored else []),
    )
    augment = fitting_augment(splits["train"].inputs)
    return Problem(root.resolve().name, **splits, class_names=listing.class_names, augment=augment, notes=notes)


def _rows(pixels: Tensor, labels: Tensor, rows: npt.NDArray[np.int64]) -> Split:
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        run = slice(int(rows[0]), int(rows[-1]) + 1)  # a slice stays in the map; a list of rows would be copied
        return Split(Pictures(pixels[run]), labels[run], torch.arange(run.start, run.stop))
    index = torch.from_numpy(rows)
    return Split(Pictures(pixels[index]), labels[index], index)


def _scan(root: Path) -> _Listing:
    if not root.is_dir():
        raise DataError(
            f"'{root}'", rule="must be a folder of pictures", received="no such folder", remedy="check the path"
        )
    folders = {"train": root}
    if (root / "train").is_dir():
        given = [name for name in ("val", "test") if (root / name).is_dir()]
        names = {"val": "validation", "test": "test"} if len(given) == 2 else dict.fromkeys(given, "test")
        folders = {"train": root / "train"} | {part: root / name for name, part in names.items()}
    elif (root / "test").is_dir() or (root / "val").is_dir():
        raise DataError(
            f"'{root}'", rule="has test/ or val/ and so must have train/", received="none", remedy="add train/"
        )
    found = {part: _pictures(folder) for part, folder in folders.items()}
    classes = tuple(found["train"][0])
    for part, (by_class, _) in found.items():
        odd = sorted(set(by_class) ^ set(classes))
        if odd:
            received = ", ".join(f"'{c}' only in {folders[part if c in by_class else 'train'].name}" for c in odd[:5])
            raise DataError(f"classes in '{root}'", rule="must be the same in every split", received=received)
    if len(classes) < 2:
        received = f"{len(classes)}: {', '.join(classes)}" if classes else "none"
        raise DataError(
            f"'{folders['train']}'", rule="must hold a folder for each of at least 2 classes", received=received
        )
    paths: list[Path] = []
    labels: list[int] = []
    parts = {}
    for part, (by_class, _) in found.items():
        start = len(paths)
        for label, name in enumerate(classes):
            paths += by_class[name]
            labels += [label] * len(by_class[name])
        parts[part] = np.arange(start, len(paths))
    return _Listing(classes, tuple(paths), np.array(labels), parts, ignored=sum(others for _, others in found.values()))


def _pictures(folder: Path) -> tuple[dict[str, list[Path]], int]:
    by_class, others = {}, 0
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            others += 1
            continue
        files = sorted(path for path in entry.iterdir() if not path.name.startswith(".") and not path.is_dir())
        pictures = [path for path in files if path.suffix.lower() in _PICTURES and path.is_file()]
        if not pictures:
            raise DataError(
                f"class folder '{entry}'",
                rule=f"must hold pictures ({', '.join(_PICTURES)})",
                received=f"{len(files)} other files" if files else "an empty folder",
                remedy="put the pictures straight into it, or remove it",
            )
        by_class[entry.name] = pictures
        others += len(files) - len(pictures)
    return by_class, others


def _decoded(root: Path, listing: _Listing, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All pictures as a mapped ``(N, size, size, 3)`` array, and the rows of those that do not decode (left black)."""
    digest = hashlib.sha256(repr((_CACHE_VERSION, size)).encode())
    for path in listing.paths:
        stat = path.stat()
        digest.update(repr((path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns)).encode())
    folder = root / ".goodteacher-cache"
    whole, rows = folder / f"{digest.hexdigest()[:16]}.npy", folder / f"{digest.hexdigest()[:16]}.broken.npy"
    if not whole.is_file() or not rows.is_file():
        try:
            folder.mkdir(exist_ok=True)
            _fill(whole, rows, listing.paths, size)
        except OSError as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(f"'{folder}'", rule="must be writable and have room", received=reason) from error
    # Copy-on-write: writable as torch wants it, and never written back.
    return np.load(whole, mmap_mode="c"), np.load(rows)


def _fill(whole: Path, rows: Path, paths: tuple[Path, ...], size: int) -> None:
    broken = []
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), size, size, 3)}
    # Written as a stream and not through a map: a map on a full disk kills the process instead of raising.
    with _appears(whole) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row, path in enumerate(paths):
            try:
                picture = _decode(path, size)
            except Exception:  # Pillow fails on damaged files in a dozen ways, from OSError to SyntaxError
                picture = np.zeros((size, size, 3), np.uint8)
                broken.append(row)
            file.write(picture.tobytes())
        with _appears(rows) as listed, listed.open("wb") as file_of_rows:
            np.save(file_of_rows, np.array(broken, dtype=np.int64))


@contextmanager
def _appears(path: Path) -> Iterator[Path]:
    """Hand out a temporary file beside ``path`` that takes its name if the block ends well, and is gone if not."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _decode(path: Path, size: int) -> npt.NDArray[Any]:
    from PIL import Image

    with warnings.catch_warnings(), Image.open(path) as opened:
        warnings.simplefilter("ignore")  # about palettes and metadata, which do not touch the pixels
        if opened.mode.startswith(("I", "F")):
            raise ValueError("more than 8 bits a channel, which Pillow would clip and not scale")
        picture = opened.convert("RGB")
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(picture.crop((left, top, left + size, top + size)))
