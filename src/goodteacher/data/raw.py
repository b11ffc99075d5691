"""Raw inputs as a problem holds its own: pictures of any size fitted as a folder's are, vectors as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from goodteacher.base.errors import DataError
from goodteacher.base.input_spec import InputSpec
from goodteacher.data.decode import ENDINGS, as_seen, fitted, reason
from goodteacher.data.inputs import Inputs, Pictures, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image


def raw_inputs(values: Any, spec: InputSpec) -> Inputs:
    """Return raw inputs as examples of a problem.

    Args:
        values: for pictures an array ``(N, H, W)`` or ``(N, H, W, 1 or 3)`` of whole numbers from 0 to 255, or a sequence of
            such pictures, of files or of PIL images, each of any size; for vectors an array ``(N, D)``.
        spec: of the problem: its kind, size and channels.

    Returns:
        Inputs of the problem's own shape.

    Raises:
        DataError: if the values are something else.
    """
    return _pictures(values, spec) if spec.is_image else _vectors(values, spec)


def _vectors(values: Any, spec: InputSpec) -> Vectors:
    x = torch.as_tensor(np.asarray(values, dtype=np.float32))
    if x.dim() != 2 or tuple(x.shape[1:]) != spec.shape or len(x) == 0:
        raise DataError("inputs", rule=f"must be vectors (N, {spec.shape[0]})", received=f"shape {tuple(x.shape)}")
    found = Vectors(x)
    if bad := found.not_finite():
        raise DataError("inputs", rule="must be finite", received=f"NaN or infinity in {bad} of {len(x)} examples")
    return found


def _pictures(values: Any, spec: InputSpec) -> Pictures:
    channels, size = spec.shape[0], (spec.shape[1], spec.shape[2])
    whole = _array(values) if isinstance(values, np.ndarray | Tensor) else None
    if whole is not None and whole.shape[1:] == (*size, channels):
        return Pictures(torch.from_numpy(np.ascontiguousarray(whole)))
    if isinstance(values, str | Path):
        raise DataError("inputs", rule="must be a sequence of pictures", received=repr(values), remedy="give [path]")
    each: Iterable[Any] = values if whole is None else whole
    found = [_picture(value, size, channels) for value in each]
    if not found:
        raise DataError("inputs", rule="must hold at least one picture", received="none")
    return Pictures(torch.from_numpy(np.stack(found)))


def _picture(value: Any, size: tuple[int, int], channels: int) -> npt.NDArray[np.uint8]:
    from PIL import Image

    if isinstance(value, str | Path):
        return fitted(_decoded(Path(value)), size, channels)
    if isinstance(value, Image.Image):
        return fitted(value, size, channels)
    (array,) = _array(np.asarray(value)[None])
    return fitted(Image.fromarray(array if array.shape[-1] == 3 else array[..., 0]), size, channels)


def _decoded(path: Path) -> Image:
    """Return a file's picture as a viewer shows it."""
    if not path.is_file():
        raise DataError(f"picture '{path}'", rule="must be a file", received="nothing there")
    try:
        return as_seen(path)[0]
    except Exception as error:  # Pillow fails on damaged files in a dozen ways, from OSError to SyntaxError
        raise DataError(f"picture '{path}'", rule="must decode", received=reason(error, path)) from None


def _array(values: npt.NDArray[Any] | Tensor) -> npt.NDArray[np.uint8]:
    """Return pictures ``(N, H, W, 1 or 3)`` of uint8."""
    x = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    if x.ndim == 3:
        x = x[..., None]
    whole = x.dtype.kind in "iub" or (x.dtype.kind == "f" and bool((x == np.rint(x)).all()))
    in_range = x.size > 0 and whole and float(x.min()) >= 0 and float(x.max()) <= 255
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or not in_range:
        span = f" from {float(x.min()):g} to {float(x.max()):g}" if x.size and x.dtype.kind in "iubf" else ""
        raise DataError(
            "pictures",
            rule="must be whole numbers from 0 to 255, (N, H, W) or (N, H, W, 1 or 3)",
            received=f"{x.dtype} of shape {x.shape}{span}",
            remedy="give them as they are, not normalised: the network brings its own normalisation",
        )
    array: npt.NDArray[np.uint8] = x.astype(np.uint8)
    return array


def files_in(places: Sequence[Path]) -> list[Path]:
    """Return the picture files that places name: files as they are, folders with all that is in them, sorted.

    Raises:
        DataError: if a place does not exist, or holds no pictures.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(p for p in place.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
            if not inside:
                raise DataError(
                    f"folder '{place}'", rule="must hold pictures", received="none", remedy=", ".join(ENDINGS)
                )
            found += inside
        elif place.is_file():
            found.append(place)
        else:
            raise DataError(f"'{place}'", rule="must be a picture or a folder of pictures", received="nothing there")
    return found
