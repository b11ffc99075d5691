import numpy as np
import pytest
import torch
from PIL import Image

from goodteacher.base.errors import ConfigError, DataError
from goodteacher.data.digits import digits_problem
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.labels import class_pair, label_subset, merge_classes, symmetric_noise
from goodteacher.data.sources import SOURCES, load

SMALL = {"train": 90, "validation": 30, "test": 30}


@pytest.fixture
def npz(tmp_path):
    x, y = np.random.default_rng(0).integers(0, 256, size=(40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 10
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    return tmp_path / "cifar10.npz"


@pytest.fixture
def pictures(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


def test_by_name_with_options():
    assert load("gaussian", **SMALL, seed=4).fingerprint == gaussian_problem(**SMALL, seed=4).fingerprint
    assert load("digits", test=0.4).fingerprint == digits_problem(test=0.4).fingerprint


def test_root_goes_to_the_sources_that_read_files(npz, pictures):
    assert load("cifar10", root=npz.parent, validation=0.25).name == "cifar10"
    assert load("folder", root=pictures, size=8).input_shape == (3, 8, 8)
    assert load("digits", root="nowhere").name == "digits"
    with pytest.raises(DataError, match="goodteacher fetch cifar100 --root"):
        load("cifar100", root=npz.parent)


def test_paths_are_names(npz, pictures):
    by_path = load(npz, validation=0.25)
    assert by_path.fingerprint == load("npz", path=npz, validation=0.25).fingerprint
    assert load(str(npz), validation=0.25).fingerprint == by_path.fingerprint
    assert load(str(pictures), size=8).name == "pictures"
    with pytest.raises(DataError, match="no such file"):
        load("nowhere.npz")


def test_a_folder_of_the_same_name_does_not_hide_a_source(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("digits").name == "digits"


def test_label_tools_come_in_order():
    clean = gaussian_problem(**SMALL, seed=2)
    groups = {"x": [0], "y": [1, 2]}
    expected = merge_classes(clean, groups)
    expected = symmetric_noise(expected, 0.3, seed=2, splits=("train", "validation"))
    expected = label_subset(expected, per_class=10, seed=2)
    loaded = load("gaussian", **SMALL, seed=2, merge=groups, noise=0.3, subset=10)
    assert loaded.fingerprint == expected.fingerprint and loaded.notes == expected.notes
    assert torch.bincount(loaded.train.labels).tolist() == [10, 10]
    assert torch.equal(loaded.test.labels, merge_classes(clean, groups).test.labels)
    assert not torch.equal(loaded.validation.labels, merge_classes(clean, groups).validation.labels)
    pair = load("gaussian", **SMALL, seed=2, pair=[2, 1])
    assert pair.fingerprint == class_pair(clean, 2, 1).fingerprint


def test_a_note_goes_with_the_data_and_changes_nothing_else():
    plain, noted = load("gaussian", **SMALL, noise=0.3), load("gaussian", **SMALL, noise=0.3, note="made, not measured")
    assert noted.notes == (*plain.notes, "made, not measured") and noted.fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gausian", {}, r"problem: must be a known source.*got 'gausian'; did you mean 'gaussian'\?"),
        ("gaussian", {"clases": 4}, "option 'clases' of 'gaussian': must be a known option; did you mean 'classes'"),
        ("digits", {"subst": 4}, "did you mean 'subset'"),
        ("digits", {"path": "x"}, "option 'path' of 'digits'"),
        ("npz", {}, "option 'path' of 'npz': is required"),
        ("x.npz", {"path": "y.npz"}, "option 'path' of 'x.npz'"),
        ("gaussian", {**SMALL, "pair": [0, 1], "merge": {}}, "pair and merge: cannot both be given"),
        ("gaussian", {**SMALL, "pair": "ab"}, "pair: must be a list of two classes, got 'ab'"),
        ("gaussian", {**SMALL, "pair": [0, 1, 2]}, "pair: must be a list of two classes"),
        ("gaussian", {**SMALL, "noise": 2}, "noise: must be a number in \\[0, 1\\], got 2"),
        ("gaussian", {**SMALL, "subset": 0}, "subset: must be a whole number of at least 1, got 0"),
        ("digits", {"subset": True}, "subset: must be a whole number of at least 1, got True"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(ConfigError, match=message):
        load(name, **options)


def test_table():
    assert list(SOURCES) == ["gaussian", "digits", "cifar10", "cifar100", "npz", "csv", "folder"]
    assert {name for name, row in SOURCES.items() if row.needs_root} == {"cifar10", "cifar100", "folder"}
    assert all(callable(row.build) and row.summary for row in SOURCES.values())
