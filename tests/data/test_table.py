from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import goodteacher as gt
from goodteacher.base.errors import ConfigError, DataError
from goodteacher.data.folder import folder_problem
from goodteacher.data.table import table_problem

COLOURS = {"2": (200, 30, 30), "10": (30, 200, 30)}


@pytest.fixture
def place(tmp_path):
    """Pictures of two classes, named by numbers, in one folder, with tables that name them."""
    (tmp_path / "pictures").mkdir()
    rows = []
    for label, colour in COLOURS.items():
        for i in range(12):
            Image.new("RGB", (40, 30), colour).save(tmp_path / "pictures" / f"{label}-{i}.png")
            rows.append(
                (f"pictures/{label}-{i}.png", label, ("train", "Val", "TEST")[0 if i < 8 else 1 if i < 10 else 2])
            )
    write(tmp_path / "all.csv", "path,label,split", rows)
    write(tmp_path / "two.csv", "image,class,photographer", [(p, c, "me") for p, c, _ in rows])
    return tmp_path


def write(path, heading, rows):
    path.write_text("\n".join([heading, *(",".join(row) for row in rows)]) + "\n")


def colours(split):
    return split.inputs.tensor.double().mean(dim=(1, 2)).argmax(dim=1).tolist()


def test_splits_classes_and_pictures_are_those_of_the_rows(place):
    problem = gt.load(place / "all.csv", size=16)
    assert problem.class_names == ("2", "10") and problem.name == "all" and problem.input_shape == (3, 16, 16)
    assert (len(problem.train), len(problem.validation), len(problem.test)) == (16, 4, 4)
    for split in (problem.train, problem.validation, problem.test):
        assert colours(split) == split.labels.tolist()
    assert [note for note in problem.notes if "scaled" not in note] == []


def test_a_table_without_splits_is_split_and_its_other_columns_are_named(place):
    problem = table_problem(place / "two.csv", test=0.25, validation=0.25, size=16)
    assert (len(problem.train), len(problem.validation), len(problem.test)) == (14, 4, 6)
    assert "columns not read: 'photographer'" in problem.notes
    for split in (problem.train, problem.validation, problem.test):
        assert colours(split) == split.labels.tolist()


def test_the_same_pictures_in_a_folder_are_the_same_problem(place):
    for name in COLOURS:
        for i in range(12):
            part = "train" if i < 8 else "val" if i < 10 else "test"
            (place / "tree" / part / name).mkdir(parents=True, exist_ok=True)
            (place / "pictures" / f"{name}-{i}.png").rename(place / "tree" / part / name / f"{i:02d}.png")
    rows = [(str(path), path.parent.name, path.parent.parent.name) for path in sorted((place / "tree").rglob("*.png"))]
    write(place / "tree.csv", "path,label,split", rows)
    folder, table = folder_problem(place / "tree"), table_problem(place / "tree.csv")
    for split in ("train", "validation", "test"):
        assert np.array_equal(np.sort(folder.hashes[split]), np.sort(table.hashes[split]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("picture,label\na.png,x\n", r"must have a column 'path' \(or file, .*\), got 'picture', 'label'"),
        ("path,label\nnone.png,x\n", r"must be files, got 1 of 1 that are not there, the first '.*none.png'"),
        ("path,label\npictures/2-0.png,x\npictures/2-1.png,\n", r"got none in 1 of 2 rows, the first in line 3"),
        ("path,label,split\npictures/2-0.png,x,trian\npictures/2-1.png,y,test\n", r"among train, .*, got 'trian' in line 2"),
        ("path,label,split\npictures/2-0.png,x,test\npictures/2-1.png,y,test\n", r"must have rows of train, got test"),
        ("path,label\npictures/2-0.png,x\n", r"must name at least 2 classes, got x"),
        ("", r"must be a CSV file in UTF-8 with headings, got EmptyDataError"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_says_why(place, text, said):
    (place / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        gt.load(place / "bad.csv")


def test_a_file_that_is_not_there_and_a_missing_path(place):
    with pytest.raises(DataError, match="must be a CSV file"):
        gt.load(place / "none.csv")
    with pytest.raises(ConfigError, match="option 'path' of 'csv': is required"):
        gt.load("csv")
