"""One exception root, and the checks of plain values that raise it; it imports no torch, so that a typo is answered at once.

Every message names what is wrong, the rule, what was received and what to do, in one sentence a person can act on.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class GoodteacherError(Exception):
    """Root of everything goodteacher raises on purpose; the command line prints it and exits with 2.

    Attributes:
        at: the keys that lead to what is wrong in a user's mapping, where that is known.
    """

    at: tuple[str | int, ...] = ()

    def __init__(self, what: str, *, rule: str = "", received: object = None, remedy: str = "") -> None:
        self.what, self.rule, self.received, self.remedy = what, rule, received, remedy
        parts = [what]
        if rule:
            parts.append(f": {rule}")
        if received is not None:
            parts.append(f", got {received}")
        if remedy:
            parts.append(f"; {remedy}")
        text = "".join(parts)
        super().__init__(text if text.endswith(("?", ".")) else text + ".")


class ConfigError(GoodteacherError, ValueError):
    """A name, key or option that cannot be used as given."""


class DataError(GoodteacherError, ValueError):
    """Data that are missing, damaged or do not fit their description."""


class ShapeError(GoodteacherError, ValueError):
    """A tensor of the wrong shape, type or range."""


class TrainingError(GoodteacherError, RuntimeError):
    """Training that cannot go on: a loss that is not finite, a model that does not fit its data."""


class ExportError(GoodteacherError, RuntimeError):
    """An exported file that cannot be made, or does not answer as its network does."""


class StoreError(GoodteacherError, OSError):
    """A run folder that cannot be read or written."""


MOST_SHOWN = 40  # names in a message: more than there are models, fewer than a store has runs


def suggest(name: str, options: Iterable[str]) -> str:
    """Return a remedy for a misspelt name: the nearest option, or all of them.

    Args:
        name: what the user wrote.
        options: what would have been accepted.

    Returns:
        Text for ``remedy``.

    Example:
        >>> suggest("brierr", ["brier", "focal"])
        "did you mean 'brier'?"
    """
    known = sorted(options)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    more = f" and {len(known) - MOST_SHOWN} more" if len(known) > MOST_SHOWN + 1 else ""
    return f"choose one of: {', '.join(known[:MOST_SHOWN] if more else known)}{more}"


def check_choice(what: str, value: str, options: Iterable[str]) -> None:
    """Raise `ConfigError` unless ``value`` is one of ``options``."""
    known = list(options)
    if value not in known:
        raise ConfigError(what, rule="must be a known name", received=repr(value), remedy=suggest(str(value), known))


def check_range(
    what: str,
    value: float,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise `ConfigError` unless ``value`` is a finite number in the interval from ``low`` to ``high``."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    above = is_number and (value > low if open_low else value >= low)
    below = is_number and (value < high if open_high else value <= high)
    if not (above and below):
        left, right = ("(" if open_low else "["), (")" if open_high else "]")
        raise ConfigError(what, rule=f"must be a number in {left}{low:g}, {high:g}{right}", received=repr(value))
