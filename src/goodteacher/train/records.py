"""Append-only records: one JSON line an event, and atomic files."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from goodteacher.base.errors import StoreError

_counter = itertools.count()


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it appears whole or not at all: write, fsync, rename.

    Args:
        path: of the file; missing folders are made.
        write: receives the open binary file.

    Raises:
        StoreError: if the disk is full or the place cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_counter)}")
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _store_error(path, error) from error
    except RuntimeError as error:  # torch.save reports a full disk as a RuntimeError of its own
        cause = error.__cause__ or error.__context__
        full = isinstance(cause, OSError) or "write" in str(error).lower()
        if not full:
            raise
        raise StoreError(f"file {path}", rule="could not be written", received=str(error).splitlines()[0]) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _store_error(path: Path, error: OSError) -> StoreError:
    if error.errno == errno.ENOSPC:
        return StoreError(
            f"file {path}",
            rule="could not be written",
            received="disk full",
            remedy="free some space and run the same command again: finished runs are kept",
        )
    return StoreError(f"file {path}", rule="could not be written", received=error.strerror or str(error))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        StoreError: if it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise StoreError(f"file {path}", rule="must exist", received="no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"file {path}", rule="must be JSON", received=str(error)) from None


class Records:
    """Appends events to a JSON-lines file; each line is flushed, so that kill -9 loses at most the line being written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Mapping[str, Any]) -> None:
        """Append one event.

        Raises:
            StoreError: if the disk is full or the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(dict(event)) + "\n")
        except OSError as error:
            raise _store_error(self.path, error) from error


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read events, the last of each epoch where a resumed run wrote one again; a torn last line is left out.

    Args:
        path: of the JSON-lines file.

    Returns:
        Events in order; an empty list if there is no file.
    """
    if not path.exists():
        return []
    events: dict[Any, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text().splitlines()):
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue  # torn by a kill in mid-write; the epoch is trained and written again on resume
        events[event.get("epoch", f"line {number}")] = event
    return list(events.values())
