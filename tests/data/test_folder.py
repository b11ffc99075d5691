import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from goodteacher.base.errors import ConfigError, DataError
from goodteacher.data import cache as module
from goodteacher.data.folder import folder_problem

COLOURS = {"cat": (200, 30, 30), "dog": (30, 200, 30), "emu": (30, 30, 200)}


def write(path, colour, size=(40, 32), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)


def fill(root, count, classes=COLOURS):
    for name in classes:
        for i in range(count):
            write(root / name / f"{i:02d}{('.jpg', '.png', '.JPEG')[i % 3]}", COLOURS[name])


def means(split):
    return split.inputs.tensor.double().mean(dim=(1, 2))


def check_colours(split):
    """Every picture has its class's colour, so rows and labels belong together (JPEG may move a colour a little)."""
    wanted = torch.tensor(list(COLOURS.values())).double()[split.labels]
    assert (means(split) - wanted).abs().max() < 3


def test_train_and_test_folders(tmp_path):
    fill(tmp_path / "train", 10)
    fill(tmp_path / "test", 4)
    problem = folder_problem(tmp_path, validation=0.2)
    assert (len(problem.train), len(problem.validation), len(problem.test)) == (24, 6, 12)
    assert problem.class_names == ("cat", "dog", "emu") and problem.name == tmp_path.name
    assert problem.input_shape == (3, 32, 32) and problem.augment == "crop_flip" and problem.notes == ()
    for split in (problem.train, problem.validation, problem.test):
        check_colours(split)
    assert problem.test.indices.tolist() == list(range(30, 42))


def test_val_is_the_test_split_only_where_there_is_no_test(tmp_path):
    fill(tmp_path / "train", 6)
    fill(tmp_path / "val", 2)
    problem = folder_problem(tmp_path, validation=0.5)
    assert (len(problem.train), len(problem.validation), len(problem.test)) == (9, 9, 6)
    fill(tmp_path / "test", 3)
    problem = folder_problem(tmp_path, validation=0.5)
    assert (len(problem.train), len(problem.validation), len(problem.test)) == (18, 6, 9)
    for split in (problem.train, problem.validation, problem.test):
        check_colours(split)


@pytest.mark.parametrize("inner", ["", "train"])
def test_classes_alone_are_split_twice(tmp_path, inner):
    fill(tmp_path / inner, 20)
    problem = folder_problem(tmp_path, test=0.25, validation=0.2)
    assert [torch.bincount(s.labels).tolist() for s in (problem.train, problem.validation, problem.test)] == [
        [12] * 3,
        [3] * 3,
        [5] * 3,
    ]
    rows = torch.cat([problem.train.indices, problem.validation.indices, problem.test.indices])
    assert rows.sort().values.tolist() == list(range(60))
    check_colours(problem.test)
    assert folder_problem(tmp_path, seed=1).fingerprint != folder_problem(tmp_path).fingerprint


def test_shorter_side_is_fitted_and_the_centre_kept(tmp_path):
    # Left third red, middle green, right blue: of a 96x32 picture only the middle is left.
    strip = np.zeros((32, 96, 3), np.uint8)
    for i in range(3):
        strip[:, 32 * i : 32 * (i + 1), i] = 255
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.fromarray(strip).save(tmp_path / name / f"{i}.png")
            Image.fromarray(strip.transpose(1, 0, 2)).save(tmp_path / name / f"{i}t.png")
    full = folder_problem(tmp_path, size=32)
    assert (full.train.inputs.tensor == torch.tensor([0, 255, 0], dtype=torch.uint8)).all()
    small = folder_problem(tmp_path, size=8)
    assert small.input_shape == (3, 8, 8) and small.augment == "none"
    assert (small.train.inputs.tensor[:, 2:6, 2:6] == torch.tensor([0, 255, 0], dtype=torch.uint8)).all()


def test_what_was_done_to_pictures_is_counted_and_said_again_from_the_cache(tmp_path):
    for name in ("a", "b"):
        for i in range(4):
            write(tmp_path / name / f"{i}.png", (90, 90, 90))
    Image.new("L", (32, 32), 90).save(tmp_path / "a" / "grey.png")
    Image.new("RGBA", (32, 32), (39, 39, 39, 195)).save(tmp_path / "a" / "alpha.png")
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([39, 39, 39] * 256)
    palette.save(tmp_path / "a" / "palette.png", transparency=b"\xc3\xff")  # Pillow warns about these
    Image.fromarray(np.full((32, 32), 90 * 257, np.uint16)).save(tmp_path / "a" / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "b" / "turned.jpg", (90, 90, 90), exif=exif)
    pages = [Image.new("RGB", (32, 32), (grey,) * 3) for grey in (90, 200)]
    pages[0].save(tmp_path / "b" / "pages.tiff", save_all=True, append_images=pages[1:])
    for _ in range(2):
        problem = folder_problem(tmp_path)
        assert all((part.inputs.tensor == 90).all() for part in (problem.train, problem.validation, problem.test))
        assert problem.notes == (
            "pictures turned upright as their EXIF orientation says: 1",
            "pictures with transparent parts, laid on white: 2",
            "pictures with several frames or pages, of which the first is taken: 1",
            "pictures of more than 8 bits of grey, scaled down as 16 bits (65535 is white): 1",
        )


def test_pictures_are_decoded_once_and_mapped(tmp_path, monkeypatch):
    fill(tmp_path / "train", 4)
    fill(tmp_path / "test", 4)
    first = folder_problem(tmp_path)
    cache = tmp_path / ".goodteacher-cache"
    before = {p.name: p.read_bytes() for p in cache.iterdir()}
    assert len(before) == 2 and not any(name.endswith(".tmp") for name in before)
    monkeypatch.setattr(module, "decode", lambda *_: pytest.fail("decoded twice"))
    second = folder_problem(tmp_path)
    assert second.fingerprint == first.fingerprint
    second.test.inputs.tensor.zero_()  # copy on write: the cache must not follow
    assert {p.name: p.read_bytes() for p in cache.iterdir()} == before


def test_a_changed_file_or_size_is_decoded_again(tmp_path):
    fill(tmp_path / "train", 4)
    fill(tmp_path / "test", 4)
    first = folder_problem(tmp_path)
    changed = tmp_path / "train" / "cat" / "00.jpg"
    length = changed.stat().st_size
    write(changed, (0, 0, 0))
    changed.write_bytes(changed.read_bytes().ljust(length, b"\0"))  # as long as before: only the time tells
    assert changed.stat().st_size == length
    os.utime(changed, ns=(1, 1))
    assert folder_problem(tmp_path).fingerprint != first.fingerprint
    assert folder_problem(tmp_path, size=16).input_shape == (3, 16, 16)


def test_a_break_while_decoding_leaves_nothing_that_counts(tmp_path, monkeypatch):
    fill(tmp_path / "train", 4)
    fill(tmp_path / "test", 4)
    with monkeypatch.context() as patch:
        patch.setattr(module, "decode", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            folder_problem(tmp_path)
    assert list((tmp_path / ".goodteacher-cache").iterdir()) == []
    assert len(folder_problem(tmp_path).test) == 12


def test_broken_pictures_are_counted_by_reason_or_skipped(tmp_path):
    fill(tmp_path / "train", 12)
    fill(tmp_path / "test", 4)
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "JPEG")
    for i, length in ((0, 2000), (3, 3000)):
        (tmp_path / "train" / "cat" / f"{i:02d}.jpg").write_bytes(whole.getvalue()[:length])
    (tmp_path / "train" / "cat" / "01.png").write_bytes(b"")
    (tmp_path / "train" / "dog" / "00.jpg").write_bytes(b"not a picture")
    Image.fromarray(np.zeros((32, 32), np.float32)).save(tmp_path / "test" / "emu" / "01.png", "TIFF")
    Image.new("RGB", (300, 300)).save(tmp_path / "test" / "emu" / "02.JPEG")
    with pytest.raises(DataError) as caught:
        folder_problem(tmp_path, most_pixels=80_000)
    message = str(caught.value)
    assert "got 6 of 48 that do not: image file is truncated" in message
    for part in (
        "not processed): 2 (train/cat/00.jpg, train/cat/03.jpg), ",
        "an empty file: 1 (train/cat/01.png), ",
        "cannot identify image file: 1 (train/dog/00.jpg), ",
        "floating-point values, of which no file says what is black and what is white; write it with 8 or 16 bits: 1 (",
        "300x300 pixels, more than the 80000 that guard against decompression bombs (raise option most_pixels if the",
        "; replace or delete them, or set skip_broken.",
    ):
        assert part in message
    problem = folder_problem(tmp_path, skip_broken=True)
    assert problem.notes[0].startswith("left out, 5 pictures that do not decode: image file is truncated")
    assert "an empty file: 1 (train/cat/01.png)" in problem.notes[0]
    assert (len(problem.train) + len(problem.validation), len(problem.test)) == (32, 11)
    for i in range(3, 9):
        (tmp_path / "train" / "emu" / f"{i:02d}{('.jpg', '.png', '.JPEG')[i % 3]}").write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"that do not: cannot identify image file: 7 \((\w|[/.,] ?)*, \.\.\.\), image file"
    ):
        folder_problem(tmp_path)


def test_a_file_that_cannot_be_read_is_not_remembered_as_broken(tmp_path, monkeypatch):
    fill(tmp_path / "train", 4)
    fill(tmp_path / "test", 4)
    for error in (PermissionError(13, "Permission denied"), OSError(24, "Too many open files"), MemoryError("no room")):
        with monkeypatch.context() as patch:
            patch.setattr(module, "decode", lambda *_, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(DataError, match=rf"picture '.*00.jpg': must be readable, got {type(error).__name__}"):
                folder_problem(tmp_path, skip_broken=True)
    assert folder_problem(tmp_path).notes == ()


def test_what_a_listing_leaves_out_is_said(tmp_path):
    fill(tmp_path / "train", 4)
    fill(tmp_path / "test", 4)
    (tmp_path / "train" / "notes.txt").write_text("x")
    (tmp_path / "train" / "emu" / "linked.png").symlink_to(tmp_path / "test" / "emu" / "01.png")
    write(tmp_path / "train" / "dog" / "more" / "a.webp", COLOURS["dog"])
    problem = folder_problem(tmp_path)
    assert problem.notes == (
        "pictures in folders inside their class's folder, read with it: 1 (train/dog/more/a.webp)",
        "left out, .txt files: 1 (train/notes.txt)",
    )
    assert len(problem.train) + len(problem.validation) == 14
    check_colours(problem.train)


def test_folders_that_do_not_fit(tmp_path):
    with pytest.raises(DataError, match="must be a folder of pictures, got no such folder"):
        folder_problem(tmp_path / "nowhere")
    with pytest.raises(DataError, match="must hold a folder for each of at least 2 classes, got none"):
        folder_problem(tmp_path)
    fill(tmp_path / "one", 4, ["cat"])
    with pytest.raises(DataError, match="at least 2 classes, got 1: cat"):
        folder_problem(tmp_path / "one")
    fill(tmp_path / "half" / "test", 4)
    with pytest.raises(DataError, match="must have train/"):
        folder_problem(tmp_path / "half")
    fill(tmp_path / "odd" / "train", 4)
    fill(tmp_path / "odd" / "test", 4, ["cat", "dog"])
    write(tmp_path / "odd" / "test" / "owl" / "0.png", (0, 0, 0))
    with pytest.raises(DataError, match="must be the same in every split, got 'emu' only in train, 'owl' only in test"):
        folder_problem(tmp_path / "odd")


def test_class_folder_without_pictures(tmp_path):
    fill(tmp_path, 4)
    (tmp_path / "fox").mkdir()
    with pytest.raises(DataError, match=r"fox': must hold pictures .*, got an empty folder; put pictures into it"):
        folder_problem(tmp_path)


def test_option_errors(tmp_path):
    fill(tmp_path, 4)
    for size in (0, 2.5, "32"):
        with pytest.raises(ConfigError, match="size: must be a whole number of pixels"):
            folder_problem(tmp_path, size=size)
        with pytest.raises(ConfigError, match="most_pixels: must be a whole number of pixels"):
            folder_problem(tmp_path, most_pixels=size)
    with pytest.raises(ConfigError, match="test fraction"):
        folder_problem(tmp_path, test=0)
    with pytest.raises(ConfigError, match="validation fraction"):
        folder_problem(tmp_path, validation=2)


def test_pictures_that_lose_by_being_scaled_down_are_said(tmp_path):
    for name, colour in COLOURS.items():
        for i in range(6):
            write(tmp_path / name / f"{i}.jpg", colour, size=(120, 90) if i else (20, 20))
    (note,) = folder_problem(tmp_path, test=0.3, validation=0.3).notes
    assert note == ("pictures of about 120x90 pixels are scaled to 32x32: option size (--size 90 keeps more of them)")
    assert folder_problem(tmp_path, size=90, test=0.3, validation=0.3).notes == ()
