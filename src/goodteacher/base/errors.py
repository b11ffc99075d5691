"""One exception root, and the checks that raise it.

Every message names what is wrong, the rule, what was received and what to do, in one sentence a person can act on.
"""

from __future__ import annotations

import contextlib
import contextvars
import difflib
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


class GoodteacherError(Exception):
    """Root of everything goodteacher raises on purpose; the command line prints it and exits with 2."""

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


_values_are_trusted: contextvars.ContextVar[bool] = contextvars.ContextVar("values_are_trusted", default=False)


@contextlib.contextmanager
def trusted_values() -> Iterator[None]:
    """Skip checks of tensor *values* inside the block; shapes and types are still checked.

    The training loop watches every loss itself and names the part that broke, so a second look at every tensor
    would only cost a synchronisation with the device per loss.
    """
    token = _values_are_trusted.set(True)
    try:
        yield
    finally:
        _values_are_trusted.reset(token)


def values_are_trusted() -> bool:
    """Say whether value checks are switched off here (see `trusted_values`)."""
    return _values_are_trusted.get()


def check_finite(**tensors: Tensor) -> None:
    """Raise `ShapeError` if a named tensor holds NaN or infinity."""
    if values_are_trusted():
        return
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise ShapeError(
                name,
                rule="must be finite",
                received=f"{bad} of {tensor.numel()} entries NaN or infinite",
                remedy="look for a diverged model or NaN in the inputs",
            )


def check_float(**tensors: Tensor) -> None:
    """Raise `ShapeError` unless every named tensor is floating point and finite."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ShapeError(name, rule="must be a floating-point tensor", received=kind)
    check_finite(**tensors)


def check_logits(**tensors: Tensor) -> None:
    """Raise `ShapeError` unless every named tensor is float, finite and ``(N, C)`` with N ≥ 1, C ≥ 2, all alike."""
    check_float(**tensors)
    for name, tensor in tensors.items():
        if tensor.dim() != 2 or tensor.shape[0] < 1 or tensor.shape[1] < 2:
            raise ShapeError(
                name, rule="must have shape (N, C) with N >= 1 and C >= 2", received=f"shape {tuple(tensor.shape)}"
            )
    check_same_shape(**tensors)


def check_same_shape(**tensors: Tensor) -> None:
    """Raise `ShapeError` unless all named tensors share one shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        names = " and ".join(shapes)
        got = " and ".join(str(s) for s in shapes.values())
        remedy = ""
        if all(len(s) == 2 for s in shapes.values()) and len({s[1] for s in shapes.values()}) > 1:
            remedy = "teacher and student must be trained for the same classes"
        raise ShapeError(names, rule="must have the same shape", received=got, remedy=remedy)


def check_labels(labels: Tensor, *, examples: int, classes: int) -> None:
    """Raise `ShapeError` unless ``labels`` is ``(N,)`` int64 with values in ``[0, classes)``."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or tuple(labels.shape) != (examples,):
        got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ShapeError("labels", rule=f"must be an int64 tensor of shape ({examples},)", received=got)
    if values_are_trusted() or examples == 0:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ShapeError("labels", rule=f"must lie in [0, {classes - 1}]", received=f"values from {low} to {high}")


def check_simplex(tolerance: float = 1e-3, **tensors: Tensor) -> None:
    """Raise `ShapeError` unless every row of every named tensor is a probability distribution."""
    check_float(**tensors)
    if values_are_trusted():
        return
    for name, tensor in tensors.items():
        total = tensor.double().sum(dim=-1)
        if float(tensor.min()) < -tolerance or float((total - 1).abs().max()) > tolerance:
            raise ShapeError(
                name,
                rule="every row must be non-negative and sum to 1",
                received=f"minimum {float(tensor.min()):.4g}, row sums {float(total.min()):.4g} to {float(total.max()):.4g}",
                remedy="normalise the rows, or pass logits where logits are expected",
            )
