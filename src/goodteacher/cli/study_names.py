"""Names of the studies that single commands make: readable, and of another name where data, networks or losses are others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from goodteacher.base.custom import is_own, own_identity
from goodteacher.base.file_names import told_apart
from goodteacher.study.known_names import SOURCES

MOST = 40  # bytes of each readable part: four of them and their hashes are a folder's name


def word(text: str) -> str:
    """Return a name, or a sum of names, as part of a study's name.

    Example:
        >>> word("crd + kd"), word("resnet8"), word("own:f")
        ('crd-kd', 'resnet8', 'own-f-2eae6d')
    """
    return "-".join(_one(part.strip()) for part in text.split("+"))


def joined(words: Sequence[str]) -> str:
    """Return several parts as one, shortened where they are many.

    Example:
        >>> joined(["a", "b"]), joined([f"resnet{n}" for n in range(20)])
        ('a-b', 'resnet0-resnet1-resnet2-resnet3-resnet4-8c1426')
    """
    whole = "-".join(words)
    return whole if len(whole.encode()) <= MOST + 7 else told_apart(whole, whole, MOST)


def data_word(problem: object) -> str:
    """Return the part of a study's name that says which data: other files, folders or options have another.

    Args:
        problem: as a study file says it.

    Example:
        >>> data_word("digits"), data_word({"name": "digits", "root": "data"}), data_word({"name": "digits", "noise": 0.1})
        ('digits', 'digits', 'digits-32c800')
    """
    words: dict[str, Any] = dict(problem) if isinstance(problem, Mapping) else {"name": problem}
    name, root = str(words.pop("name", "")), words.pop("root", "data")
    if name not in SOURCES:
        path = Path(name)
        readable, identity = (
            _readable(name),
            own_identity(name) if is_own(name) and not path.exists() else _resolved(name),
        )
    else:
        readable, identity = name, ""
    if str(root) != "data":
        identity += f"\n{_resolved(str(root))}"
    if words:
        identity += f"\n{json.dumps(words, sort_keys=True, default=str)}"
    return told_apart(readable, identity, MOST)


def _one(name: str) -> str:
    return told_apart(_readable(name), own_identity(name) if is_own(name) else "", MOST)


def _readable(name: str) -> str:
    """Return what a person would call a file, a folder or a function: the last part of its path."""
    module, colon, function = name.rpartition(":") if is_own(name) else (name, "", "")
    path = Path(module.replace("\\", "/"))
    stem = path.stem if path.suffix in (".py", ".npz") else path.name or "x"
    return f"{stem}-{function}" if colon else stem


def _resolved(path: str) -> str:
    try:
        return str(Path(path).resolve())
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or links in a circle
        return path
