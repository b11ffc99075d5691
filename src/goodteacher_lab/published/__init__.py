"""What the papers printed, one YAML file per source, as it stands there."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def published(name: str) -> dict[str, Any]:
    """Return a source's figures, to be read and not to be changed.

    Args:
        name: of a file beside this one.

    Example:
        >>> published("nagarajan2023")["counts"]["test"]
        '18 of 18 vision settings'
    """
    found: dict[str, Any] = yaml.safe_load(files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    return found
