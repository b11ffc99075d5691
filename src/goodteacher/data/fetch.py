"""Download a data set: resumed where it broke off, checked, and in place only when it is whole."""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import shutil
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from goodteacher.base.errors import ConfigError, DataError, check_choice

_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Download:
    """A file somebody publishes.

    Attributes:
        url: the folder it lies in.
        file: its name there and here.
        size: in bytes.
        md5: the checksum its publisher states.
    """

    url: str
    file: str
    size: int
    md5: str


_TORONTO = "https://www.cs.toronto.edu/~kriz"

# Checksums: https://www.cs.toronto.edu/~kriz/cifar.html, which states MD5 only.
DOWNLOADS = {
    "cifar10": Download(_TORONTO, "cifar-10-python.tar.gz", 170498071, "c58f30108f718f92721af3b95e74349a"),
    "cifar10-binary": Download(_TORONTO, "cifar-10-binary.tar.gz", 170052171, "c32a1d4ab5d03f1284b67883e8d87530"),
    "cifar100": Download(_TORONTO, "cifar-100-python.tar.gz", 169001437, "eb9058c3a382ffc7106e4002c42a8d85"),
    "cifar100-binary": Download(_TORONTO, "cifar-100-binary.tar.gz", 168513733, "03b5dce01913d631647c71ecec9e9cb8"),
}


def fetch(
    name: str,
    root: str | Path,
    *,
    base_url: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Download a data set unless it is there already.

    Bytes are collected in ``FILE.part``, from where the same call resumes after a break; the file gets its name only
    once its checksum is right.

    Args:
        name: key of `DOWNLOADS`.
        root: folder for the file; made if need be.
        base_url: folder of a mirror to take the file from.
        progress: called with bytes so far and bytes in all.

    Returns:
        Path of the checked file.

    Raises:
        ConfigError: for an unknown name or a ``base_url`` that is no URL.
        DataError: for a full disk, a broken connection (what came is kept) or a wrong checksum (nothing is kept).

    Example:
        >>> fetch("cifar10", "data")  # doctest: +SKIP
        PosixPath('data/cifar-10-python.tar.gz')
    """
    check_choice("data set to fetch", name, DOWNLOADS)
    source, root = DOWNLOADS[name], Path(root)
    target, part = root / source.file, root / f"{source.file}.part"
    if is_whole(target, source):
        return target
    if base_url is not None and "://" not in base_url:
        raise ConfigError("base_url", rule="must be a URL such as https://host/folder", received=repr(base_url))
    again = f"`goodteacher fetch {name} --root {root}` resumes"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _check_space(root, source.size - _size(part))
        if _size(part) < source.size:
            _download(f"{(base_url or source.url).rstrip('/')}/{source.file}", part, source, progress)
    except (OSError, http.client.HTTPException) as error:
        kept = f"{_size(part):,} of {source.size:,} bytes are kept and {again}"
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"download of {source.file}", rule="broke off", received=reason, remedy=kept) from error
    if not is_whole(part, source):
        received = f"{_size(part):,} bytes with another checksum"
        part.unlink()
        raise DataError(
            f"downloaded {source.file}",
            rule=f"must have {source.size:,} bytes and MD5 {source.md5}",
            received=received,
            remedy="nothing was kept; try again, or another mirror",
        )
    part.replace(target)
    return target


def is_whole(path: Path, source: Download) -> bool:
    """Say whether a file is there with the size and checksum its publisher states."""
    if _size(path) != source.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == source.md5


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check_space(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DataError(
            f"disk of '{root}'",
            rule=f"needs {needed:,} bytes",
            received=f"{free:,} free",
            remedy="make room, or choose another --root",
        )


def _download(url: str, part: Path, source: Download, progress: Callable[[int, int], None] | None) -> None:
    start = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        # A server that does not know ranges answers 200 with the whole file: then what is here is overwritten.
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        done = start if resumed else 0
        promised = response.headers.get("Content-Length")
        if promised is not None and done + int(promised) != source.size:
            received = f"{done + int(promised):,} bytes from {url}"
            raise DataError(
                source.file, rule=f"has {source.size:,} bytes", received=received, remedy="try another mirror"
            )
        with part.open("ab" if resumed else "wb") as file:
            while done < source.size and (chunk := response.read(_CHUNK)):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, source.size)
            file.flush()
            os.fsync(file.fileno())
    if done < source.size:
        raise ConnectionError("the server closed the connection early")
