"""Single arrays of a user's as tensors; what does not fit is answered by what its values are, and not by its type alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from goodteacher.base.errors import DataError

_IMAGES = "uint8 images (N, H, W) or (N, H, W, 1 or 3)"
# What an array of Python objects is to be written as, by the beginning of its name.
_PLAIN = {"x": "'uint8' (pictures) or 'float32' (vectors)", "y": "'int64'", "p": "'float32'", "votes": "'int64'"}


def read_inputs(arrays: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return ``x_train``, ``x_test`` and, where there is one, ``x_val``, and what was done to them.

    All are judged together, because one scale holds for all: a test picture may happen to be dark.

    Returns:
        Name to ``(N, D)`` float32 or ``(N, H, W, C)`` uint8, and notes.

    Raises:
        DataError: for arrays that are neither vectors nor pictures, or pictures whose numbers do not go from 0 to 255 or 65535.
    """
    given = {key: read_array(arrays[key], key) for key in ("x_train", "x_val", "x_test") if key in arrays}
    found: dict[str, Tensor] = {}
    pictures: dict[str, npt.NDArray[Any]] = {}
    for key, x in given.items():
        if x.dtype.kind not in "fiub":
            raise DataError(key, rule="must hold numbers", received=_type(x))
        if x.ndim == 2:
            with np.errstate(over="ignore"):  # a value too large for float32 turns infinite, and is refused as such
                found[key] = torch.from_numpy(x.astype(np.float32))
        else:
            pictures[key] = _laid_out(x, key)
    scaled, notes = _bytes(pictures)
    return found | {key: _tensor(x) for key, x in scaled.items()}, notes


def read_labels(values: Any, key: str) -> Tensor:
    """Return ``(N,)`` int64 class numbers; a column ``(N, 1)`` is taken as a vector, whole numbers in floats as whole."""
    y = read_array(values, key)
    rule = "must be a vector of integer class numbers"
    if y.ndim > 1 and y.shape[0] == y.size:
        y = y.reshape(-1)
    if y.dtype.kind in "US" and y.size:
        remedy = f"number the classes of all splits alike: names = np.unique(y_train), np.searchsorted(names, {key})"
        raise DataError(key, rule=rule, received=f"{y.dtype} such as {y.flat[0]!r}", remedy=remedy)
    if y.ndim != 1 or y.dtype.kind not in "fiub":
        raise DataError(key, rule=rule, received=_type(y), remedy=_table_remedy(y, key) if y.ndim == 2 else "")
    if y.dtype.kind == "f" or y.dtype == np.uint64:
        wide = y.astype(np.float64)
        odd = np.flatnonzero(~np.isfinite(wide) | (wide != np.floor(wide)) | (np.abs(wide) > 2**53))
        if odd.size:
            row = int(odd[0])
            more = f" (and {odd.size - 1} rows more)" if odd.size > 1 else ""
            remedy = "give one whole number for each example"
            raise DataError(key, rule=rule, received=f"{y[row]} in row {row}{more}", remedy=remedy)
    return _tensor(y.astype(np.int64))


def read_table(arrays: Mapping[str, Any], key: str, rows: int) -> Tensor | None:
    """Return ``(N, C)`` probabilities or votes, or None where there are none; half precision stays what it is."""
    if key not in arrays:
        return None
    half = isinstance(arrays[key], Tensor) and arrays[key].dtype == torch.bfloat16
    table = read_array(arrays[key], key)
    if table.dtype.kind not in "fiub" or table.ndim != 2 or len(table) != rows:
        raise DataError(key, rule=f"must be numbers of shape ({rows}, C)", received=_type(table))
    bad = np.argwhere(~np.isfinite(table) | (table < 0))
    if bad.size:
        row, column = bad[0].tolist()
        received = f"{table[row, column]} in row {row}, column {column}"
        raise DataError(key, rule="must be finite and not negative", received=received)
    read = torch.from_numpy(table.astype(np.float16 if table.dtype == np.float16 else np.float32))
    return read.to(torch.bfloat16) if half else read


def read_array(values: Any, key: str) -> npt.NDArray[Any]:
    """Return an array of numbers or text, of whatever holds them: lists, arrays, tensors.

    Raises:
        DataError: for lists of unequal lengths, and for arrays of Python objects.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(key, rule="must be an array", received=f"{type(error).__name__}: {error}") from error
    if array.dtype.kind == "O":
        raise objects(key)
    return array


def objects(key: str, where: str = "") -> DataError:
    """Return the error of an array of Python objects, which only unpickling would read."""
    plain = "str" if key == "class_names" else _PLAIN.get(key.partition("_")[0], "'float32'")
    return DataError(
        f"array '{key}'{where}",
        rule="must hold plain numbers or text",
        received="Python objects (dtype object)",
        remedy=f"write it as {key}.astype(...) of {plain}, or as np.stack(list({key})) if each entry is an array",
    )


def _type(x: npt.NDArray[Any]) -> str:
    return f"{x.dtype} of shape {x.shape}"


def _table_remedy(y: npt.NDArray[Any], key: str) -> str:
    """Return what to do with labels of two dimensions, by what their rows are."""
    if y.shape[0] == 1:
        return f"give {key}.ravel()"
    if y.dtype.kind not in "fiub" or not y.size:
        return "give one class number for each example"
    bits = ((y == 0) | (y == 1)).all()
    sums = y.sum(axis=1, dtype=np.float64)
    if bits and (sums == 1).all():
        return f"give {key}.argmax(axis=1), as each row has a single 1"
    if bits:
        return f"one example may have one class, and row {int(np.flatnonzero(sums != 1)[0])} has {sums[sums != 1][0]:g}"
    if (y >= 0).all() and (np.abs(sums - 1) < 0.02).all():
        return f"they are probabilities: give them as {key.replace('y_', 'p_', 1)} and their argmax(axis=1) as {key}"
    return "give one class number for each example: the column that holds it"


def _laid_out(x: npt.NDArray[Any], key: str) -> npt.NDArray[Any]:
    """Return pictures with their channels last."""
    if x.ndim not in (3, 4):
        raise DataError(key, rule=f"must hold {_IMAGES}, or vectors (N, D)", received=_type(x))
    x = x[..., None] if x.ndim == 3 else x
    if x.shape[-1] not in (1, 3):
        remedy = "move the channels last: x.transpose(0, 2, 3, 1)" if x.shape[1] in (1, 3) else "drop extra channels"
        raise DataError(key, rule=f"must hold {_IMAGES}", received=_type(x), remedy=remedy)
    return x


def _bytes(pictures: dict[str, npt.NDArray[Any]]) -> tuple[dict[str, npt.NDArray[Any]], tuple[str, ...]]:
    """Return pictures with numbers from 0 to 255: those of other whole types are taken so or scaled, by their range."""
    other = {key: x for key, x in pictures.items() if x.dtype != np.uint8 and x.size}
    if not other:
        return {key: x.astype(np.uint8) for key, x in pictures.items()}, ()
    kinds = "".join(x.dtype.kind for x in other.values())
    low, high = min(float(x.min()) for x in other.values()), max(float(x.max()) for x in other.values())
    key, first = next(iter(other.items()))
    ranges = f"{', '.join(other)} of {first.dtype} with values from {low:g} to {high:g}"
    if "f" in kinds or "b" in kinds or low < 0 or high > 65535:
        raise DataError(
            key, rule=f"must hold {_IMAGES}", received=ranges, remedy=_picture_remedy(first, kinds, low, high)
        )
    if high <= 255:
        taken = {key: x.astype(np.uint8) for key, x in pictures.items()}
        return taken, (f"pictures in {ranges}, taken as they are, with 255 as white",)
    if len(other) < len(pictures):
        rule = "must lie on one scale in all splits"
        received = f"{ranges} beside {', '.join(pictures.keys() - other.keys())} of uint8"
        raise DataError("pictures", rule=rule, received=received, remedy="bring all to 0..255")
    # round(x / 257) in whole numbers: 65535 becomes 255
    scaled = {key: ((x.astype(np.uint32) + 128) // 257).astype(np.uint8) for key, x in pictures.items()}
    return scaled, (f"pictures in {ranges}, scaled down as 16 bits, with 65535 as white",)


def _picture_remedy(x: npt.NDArray[Any], kinds: str, low: float, high: float) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return "replace NaN and infinity first"
    if "b" in kinds and "f" not in kinds:
        return "give x.astype('uint8') * 255"
    if low < 0 and x.dtype == np.int8:
        return "give x.view('uint8') if bytes were read with a sign, (x.astype(int) + 128).astype('uint8') if 128 was taken off"
    if low < 0 and x.dtype == np.int16:
        return "give x.view('uint16') if 16 bits were read with a sign, or undo the normalisation"
    if low < -1e-3:
        scale = "((x + 1) * 127.5).round().astype('uint8') if it was to [-1, 1], " if low >= -1 and high <= 1 else ""
        return f"undo the normalisation: give {scale}(x * std + mean) in 0..255, rounded, .astype('uint8')"
    if high <= 1.001:
        return "give (x * 255).round().clip(0, 255).astype('uint8')"
    if high <= 255:
        return "give x.round().clip(0, 255).astype('uint8')"
    if high <= 65535:
        return "give (x / 257).round().astype('uint8') if 65535 is white"
    return f"give (x * (255 / white)).round().astype('uint8'), where white is the largest number possible, {high:g} or more"


def _tensor(x: npt.NDArray[Any]) -> Tensor:
    x = np.ascontiguousarray(x)
    return torch.from_numpy(x if x.flags.writeable else x.copy())
