"""One picture file as a viewer shows it: upright, in sRGB, on white, with 8 bits a channel."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MOST_PIXELS = 178_956_970  # Pillow refuses larger pictures as possible decompression bombs

# What was done to a picture beyond reading its numbers, in the words of a note.
SAID = {
    "turned": "turned upright as their EXIF orientation says",
    "exif": "with EXIF data that cannot be read, taken as upright",
    "profile": "brought from their colour profile to sRGB",
    "no profile": "with a colour profile that is damaged or not theirs, which is passed over",
    "white": "with transparent parts, laid on white",
    "frames": "with several frames or pages, of which the first is taken",
    "16 bits": "of more than 8 bits of grey, scaled down as 16 bits (65535 is white)",
    "15 bits": "of 16 bits of grey with a sign, scaled down (32767 is white)",
    "12 bits": "of 12 bits of grey, scaled down (4095 is white)",
    "32 bits": "of 32 bits of grey, scaled down by the largest number the file can hold",
}

# What a file may hold, whatever its ending: not PostScript, which Pillow would hand to another program to run.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT, _ORIENTATION = 262, 258, 339, 274  # tags of TIFF and EXIF


def decode(path: Path, size: int, most_pixels: int = MOST_PIXELS) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Read a picture as it is seen, bring its shorter side to a size and cut out the centre.

    Args:
        path: the file.
        size: height and width of the result, in pixels.
        most_pixels: a picture of more is refused before it is unpacked.

    Returns:
        ``(size, size, 3)`` uint8, and what was done to it, keys of `SAID`.

    Raises:
        Exception: of any kind, from Pillow, for a damaged file; `reason` puts it into words.
    """
    picture, said = as_seen(path, most_pixels)
    return fitted(picture, (size, size)), said


def fitted(picture: Picture, size: tuple[int, int], channels: int = 3) -> npt.NDArray[np.uint8]:
    """Return a picture scaled to cover a size, and cut to it around its centre.

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


def as_seen(path: Path, most_pixels: int = MOST_PIXELS) -> tuple[Picture, tuple[str, ...]]:
    """Return a file's picture in its own size as a viewer shows it, in mode RGB, and what was done to it."""
    from PIL import Image

    with warnings.catch_warnings(), _no_limit():
        warnings.simplefilter("ignore")  # about palettes and metadata, which do not touch the pixels
        with Image.open(path, formats=_formats()) as opened:
            width, height = opened.size
            if width * height > most_pixels:
                raise ValueError(
                    f"{width}x{height} pixels, more than the {most_pixels} that guard against decompression bombs "
                    "(raise option most_pixels if the file is to be trusted)"
                )
            said = ["frames"] if getattr(opened, "is_animated", False) else []
            opened.seek(0)
            upright, turned = _upright(opened)
            return _plain(upright, opened, [*said, *turned])


def reason(error: Exception, path: Path) -> str:
    """Return why a picture does not decode, in Pillow's own words but without the path, so that equal reasons are equal."""
    if path.stat().st_size == 0:
        return "an empty file"
    text = re.sub(r"\s+", " ", str(error).replace(repr(str(path)), "").replace(str(path), "")).strip(" :")
    return text or type(error).__name__


@functools.cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextmanager
def _no_limit() -> Iterator[None]:
    """Lift Pillow's own limit, which is a global and warns at half of where it refuses; ours stands in its place."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _upright(opened: Picture) -> tuple[Picture, list[str]]:
    from PIL import ImageOps

    try:
        # Asked before loading: Pillow turns a TIFF by itself while it loads, and then forgets why.
        turned = opened.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # damaged EXIF fails in as many ways as damaged pictures
        opened.load()
        return opened, ["exif"]
    opened.load()
    return ImageOps.exif_transpose(opened), ["turned"] if turned else []


def _plain(picture: Picture, opened: Picture, said: list[str]) -> tuple[Picture, tuple[str, ...]]:
    """Return a loaded picture in RGB: 8 bits, its profile applied, what is transparent on white."""
    from PIL import Image

    profile, alpha = picture.info.get("icc_profile"), None
    if picture.mode.startswith("F"):
        raise ValueError(
            "floating-point values, of which no file says what is black and what is white; write it with 8 or 16 bits"
        )
    if picture.mode.startswith("I"):
        picture, alpha, kind = _eight_bits(picture, opened)
        said.append(kind)
    elif picture.mode == "LAB":
        return _from_lab(picture), tuple(said)
    elif picture.has_transparency_data:
        grey = picture.mode in ("1", "L", "LA", "La")
        with_alpha = _scaled_key(picture).convert("RGBA")
        alpha, picture = with_alpha.getchannel("A"), with_alpha.convert("L" if grey else "RGB")
    if picture.mode not in ("L", "RGB", "CMYK"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    picture, kinds = _in_srgb(picture, profile)
    said += kinds
    if alpha is not None and np.asarray(alpha).min() < 255:
        picture = Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha)
        said.append("white")
    return picture, tuple(said)


def _eight_bits(picture: Picture, opened: Picture) -> tuple[Picture, Picture | None, str]:
    """Return grey of 12, 16 or 32 bits as 8 bits, its mask where one grey is transparent, and the kind for `SAID`."""
    from PIL import Image

    values: npt.NDArray[Any] = np.asarray(picture)
    tags = getattr(opened, "tag_v2", {})
    unsigned = _first(tags.get(_SAMPLE_FORMAT, 1)) == 1
    if picture.mode == "I" and tags and unsigned:
        values = values.view(np.uint32)
    values = values.astype(np.int64)
    if values.min() < 0:
        raise ValueError(f"grey values down to {values.min()}, and black is 0; add an offset and write it with 16 bits")
    kind, white = "16 bits", 65535
    if (bits := _first(tags.get(_BITS, 0))) == 12:
        kind, white = "12 bits", 4095
    elif bits == 16 and not unsigned:
        kind, white = "15 bits", 32767
    elif values.max() > 65535:
        kind, white = "32 bits", 2**32 - 1 if unsigned else 2**31 - 1
    key = picture.info.get("transparency")
    alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)) if isinstance(key, int) else None
    if _first(tags.get(_PHOTOMETRIC, 1)) == 0:
        values = white - values
    return Image.fromarray(np.round(values * (255 / white)).astype(np.uint8)), alpha, kind


def _first(tag: Any) -> Any:
    return tag[0] if isinstance(tag, tuple) else tag


def _scaled_key(picture: Picture) -> Picture:
    """Scale the transparent colour of a picture of 16 bits a channel, which Pillow scales all else of."""
    key = picture.info.get("transparency")
    if picture.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        picture = picture.copy()
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    return picture


def _from_lab(picture: Picture) -> Picture:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return _applied(ImageCms.buildTransform(lab, srgb, "LAB", "RGB"), picture)


def _in_srgb(picture: Picture, profile: bytes | None) -> tuple[Picture, list[str]]:
    """Return grey, RGB or CMYK in sRGB; a profile that does not fit is passed over, as viewers do."""
    if not profile:
        return picture.convert("RGB"), []
    from PIL import ImageCms

    try:
        transform = _transform(profile, picture.mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture.convert("RGB"), ["no profile"]
    if transform is None:
        return picture.convert("RGB"), []
    return _applied(transform, picture), ["profile"]


def _applied(transform: Any, picture: Picture) -> Picture:
    from PIL import ImageCms

    changed = ImageCms.applyTransform(picture, transform)
    assert changed is not None  # which it is for a change in place only
    return changed


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> Any:
    """Return what brings colours of a profile to sRGB, or None where it would move none of them by more than 2 of 255."""
    import io

    from PIL import Image, ImageCms

    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB"
    )
    if mode == "CMYK":
        return transform
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    cube = steps[:, None] if mode == "L" else np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(17, -1, 3)
    some = Image.fromarray(cube)
    seen, plain = (np.asarray(p).astype(int) for p in (_applied(transform, some), some.convert("RGB")))
    return None if np.abs(seen - plain).max() <= 2 else transform
