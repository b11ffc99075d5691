import os

import pytest

from goodteacher.base.errors import DataError
from goodteacher.data.decode import ENDINGS
from goodteacher.data.listing import list_pictures


def put(root, *names):
    """Make files; pictures by their ending, which is all a listing looks at."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def pets(root, *folders, count=2):
    for folder in folders:
        put(root / folder, *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(count)))


def shown(root, listing, part="train"):
    """Return class to its files."""
    found = {}
    for row in listing.parts[part]:
        path = listing.paths[row].relative_to(root).as_posix()
        found.setdefault(listing.class_names[listing.labels[row]], []).append(path)
    return found


def test_pictures_of_every_ending_and_case_are_read(tmp_path):
    names = [f"a{i}{ending.upper() if i % 2 else ending}" for i, ending in enumerate(ENDINGS)]
    put(tmp_path, *(f"{name}/{file}" for name in ("cat", "dog") for file in names))
    listing = list_pictures(tmp_path)
    assert len(listing.paths) == 2 * len(ENDINGS) and listing.notes == ()


def test_folders_in_a_class_are_read_with_it(tmp_path):
    put(tmp_path, "cat/b.png", "cat/a/1.png", "cat/a/deep/er/2.JPG", "cat/c/3.webp", "dog/1.png")
    listing = list_pictures(tmp_path)
    assert shown(tmp_path, listing) == {
        "cat": ["cat/a/1.png", "cat/a/deep/er/2.JPG", "cat/b.png", "cat/c/3.webp"],
        "dog": ["dog/1.png"],
    }
    said = "pictures in folders inside their class's folder, read with it: 3 (cat/a/1.png, cat/a/deep/er/2.JPG, cat/c/3.webp)"
    assert listing.notes == (said,)


def test_it_reads_what_torchvision_reads(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    put(tmp_path, "cat/b.png", "cat/a/1.png", "cat/a/deep/er/2.JPG", "dog/1.bmp", "dog/x/y.webp", "dog/n.txt")
    theirs = datasets.ImageFolder(str(tmp_path)).samples
    ours = list_pictures(tmp_path)
    assert {(str(p), label) for p, label in zip(ours.paths, ours.labels.tolist(), strict=True)} == set(theirs)


def test_everything_that_is_left_out_is_counted_and_named_by_kind(tmp_path):
    pets(tmp_path, "train", "test")
    put(
        tmp_path,
        "labels.csv",
        "train/notes.txt",
        "train/cat/a.heic",
        "train/cat/b.HEIC",
        "test/dog/c.heic",
        "test/dog/d.heic",
    )
    put(tmp_path, "train/lost.png", "over.jpg", "extra/9.png", "extra/more/10.png", "train/dog/README", "extra/a.md")
    put(tmp_path, "train/.ipynb_checkpoints/c.png", "train/cat/.hidden.jpg", "__MACOSX/train/cat/0.png")
    put(tmp_path, "__MACOSX/train/cat/._0.png", "train/cat/._0.png", ".DS_Store", ".goodteacher-cache/a.npy")
    (tmp_path / "train" / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    listing = list_pictures(tmp_path)
    assert len(listing.paths) == 8
    assert set(listing.notes) == {
        "left out, .csv files: 1 (labels.csv)",
        "left out, .txt files: 1 (train/notes.txt)",
        "left out, .md files: 1 (extra/a.md)",
        "left out, .heic files: 4 (test/dog/c.heic, test/dog/d.heic, train/cat/a.heic, ...)",
        "left out, files without an ending: 1 (train/dog/README)",
        "left out, broken links: 1 (train/dog/gone.jpg)",
        "left out, pictures outside class folders: 2 (over.jpg, train/lost.png)",
        "left out, pictures in folders beside the splits: 2 (extra/9.png, extra/more/10.png)",
        "left out, hidden pictures: 3 (__MACOSX/train/cat/0.png, train/.ipynb_checkpoints/c.png, train/cat/.hidden.jpg)",
    }


def test_links_are_followed_and_never_in_a_circle(tmp_path):
    put(tmp_path / "real", "1.png", "in/2.png")
    pets(tmp_path / "data", "", count=1)
    (tmp_path / "data" / "emu").symlink_to(tmp_path / "real")
    (tmp_path / "data" / "cat" / "linked.png").symlink_to(tmp_path / "real" / "1.png")
    (tmp_path / "real" / "round").symlink_to(tmp_path / "real")
    (tmp_path / "data" / "cat" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "dog" / "self.png").symlink_to(tmp_path / "data" / "dog" / "self.png")
    listing = list_pictures(tmp_path / "data")
    assert shown(tmp_path / "data", listing) == {
        "cat": ["cat/0.png", "cat/linked.png"],
        "dog": ["dog/0.png"],
        "emu": ["emu/1.png", "emu/in/2.png"],
    }
    assert listing.notes[1:] == (
        "left out, broken links: 1 (dog/self.png)",
        "left out, links to a folder around them: 2 (cat/up, emu/round)",
    )


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize(
    ("val", "test"), [("val", "test"), ("Valid", "Testing"), ("validation", "TEST"), ("dev", "test")]
)
def test_usual_names_of_splits(tmp_path, train, val, test):
    pets(tmp_path, train, test)
    pets(tmp_path, val, count=1)
    listing = list_pictures(tmp_path)
    assert {part: len(rows) for part, rows in listing.parts.items()} == {"train": 4, "validation": 2, "test": 4}
    assert listing.parts["test"].tolist() == [6, 7, 8, 9] and listing.notes == ()


@pytest.mark.parametrize("name", ["valid", "dev", "Val", "testing"])
def test_one_other_split_is_the_test_split(tmp_path, name):
    pets(tmp_path, "train", name)
    assert set(list_pictures(tmp_path).parts) == {"train", "test"}


@pytest.mark.parametrize(
    "names", [("bus", "car", "train"), ("control", "test"), ("dev", "ops"), ("Training", "race", "rest")]
)
def test_a_class_may_be_named_as_a_split_is(tmp_path, names):
    put(tmp_path, *(f"{name}/{i}.png" for name in names for i in range(3)))
    listing = list_pictures(tmp_path)
    assert (
        listing.class_names == tuple(sorted(names))
        and set(listing.parts) == {"train"}
        and len(listing.paths) == 3 * len(names)
    )


def test_such_a_class_may_hold_folders_too(tmp_path):
    put(tmp_path, "bus/1.png", "car/1.png", "train/1.png", "train/steam/2.png")
    listing = list_pictures(tmp_path)
    assert listing.class_names == ("bus", "car", "train") and len(listing.paths) == 4


def test_it_may_stand_inside_splits_as_well(tmp_path):
    put(tmp_path, *(f"{part}/{name}/1.png" for part in ("train", "test") for name in ("bus", "train")))
    listing = list_pictures(tmp_path)
    assert listing.class_names == ("bus", "train") and set(listing.parts) == {"train", "test"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (  # ImageNet's flat val/
            ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png", "val/1.JPEG", "val/2.JPEG"),
            r"where nothing says their classes, got 2 in val/; sort them into class folders \(val/CLASS/...\) or take the folder"
            r" away \(if it is a class, rename it\)",
        ),
        (("train/cat/1.png", "train/dog/1.png", "Test/1.png"), "got 1 in Test/"),
        (("train/1.png", "test/2.png"), "got 1 in test/, 1 in train/; sort them into class folders"),
        (("train/1.png",), "got 1 in train/"),
        (
            ("train/cat/1.png", "train/dog/1.png", "val/x.txt"),
            "must hold pictures in every split, got none in val/; fill it",
        ),
        (("train/1.png", "test/cat/1.png", "test/dog/1.png"), "got 1 in train/"),
        (("train/1.png", "test/1.png", "images/1.png"), "got 1 in test/, 1 in train/"),
        (("train/cat/1.png", "Training/cat/1.png"), "must hold each split once, got Training/ and train/; rename one"),
        (("train/cat/1.png", "val/cat/1.png", "dev/cat/1.png"), "must hold each split once, got dev/ and val/"),
        (("test/cat/1.png", "test/dog/1.png"), "has test/ or val/ and so must have train/, got only test/; add train/"),
        (
            ("train/steam/1.png", "train/diesel/1.png", "bus/1.png", "car/1.png"),
            r"can be read in two ways: train/ is a split with the classes diesel/, steam/ or a class beside bus/, car/; move "
            r"bus/, car/ away in the first case, rename train/ in the second",
        ),
        (
            ("test/day/1.png", "control/1.png"),
            "two ways: test/ is a split with the classes day/ or a class beside control/",
        ),
        (
            ("cat/train/1.png", "cat/test/1.png", "dog/train/1.png"),
            "must hold splits with classes in them, and not the other way round, got 'cat' with test/, train/",
        ),
        (
            ("pets/cat/1.png", "pets/dog/1.png"),
            "at least 2 classes, got 1: pets; if '.*pets' holds the classes, give that",
        ),
        (
            ("cat/1.png", "dog/1.heic", "dog/2.heic", "dog/x.txt"),
            "dog': must hold pictures .*, got 2 .heic files, 1 .txt files",
        ),
    ],
)
def test_layouts_that_are_none_are_named(tmp_path, files, message):
    put(tmp_path, *files)
    with pytest.raises(DataError, match=message):
        list_pictures(tmp_path)


def test_a_split_among_splits_may_hold_loose_pictures(tmp_path):
    pets(tmp_path, "train", "test")
    put(tmp_path, "train/loose.png")
    assert list_pictures(tmp_path).notes == ("left out, pictures outside class folders: 1 (train/loose.png)",)


def test_classes_named_by_numbers_stand_in_their_order(tmp_path):
    put(tmp_path, *(f"{i}/a.png" for i in (0, 1, 2, 10, 11)))
    listing = list_pictures(tmp_path)
    assert listing.class_names == ("0", "1", "2", "10", "11")
    assert shown(tmp_path, listing)["10"] == ["10/a.png"]
    assert listing.notes == ("classes are named by numbers and stand in their order: 0, 1, 2, ..., 11",)
    put(tmp_path, "cat/a.png")
    listing = list_pictures(tmp_path)
    assert listing.class_names == ("0", "1", "10", "11", "2", "cat") and listing.notes == ()


def test_numbers_of_equal_length_say_nothing(tmp_path):
    put(tmp_path, *(f"{i:03d}/a.png" for i in (2, 10, 111)))
    assert list_pictures(tmp_path).notes == ()


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    pets(tmp_path, "")
    scan = os.scandir

    def closed(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError, match="dog': must be readable, got PermissionError"):
        list_pictures(tmp_path)
