"""The source of a user's own code, hashed: what a name stands for may change while the name stays."""

from __future__ import annotations

import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

# Module to what it was loaded from and the hash of its source then: a file that changes later changes nothing in this process.
_LOADED: dict[str, tuple[object, str]] = {}


def code_of(found: Callable[..., Any]) -> str | None:
    """Return the hash of the source that decides what a function or class does: that of its whole module.

    Args:
        found: a user's own function or class, as it is in this process.

    Returns:
        16 hexadecimal digits, or None for what an installed package holds, whose version is in every run's environment.

    Example:
        >>> code_of(hashlib.sha256) is None
        True
    """
    module = sys.modules.get(getattr(found, "__module__", None) or "")
    if module is not None and _is_installed(module):
        return None
    if module is not None and module.__name__ != "__main__":
        loaded = _LOADED.get(module.__name__)
        if loaded is not None and loaded[0] is module.__spec__:
            return loaded[1]
    text = _text(module) or _text(found)
    # Where there is no source, a compiled module's file is what decides.
    content = text.encode() if text is not None else _file_of(module)
    if content is None:
        return None
    digest = hashlib.sha256(content).hexdigest()[:16]
    if module is not None and module.__name__ != "__main__":
        _LOADED[module.__name__] = (module.__spec__, digest)
    return digest


def _text(thing: object) -> str | None:
    """Return the source of a module, function or class, or None where there is none."""
    try:
        return inspect.getsource(thing)  # type: ignore[arg-type]
    except (OSError, TypeError):
        return None


def _file_of(module: ModuleType | None) -> bytes | None:
    """Return the bytes of the file a module was loaded from, or None where there is none."""
    file = getattr(module, "__file__", None)
    return Path(file).read_bytes() if file is not None and Path(file).is_file() else None


def _is_installed(module: ModuleType) -> bool:
    """Say whether a module belongs to Python or to an installed package."""
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ in sys.builtin_module_names
    places = {Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(place in Path(file).resolve().parents for place in places)
