import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from goodteacher.data.decode import ENDINGS, SAID, as_seen, decode, reason

# Red and blue above, green and white below: every turn and mirroring of it is another picture.
CORNERS = np.array([[[255, 0, 0], [0, 0, 255]], [[0, 255, 0], [255, 255, 255]]], np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# What must be done to the stored rows to see the picture: the definition of the tag in EXIF 2.3.
TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: x[::-1].transpose(1, 0, 2),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: x.transpose(1, 0, 2)[::-1],
}


def seen(picture, path, **options):
    picture.save(path, **options)
    rgb, said = as_seen(path)
    assert rgb.mode == "RGB" and set(said) <= SAID.keys()
    return np.asarray(rgb).astype(int), said


def one(picture, path, **options):
    """Return the colour of a picture of one colour."""
    values, said = seen(picture, path, **options)
    assert (values == values[0, 0]).all()
    return values[0, 0].tolist(), said


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(("ending", "options"), [
    ("jpg", {"quality": 100, "subsampling": 0}), ("png", {}), ("webp", {"lossless": True}), ("tiff", {}),
    ("tiff", {"compression": "tiff_lzw"}),
])  # fmt: skip
def test_every_orientation_is_turned_upright(tmp_path, orientation, ending, options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = CORNERS.repeat(8, axis=0).repeat(16, axis=1)
    values, said = seen(Image.fromarray(stored), tmp_path / f"a.{ending}", exif=exif, **options)
    want = TURNS[orientation](stored).astype(int)
    assert values.shape == want.shape and abs(values - want).mean() < 3
    assert said == (("turned",) if orientation > 1 else ())


def test_a_turned_picture_is_cut_to_its_upright_centre(tmp_path):
    strip = np.zeros((32, 96, 3), np.uint8)
    for i in range(3):
        strip[:, 32 * i : 32 * (i + 1), i] = 255
    strip[:16] //= 2  # darker above
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(strip).save(tmp_path / "a.png", exif=exif)
    values, said = decode(tmp_path / "a.png", 32)
    assert values.shape == (32, 32, 3) and said == ("turned",)
    assert (values[:16] == [0, 255, 0]).all() and (values[16:] == [0, 127, 0]).all()


def test_exif_that_cannot_be_read_leaves_the_picture_as_it_is(tmp_path):
    whole = io.BytesIO()
    Image.new("RGB", (8, 8), (10, 20, 30)).save(whole, "PNG", exif=b"Exif\0\0nothing of the kind, whatever follows")
    (tmp_path / "a.png").write_bytes(whole.getvalue())
    rgb, said = as_seen(tmp_path / "a.png")
    assert rgb.getpixel((0, 0)) == (10, 20, 30) and said == ("exif",)


def palette(**colours):
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    return picture


@pytest.mark.parametrize(
    ("picture", "name", "options", "colour"),
    [
        (Image.new("RGBA", (8, 8), (200, 0, 0, 0)), "a.png", {}, [255, 255, 255]),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 51)), "a.png", {}, [204, 204, 204]),
        (Image.new("RGBA", (8, 8), (200, 0, 0, 0)), "a.tiff", {}, [255, 255, 255]),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 51)), "a.webp", {"lossless": True}, [204, 204, 204]),
        (Image.new("LA", (8, 8), (0, 51)), "a.png", {}, [204, 204, 204]),
        (palette(), "a.png", {"transparency": 1}, [255, 255, 255]),
        (palette(), "a.gif", {"transparency": 1}, [255, 255, 255]),
        (palette(), "a.png", {"transparency": b"\xff\x00"}, [255, 255, 255]),
        (Image.new("RGB", (8, 8), (1, 2, 3)), "a.png", {"transparency": (1, 2, 3)}, [255, 255, 255]),
        (Image.new("L", (8, 8), 7), "a.png", {"transparency": 7}, [255, 255, 255]),
    ],
)
def test_what_is_transparent_is_laid_on_white(tmp_path, picture, name, options, colour):
    assert one(picture, tmp_path / name, **options) == (colour, ("white",))


def test_an_opaque_alpha_channel_says_nothing(tmp_path):
    assert one(Image.new("RGBA", (8, 8), (9, 8, 7, 255)), tmp_path / "a.png") == ([9, 8, 7], ())
    assert one(palette(), tmp_path / "b.png", transparency=0) == ([40, 50, 60], ())


def test_transparent_greys_of_sixteen_bits(tmp_path):
    # Pillow writes no such file: a grey PNG of 16 bits with the key 40000.
    values = np.array([[40000, 65535], [0, 257]], np.uint16)
    plain = io.BytesIO()
    Image.fromarray(values).save(plain, "PNG")
    whole, at = plain.getvalue(), plain.getvalue().index(b"IDAT") - 4
    body = b"tRNS" + struct.pack(">H", 40000)
    (tmp_path / "a.png").write_bytes(
        whole[:at] + struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body)) + whole[at:]
    )
    rgb, said = as_seen(tmp_path / "a.png")
    assert np.asarray(rgb)[..., 0].tolist() == [[255, 255], [0, 1]] and said == ("16 bits", "white")


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.pgm"])
def test_sixteen_bits_of_grey_are_scaled_and_not_clipped(tmp_path, name):
    values = np.array([[0, 128, 129], [257, 40000, 65535]], np.uint16)
    got, said = seen(Image.fromarray(values), tmp_path / name)
    assert got[..., 0].tolist() == [[0, 0, 1], [1, 156, 255]] and said == ("16 bits",)


def tiff(path, values, bits, width, photometric=1, sample=1):
    """Write a grey TIFF of one row as Pillow cannot."""
    data = values.tobytes()
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 1)]
    tags += [(279, len(data)), (339, sample)]
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + table + bytes(4))


@pytest.mark.parametrize(
    ("values", "options", "want", "kind"),
    [
        (np.array([0, 65535], "<u2"), {"bits": 16, "photometric": 0}, [255, 0], "16 bits"),
        (np.array([0, 32767], "<i2"), {"bits": 16, "sample": 2}, [0, 255], "15 bits"),
        (np.array([0, 2**31, 2**32 - 1], "<u4"), {"bits": 32}, [0, 128, 255], "32 bits"),
        (np.array([0, 2**30, 2**31 - 1], "<i4"), {"bits": 32, "sample": 2}, [0, 128, 255], "32 bits"),
        (np.array([0, 40000, 65535], "<i4"), {"bits": 32, "sample": 2}, [0, 156, 255], "16 bits"),
        (np.array([0x00, 0x0F, 0xFF], "u1"), {"bits": 12}, [0, 255], "12 bits"),  # two greys in three bytes: 0, 4095
    ],
)
def test_deep_greys_of_tiff(tmp_path, values, options, want, kind):
    tiff(tmp_path / "a.tif", values, width=len(want), **options)
    rgb, said = as_seen(tmp_path / "a.tif")
    assert np.asarray(rgb)[0, :, 1].tolist() == want and said == (kind,)


def test_greys_that_say_no_scale_are_refused_with_the_reason(tmp_path):
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match="floating-point values, of which no file says what is black"):
        as_seen(tmp_path / "f.tiff")
    Image.fromarray(np.full((8, 8), -5, np.int32)).save(tmp_path / "n.tiff")
    with pytest.raises(ValueError, match="grey values down to -5, and black is 0; add an offset"):
        as_seen(tmp_path / "n.tiff")


def test_sixteen_bits_of_colour_are_scaled(tmp_path):
    row = b"\0" + struct.pack(">6H", 0, 257, 65535, 40000, 128, 30000)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b""))
    file = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    (tmp_path / "a.png").write_bytes(file)
    values = np.asarray(as_seen(tmp_path / "a.png")[0]).astype(int)
    assert abs(values.ravel() - np.array([0, 1, 255, 155.6, 0.5, 116.7])).max() < 1


@pytest.mark.parametrize(
    ("picture", "name", "colour"),
    [
        (Image.new("1", (8, 8), 1), "a.png", [255, 255, 255]),
        (Image.new("1", (8, 8), 1), "a.tiff", [255, 255, 255]),
        (Image.new("L", (8, 8), 90), "a.jpg", [90, 90, 90]),
        (palette(), "a.bmp", [40, 50, 60]),
        (palette(), "a.gif", [40, 50, 60]),
        (Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "a.jpg", [0, 255, 255]),
        (Image.new("CMYK", (8, 8), (0, 0, 255, 0)), "a.tif", [255, 255, 0]),
        (Image.new("RGB", (8, 8), (5, 6, 7)), "a.ppm", [5, 6, 7]),
        (Image.new("YCbCr", (8, 8), (90, 128, 128)), "a.tiff", [90, 90, 90]),
    ],
)
def test_colours_of_every_kind(tmp_path, picture, name, colour):
    assert one(picture, tmp_path / name) == (colour, ())


def test_lab_is_converted(tmp_path):
    values, _ = one(Image.new("LAB", (8, 8), (255, 128, 128)), tmp_path / "a.tiff")
    assert min(values) >= 253  # L* of 100 without colour is white
    red, _ = one(Image.new("LAB", (8, 8), (136, 208, 195)), tmp_path / "b.tiff")
    assert red[0] > 240 and max(red[1:]) < 40


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff"])
def test_a_colour_profile_is_applied(tmp_path, ending):
    # sRGB with the primaries of red and green exchanged, which Pillow would read as if they were not.
    swapped = SRGB.replace(b"rXYZ", b"0XYZ", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"0XYZ", b"gXYZ", 1)
    options = {"quality": 100} if ending == "jpg" else {"lossless": True} if ending == "webp" else {}
    values, said = one(
        Image.new("RGB", (8, 8), (200, 40, 90)), tmp_path / f"a.{ending}", icc_profile=swapped, **options
    )
    assert abs(np.array(values) - [40, 200, 90]).max() <= 3 and said == ("profile",)
    values, said = one(Image.new("RGB", (8, 8), (200, 40, 90)), tmp_path / f"b.{ending}", icc_profile=SRGB, **options)
    assert abs(np.array(values) - [200, 40, 90]).max() <= 1 and said == ()


def grey_profile(gamma):
    """Return an ICC profile of grey by a power."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", round(0.9642 * 65536), 65536, round(0.8249 * 65536))
    start = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2) + b"wtpt" + struct.pack(">II", start, 20) + b"kTRC" + struct.pack(">II", start + 20, 16)
    size = start + 20 + 16
    head = struct.pack(">I4sI4s4s4s12x4s", size, b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    head += bytes(28) + struct.pack(">3i", round(0.9642 * 65536), 65536, round(0.8249 * 65536))
    return head.ljust(128, b"\0") + tags + white + curve


def test_a_profile_of_grey_is_applied(tmp_path):
    # 55 / 255 of the light is 0.5 of sRGB's scale.
    for picture in (Image.new("L", (8, 8), 55), Image.new("LA", (8, 8), (55, 255))):
        values, said = one(picture, tmp_path / "a.png", icc_profile=grey_profile(1.0))
        assert abs(np.array(values) - 128).max() <= 2 and said == ("profile",)
    values, said = one(Image.new("LA", (8, 8), (55, 0)), tmp_path / "b.png", icc_profile=grey_profile(1.0))
    assert values == [255] * 3 and said == ("profile", "white")


@pytest.mark.parametrize("profile", [b"no profile at all", SRGB[:200], grey_profile(1.0)])
def test_a_profile_that_does_not_fit_is_passed_over_and_said(tmp_path, profile):
    assert one(Image.new("RGB", (8, 8), (200, 40, 90)), tmp_path / "a.png", icc_profile=profile) == (
        [200, 40, 90],
        ("no profile",),
    )


@pytest.mark.parametrize("ending", ["gif", "webp", "tiff", "png"])
def test_of_several_frames_the_first_is_taken_and_it_is_said(tmp_path, ending):
    first, *more = (Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue"))
    options = {"lossless": True} if ending == "webp" else {}
    assert one(first, tmp_path / f"a.{ending}", save_all=True, append_images=more, **options) == (
        [255, 0, 0],
        ("frames",),
    )


def test_too_many_pixels_are_refused_by_a_limit_of_ones_own(tmp_path, monkeypatch):
    Image.new("1", (15000, 15000)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"15000x15000 pixels, more than the 178956970 .*raise option most_pixels"):
        as_seen(tmp_path / "a.png")
    Image.new("L", (20, 20)).save(tmp_path / "b.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(tmp_path / "b.png", 8, 400)[0].shape == (8, 8, 3) and Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(ValueError, match="20x20 pixels, more than the 399"):
        decode(tmp_path / "b.png", 8, 399)


def test_reasons_are_pillows_words_without_the_path(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, "JPEG")
    files = {
        "empty.jpg": b"",
        "text.png": b"<html>",
        "half.jpg": whole.getvalue()[:3000],
        "ps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    }
    said = {}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Exception) as caught:
            as_seen(tmp_path / name)
        said[name] = reason(caught.value, tmp_path / name)
    assert said["empty.jpg"] == "an empty file"
    assert said["text.png"] == said["ps.jpg"] == "cannot identify image file"
    assert said["half.jpg"].startswith("image file is truncated")


def test_every_ending_is_one_that_pillow_knows():
    Image.init()
    assert set(ENDINGS) <= Image.EXTENSION.keys()
