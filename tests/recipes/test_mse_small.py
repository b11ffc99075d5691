"""Figure 2 and Table 4 of the MSE teacher: few labels, tasks of two classes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.data.labels import label_subset
from goodteacher.data.sources import load
from goodteacher.methods.semisupervised import labelled_rows
from goodteacher.recipes import mse_small
from goodteacher.recipes.mse_published import TABLE4
from goodteacher.recipes.mse_small import (
    BINARY,
    FIGURE2,
    METHODS4,
    TASKS,
    binary_study,
    few_labels_students,
    few_labels_teachers,
    figure2,
    labelled_part,
    table4,
    task_words,
    tasks_of,
)
from goodteacher.recipes.reproduction import Order
from goodteacher.study.store import Store


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """An .npz file of 16x16 pictures of 10 classes, one colour a class, with noise."""
    draws = np.random.default_rng(0)
    colours = draws.integers(0, 255, size=(10, 1, 1, 3))

    def part(n):
        y = np.arange(n) % 10
        return np.clip(colours[y] + draws.normal(0, 40, size=(n, 16, 16, 3)), 0, 255).astype(np.uint8), y

    (a, b), (c, d) = part(300), part(80)
    path = tmp_path_factory.mktemp("pictures") / "coloured.npz"
    np.savez(path, x_train=a, y_train=b, x_test=c, y_test=d, votes_train=np.eye(10)[b] * 3)
    return path


def test_printed_tasks_and_methods_are_those_run():
    assert set(TABLE4) == set(TASKS[:3]) and all(set(row) == {"alone", *METHODS4} for row in TABLE4.values())
    gains = [mse - ce for row in TABLE4.values() for name, (ce, mse) in row.items() if name != "alone"]
    assert len(gains) == 12 and sum(g > 0 for g in gains) == 11
    study = binary_study("26-45", METHODS4, {"name": "cifar100"}, BINARY["paper"], "")
    assert study.teachers["brier"].model == "vgg13" and study.seeds == 5 and study.recipe.epochs == 240
    assert study.students["vid"].recipe == {"lr": 0.01} and study.students["vid"].model == "mobilenetv2_0.1"


def test_labelled_examples_are_a_subset_normalised_as_the_whole(coloured):
    whole = load(coloured)
    part, alike, other = (labelled_part(whole, 50, seed) for seed in (1, 1, 2))
    subset = label_subset(whole, total=50, seed=1)
    assert part.train.indices.tolist() == subset.train.indices.tolist()
    torch.testing.assert_close(part.statistics[0], whole.statistics[0])
    assert part.fingerprint == alike.fingerprint
    assert len({p.fingerprint for p in (whole, part, other, subset)}) == 4


def test_the_student_reads_the_labels_that_its_teacher_had(coloured):
    whole = load(coloured)
    study = few_labels_students(FIGURE2["paper"], {(50, "brier"): "r"}, 3, {"name": "npz"}, whole.classes, "")
    method = study.students["labels50"].method
    assert method["kd"]["gamma"] == 0 and study.teachers["brier-50"].run == "r" and study.seed_list == (3,)
    rows = labelled_rows(whole.train.labels, method["labelled"]["per_class"], method["labelled"]["seed"])
    assert whole.train.indices[rows].tolist() == labelled_part(whole, 50, 3).train.indices.tolist()
    teachers = few_labels_teachers(FIGURE2["paper"], 50, 3, {"name": "npz"}, "")
    assert set(teachers.teachers) == {"cross_entropy", "brier"} and teachers.recipe.epochs == 240


@pytest.mark.slow
def test_figure_two_pairs_every_student_with_the_teacher_of_its_seed(coloured, tmp_path, monkeypatch):
    monkeypatch.setitem(mse_small.FIGURE2, "minutes", replace(FIGURE2["minutes"], labels=(50, 100, 4000)))
    found = figure2(Order(epochs=1, seeds=2, images=str(coloured), out=tmp_path, quiet=True))
    cells = found.data["cells"]
    assert [(c["setting"], c["method"]) for c in cells] == [
        (f"{n} labels", what) for what in ("student", "teacher") for n in (50, 100)
    ]
    assert all(set(c["measured"]) == {"cross_entropy", "brier"} and len(c["measured"]["brier"]) == 2 for c in cells)
    assert any("4000 labels are left out" in line for line in found.departures)
    runs = [Store(tmp_path).run(path.name) for path in Store(tmp_path).runs()]
    students = [run for run in runs if run.spec["kind"] == "student"]
    assert len(students) == 2 * 2 * 2 and len(runs) == 16
    for student in students:
        (teacher,) = (run for run in runs if run.id == student.spec["teaching"]["runs"][0])
        assert teacher.spec["seed"] == student.spec["seed"] == student.spec["loss"]["labelled"]["seed"]
        assert teacher.facts["train"] == 10 * student.spec["loss"]["labelled"]["per_class"]
        assert student.spec["gamma"] == 0 and student.facts["train"] == 270
    assert json.dumps(found.data) and "vega" in found.charts["accuracy by number of labels"]


def test_more_labels_than_pictures_are_refused(coloured, tmp_path):
    with pytest.raises(ConfigError, match="must hold at least 500 labelled pictures"):
        figure2(Order(images=str(coloured), out=tmp_path))


def test_tasks_fit_the_pictures_or_are_chosen(coloured, tmp_path):
    order = Order(images=str(coloured), out=tmp_path)
    assert tasks_of(order) == ("halves",)
    assert tasks_of(replace(order, choices={"task": ("50-70",)})) == ("50-70",)
    assert task_words("50-70") == {"pair": [50, 70]}
    with pytest.raises(ConfigError, match="--images: must say where pictures are"):
        table4(Order(out=tmp_path))
    many = tmp_path / "many.npz"
    y = np.arange(400) % 100
    np.savez(
        many,
        x_train=np.zeros((400, 16, 16, 3), np.uint8),
        y_train=y,
        x_test=np.zeros((100, 16, 16, 3), np.uint8),
        y_test=y[:100],
    )
    assert tasks_of(replace(order, images=str(many))) == ("26-45", "50-74")
    assert tasks_of(replace(order, images=str(many), choices={"pairs": ("text",)})) == ("20-40", "50-70")
    np.savez(
        many,
        x_train=np.zeros((40, 16, 16, 3), np.uint8),
        y_train=y[:40] % 4,
        x_test=np.zeros((8, 16, 16, 3), np.uint8),
        y_test=y[:8] % 4,
    )
    with pytest.raises(ConfigError, match="CIFAR-10's classes or CIFAR-100's"):
        tasks_of(replace(order, images=str(many)))


@pytest.mark.slow
def test_table_four_shows_every_printed_task(coloured, tmp_path):
    chosen = {"method": ("kd", "cc")}
    found = table4(Order(epochs=1, seeds=1, choices=chosen, images=str(coloured), out=tmp_path, quiet=True))
    grid = found.grids[0]
    assert [row[:2] for row in grid.rows] == [(task, method) for task in TASKS[:3] for method in METHODS4]
    by = {row[:2]: row for row in grid.rows}
    assert by["halves", "kd"][2:5] == ("77.00", "77.34", "+0.34") and by["halves", "kd"][-1] == "1"
    assert by["halves", "at"][5:] == ("-", "-", "-", "-", "0") == by["26-45", "kd"][5:]
    alone = next(row for row in found.grids[1].rows if row[:2] == ("halves", "student alone"))
    assert alone[2] == "76.94" and alone[5] != "-"
    assert any("vgg8 in place of vgg13" in line for line in found.departures)
    assert any("10 classes merged into 2" in line for line in found.departures)
    assert json.dumps(found.data)
