import json
import shutil

import numpy as np
import pytest
from PIL import Image

from goodteacher.base.errors import DataError
from goodteacher.data import cache as module
from goodteacher.data.folder import folder_problem

COLOURS = {"cat": 30, "dog": 200}


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """Eight pictures in a folder, and a home that is nobody's."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GOODTEACHER_CACHE", raising=False)
    for name, grey in COLOURS.items():
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (32, 32), (grey + i,) * 3).save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def locked(folder):
    """Stand in the way of the cache as a read-only disk would, for root too."""
    (folder / ".goodteacher-cache").write_text("a file in the way")


def files(folder):
    return {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}


def test_a_folder_that_cannot_be_written_keeps_pictures_at_home(pets, tmp_path):
    want = folder_problem(pets, cache=tmp_path / "elsewhere").fingerprint
    locked(pets)
    problem = folder_problem(pets)
    (home,) = (tmp_path / "home" / ".cache" / "goodteacher").iterdir()
    assert home.name.startswith("pets-") and len(files(home)) == 2 and problem.fingerprint == want
    said = f"decoded pictures are kept in '{home}', because '{pets / '.goodteacher-cache'}' cannot be written"
    assert problem.notes == (said,)


def test_two_folders_of_one_name_do_not_share(pets, tmp_path, monkeypatch):
    monkeypatch.setenv("GOODTEACHER_CACHE", str(tmp_path / "shared"))
    other = tmp_path / "other" / "pets"
    other.parent.mkdir()
    shutil.copytree(pets, other)
    for folder in (pets, other):
        locked(folder)
        folder_problem(folder)
    assert len(files(tmp_path / "shared")) == 2 and not (tmp_path / "home").exists()


def test_a_cache_of_ones_own(pets, tmp_path, monkeypatch):
    problem = folder_problem(pets, cache=tmp_path / "mine")
    assert problem.notes == () and len(files(tmp_path / "mine")) == 1 and not (pets / ".goodteacher-cache").exists()
    monkeypatch.setattr(module, "decode", lambda *_: pytest.fail("decoded twice"))
    assert folder_problem(pets, cache=tmp_path / "mine").fingerprint == problem.fingerprint


def test_a_cache_that_lies_in_a_locked_folder_is_used(pets, monkeypatch):
    want = folder_problem(pets).fingerprint
    monkeypatch.setattr(module, "_unwritable", lambda place: pytest.fail("nothing is to be written"))
    problem = folder_problem(pets)
    assert problem.fingerprint == want and problem.notes == ()


def test_where_nothing_can_be_written_both_places_are_named(pets, tmp_path):
    locked(pets)
    (tmp_path / "home").write_text("a file in the way")
    with pytest.raises(DataError) as caught:
        folder_problem(pets)
    message = str(caught.value)
    assert f"'{pets / '.goodteacher-cache'}' (FileExistsError" in message and f"'{tmp_path / 'home'}" in message
    assert "name another by the option cache or the variable GOODTEACHER_CACHE" in message


def forge_pixels(pixels, beside):
    raw = bytearray(pixels.read_bytes())
    raw[-1] ^= 1
    pixels.write_bytes(raw)


def forge_length(pixels, beside):
    pixels.write_bytes(pixels.read_bytes()[:-100])


def forge_shape(pixels, beside):
    np.save(pixels, np.zeros((8, 16, 16, 3), np.uint8))
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "sha256": module._sha256(pixels)}))


def forge_rows(pixels, beside):
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "broken": {"bad": [99]}}))


@pytest.mark.parametrize("forge", [
    forge_pixels, forge_length, forge_shape, forge_rows, lambda pixels, beside: beside.unlink(),
    lambda pixels, beside: beside.write_text("{}"), lambda pixels, beside: beside.write_text("[1]"),
    lambda pixels, beside: beside.write_bytes(b"\xff\xfe"), lambda pixels, beside: pixels.unlink(),
])  # fmt: skip
def test_a_cache_that_does_not_fit_is_made_again(pets, forge):
    problem = folder_problem(pets)
    want = problem.fingerprint
    del problem  # its map of the file
    before = {name: path.read_bytes() for name, path in files(pets / ".goodteacher-cache").items()}
    forge(*sorted(files(pets / ".goodteacher-cache").values(), reverse=True))
    assert folder_problem(pets).fingerprint == want
    assert {name: path.read_bytes() for name, path in files(pets / ".goodteacher-cache").items()} == before


def test_a_disk_without_room_is_named(pets, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(DataError, match=r"must have room, got OSError: .*No space left .*; make room, or name another"):
        folder_problem(pets)
    assert files(pets / ".goodteacher-cache") == {}
