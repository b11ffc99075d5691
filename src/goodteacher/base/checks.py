"""Checks of tensors: shape and type always, values unless the training loop watches them itself."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import torch
from torch import Tensor

from goodteacher.base.errors import ShapeError

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
