"""goodteacher trains the teacher your student needs.

    import goodteacher as gt
    problem = gt.load("digits")
    teacher = gt.teach("mlp", problem, objective="brier")
    student = gt.distill("mlp", problem, teacher, method="kd")

Importing the package is light: nothing heavy is loaded before a name is used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load": "goodteacher.data.sources",
    "Problem": "goodteacher.data.problem",
    "teach": "goodteacher.api",
    "distill": "goodteacher.api",
    "rank": "goodteacher.api",
    "export": "goodteacher.ship.export",
    "choose_teacher": "goodteacher.automatic",
    "run_study": "goodteacher.api",
    "Run": "goodteacher.study.run",
    "Teacher": "goodteacher.study.import_weights",
    "Store": "goodteacher.study.store",
    "Taps": "goodteacher.models.taps",
    "TappedModel": "goodteacher.models.taps",
    "GoodteacherError": "goodteacher.base.errors",
}

__all__ = [*sorted(_HOMES), "__version__", "losses"]  # noqa: PLE0604 - names of _HOMES


def __getattr__(name: str) -> Any:
    if name == "losses":
        return importlib.import_module("goodteacher.losses")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'goodteacher' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
