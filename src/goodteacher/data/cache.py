"""Pictures of a folder, decoded once into a file that is mapped into memory."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from goodteacher.base.errors import DataError
from goodteacher.data.decode import SAID, decode, reason
from goodteacher.data.listing import CACHE, Listing

_CACHE_VERSION = 2  # raise when decoding changes
# What a file does not decode for though nothing is wrong with the picture: it must not be remembered as broken.
_OF_THE_MACHINE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True)
class Found:
    """What was found while decoding: it lies beside the pixels.

    Attributes:
        shape: of the pixels, ``(N, size, size, 3)``.
        sha256: of the file of pixels; empty while they are written.
        broken: reason to the rows of pictures that do not decode; they are left black.
        said: key of `goodteacher.data.decode.SAID` to the number of pictures it holds for.
    """

    shape: tuple[int, ...]
    sha256: str = ""
    broken: dict[str, list[int]] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoded:
    """All pictures of a listing as a mapped array, what was found, and the folder that holds the map."""

    pixels: npt.NDArray[np.uint8]
    found: Found
    folder: Path


def decoded(root: Path, listing: Listing, size: int, most_pixels: int, cache: Path | None = None) -> Decoded:
    """Return all pictures, from a cache where one fits, decoded into one otherwise.

    A file of pixels is used only if it has the size and the SHA-256 that were written down beside it.

    Args:
        root: the folder of pictures; its ``.goodteacher-cache`` holds them if it can be written.
        listing: its pictures; their names, sizes and times of change are part of the cache's name.
        size: height and width, in pixels.
        most_pixels: see `decode`.
        cache: another folder to hold them, instead of any other.

    Raises:
        DataError: if no place can be written, or a file cannot be read though its picture may be whole.
    """
    key, shape = _key(root, listing, size, most_pixels), (len(listing.paths), size, size, 3)
    places = _places(root, cache)
    for place in places:
        if (known := _known(place / key, shape)) is not None:
            return _mapped(place, key, known)
    refused = []
    for place in places:
        if (why := _unwritable(place)) is None:
            return _mapped(place, key, _fill(place / key, listing.paths, size, most_pixels))
        refused.append(f"'{place}' ({why})")
    raise DataError(
        "decoded pictures",
        rule="need a folder that can be written",
        received=" and ".join(refused),
        remedy="name another by the option cache or the variable GOODTEACHER_CACHE",
    )


def _places(root: Path, cache: Path | None) -> list[Path]:
    real = root.resolve()
    name = f"{real.name}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:16]}"
    if cache is not None:
        return [cache.expanduser() / name]
    given = Path(os.environ.get("GOODTEACHER_CACHE") or "~/.cache/goodteacher")
    try:
        return [root / CACHE, given.expanduser() / name]
    except RuntimeError:  # nobody's home is known
        return [root / CACHE]


def _key(root: Path, listing: Listing, size: int, most_pixels: int) -> str:
    import PIL

    # Another Pillow may decode what this one cannot.
    digest = hashlib.sha256(repr((_CACHE_VERSION, PIL.__version__, size, most_pixels)).encode())
    for path in listing.paths:
        stat = path.stat()
        name = Path(os.path.relpath(path, root)).as_posix().encode(errors="surrogateescape")
        digest.update(repr((name, stat.st_size, stat.st_mtime_ns)).encode())
    return digest.hexdigest()[:16]


def _known(base: Path, shape: tuple[int, ...]) -> Found | None:
    """Return what was found when a cache was written, or None where there is none that fits."""
    pixels, beside = base.with_suffix(".npy"), base.with_suffix(".json")
    try:
        found = Found(**json.loads(beside.read_text()))
        array = np.load(pixels, mmap_mode="r")
        rows = [row for rows in found.broken.values() for row in rows]
        fits = array.shape == tuple(found.shape) == shape and array.dtype == np.uint8
        fits = fits and all(row in range(shape[0]) for row in rows) and found.said.keys() <= SAID.keys()
        return found if fits and _sha256(pixels) == found.sha256 else None
    except (OSError, ValueError, TypeError, AttributeError, EOFError):
        return None


def _mapped(place: Path, key: str, found: Found) -> Decoded:
    # Copy-on-write: writable as torch wants it, and never written back.
    return Decoded(np.load(place / f"{key}.npy", mmap_mode="c"), found, place)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unwritable(place: Path) -> str | None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        trial = place / f"trial.{os.getpid()}.tmp"
        trial.touch()
        trial.unlink()
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    return None


def _fill(base: Path, paths: tuple[Path, ...], size: int, most_pixels: int) -> Found:
    shape = (len(paths), size, size, 3)
    found = Found(shape)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    try:
        # Written as a stream and not through a map: a map on a full disk kills the process instead of raising.
        with _appears(base.with_suffix(".npy")) as temporary:
            with temporary.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for row, path in enumerate(paths):
                    file.write(_one(path, row, size, most_pixels, found).tobytes())
            found = Found(shape, _sha256(temporary), found.broken, found.said)
            with _appears(base.with_suffix(".json")) as listed:
                listed.write_text(json.dumps(asdict(found)))
    except OSError as error:
        reason = f"{type(error).__name__}: {error}"
        remedy = "make room, or name another folder by the option cache"
        raise DataError(f"'{base.parent}'", rule="must have room", received=reason, remedy=remedy) from error
    return found


def _one(path: Path, row: int, size: int, most_pixels: int, found: Found) -> npt.NDArray[np.uint8]:
    """Return a picture and write down what was found; a broken one is black."""
    try:
        picture, said = decode(path, size, most_pixels)
    except Exception as error:  # Pillow fails on damaged files in a dozen ways, from OSError to SyntaxError
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in _OF_THE_MACHINE:
            received = f"{type(error).__name__}: {error}"
            raise DataError(f"picture '{path}'", rule="must be readable", received=received) from error
        found.broken.setdefault(reason(error, path), []).append(row)
        return np.zeros((size, size, 3), np.uint8)
    for kind in said:
        found.said[kind] = found.said.get(kind, 0) + 1
    return picture


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
