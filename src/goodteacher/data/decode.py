"""One picture: decoded, and fitted to a size."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from goodteacher.base.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


def decoded(path: Path) -> Image:
    """Return a picture file as a viewer shows it.

    Raises:
        DataError: if it does not decode, with the reason.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path) as opened:
            warnings.simplefilter("ignore")  # about palettes and metadata, which do not touch the pixels
            return opened.convert("RGB")
    except Exception as error:  # Pillow fails on damaged files in a dozen ways, from OSError to SyntaxError
        raise DataError(f"picture '{path}'", rule="must decode", received=f"{type(error).__name__}: {error}") from None


def fitted(picture: Image, size: tuple[int, int], channels: int = 3) -> npt.NDArray[np.uint8]:
    """Return a picture that covers a size, cut to it around its centre.

    Args:
        picture: of any size.
        size: height and width in pixels.
        channels: 3 for colour, 1 for grey.

    Returns:
        ``(H, W, channels)`` uint8.
    """
    from PIL import Image

    picture = picture.convert("RGB" if channels == 3 else "L")
    height, width = size
    scale = max(height / picture.height, width / picture.width)
    covering = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    picture = picture.resize(covering, Image.Resampling.BILINEAR)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    array = np.asarray(picture.crop((left, top, left + width, top + height)))
    return array if channels == 3 else array[..., None]
