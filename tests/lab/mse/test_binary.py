"""Table 4 of the MSE teacher: tasks of two classes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from goodteacher.base.errors import ConfigError
from goodteacher_lab.job import Job
from goodteacher_lab.mse.binary import METHODS4, TASKS, table4, tasks_of
from goodteacher_lab.mse.printed import TABLE4
from goodteacher_lab.mse.study import binary_study, task_words
from goodteacher_lab.sizes import SIZES


def test_printed_tasks_and_methods_are_those_run():
    assert set(TABLE4) == set(TASKS[:3]) and all(set(row) == {"alone", *METHODS4} for row in TABLE4.values())
    gains = [mse - ce for row in TABLE4.values() for name, (ce, mse) in row.items() if name != "alone"]
    assert len(gains) == 12 and sum(g > 0 for g in gains) == 11
    study = binary_study("26-45", METHODS4, {"name": "cifar100"}, SIZES["mse/table4"]["paper"], "")
    assert study.teachers["brier"].model == "vgg13" and study.seeds == 5 and study.recipe.epochs == 240
    assert study.students["vid"].recipe == {"lr": 0.01} and study.students["vid"].model == "mobilenetv2_0.1"


def test_tasks_fit_the_pictures_or_are_chosen(coloured, tmp_path):
    job = Job(images=str(coloured), out=tmp_path)
    assert tasks_of(job) == ("halves",)
    assert tasks_of(replace(job, choices={"task": ("50-70",)})) == ("50-70",)
    assert task_words("50-70") == {"pair": [50, 70]}
    with pytest.raises(ConfigError, match="--images: must say where pictures are"):
        table4(Job(out=tmp_path))
    many = tmp_path / "many.npz"
    y = np.arange(400) % 100
    np.savez(
        many,
        x_train=np.zeros((400, 16, 16, 3), np.uint8),
        y_train=y,
        x_test=np.zeros((100, 16, 16, 3), np.uint8),
        y_test=y[:100],
    )
    assert tasks_of(replace(job, images=str(many))) == ("26-45", "50-74")
    assert tasks_of(replace(job, images=str(many), choices={"pairs": ("text",)})) == ("20-40", "50-70")
    np.savez(
        many,
        x_train=np.zeros((40, 16, 16, 3), np.uint8),
        y_train=y[:40] % 4,
        x_test=np.zeros((8, 16, 16, 3), np.uint8),
        y_test=y[:8] % 4,
    )
    with pytest.raises(ConfigError, match="CIFAR-10's classes or CIFAR-100's"):
        tasks_of(replace(job, images=str(many)))


@pytest.mark.slow
def test_table_four_shows_every_printed_task(coloured, tmp_path):
    chosen = {"method": ("kd", "cc")}
    found = table4(Job(epochs=1, seeds=1, choices=chosen, images=str(coloured), out=tmp_path, quiet=True))
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
