"""SoTeacher's figure and table: their arms, the published numbers, and both at a tiny size."""

from __future__ import annotations

import json

import numpy as np
import pytest

from goodteacher.base.errors import ConfigError
from goodteacher_lab.job import Job
from goodteacher_lab.sizes import SIZES, size_of
from goodteacher_lab.soteacher.finding import PUBLISHED, figure1, table
from goodteacher_lab.soteacher.study import ABLATION, epochs_of, figure_study, table_study
from goodteacher_lab.table import REPRODUCTIONS

PICTURES, DIGITS = SIZES["soteacher"], "soteacher, digits"


def test_the_paper_stores_a_checkpoint_every_ten_epochs():
    study = figure_study(PICTURES["paper"], {"name": "cifar100"})
    assert list(epochs_of(study, "standard")) == list(range(10, 241, 10))
    assert (
        epochs_of(study, "soteacher")[240] == "soteacher" and epochs_of(study, "soteacher")[150] == "soteacher_epoch150"
    )
    assert study.students["taught"].method == {"kd": {"alpha": 0.5, "gamma": 0.5, "temperature": 4.0}}


def test_the_table_has_each_term_apart_and_a_teacher_stopped_at_epoch_150():
    study = table_study("x", PICTURES["paper"], {"name": "cifar100"})
    assert {arm: study.teachers[arm].objective for arm in ABLATION} == ABLATION
    stopped = study.teachers["stopped"]
    assert stopped.objective == "cross_entropy" and stopped.early_stop.epochs == 150
    assert stopped.early_stop.form == "truncate"


def test_light_students_train_at_a_fifth_of_the_rate():
    from dataclasses import replace

    size = replace(PICTURES["paper"], teacher="resnet32x4", student="shufflenetv2")
    study = table_study("x", size, {"name": "cifar100"})
    assert study.students["taught"].recipe == {"lr": 0.01} == study.students["alone"].recipe
    assert study.teachers["standard"].recipe == {}


def test_published_students_gain_while_the_teacher_loses():
    row = PUBLISHED["wrn_40_2-wrn_40_1"]
    standard, own = row["standard"], row["soteacher"]
    assert own[0] - standard[0] == pytest.approx(0.62) and own[1] < standard[1]
    assert REPRODUCTIONS["soteacher/table"].choices["pair"] == tuple(PUBLISHED)


def test_a_job_decides_epochs_and_seeds_and_large_budgets_need_pictures():
    assert size_of(Job(epochs=3, seeds=2), DIGITS).epochs == 3 and size_of(Job(), DIGITS).seeds == 4
    with pytest.raises(ConfigError, match="--images: must say where pictures are"):
        size_of(Job(budget="paper"), DIGITS)
    with pytest.raises(ConfigError, match="--images"):
        table(Job(choices={"pair": ("wrn_40_2-wrn_40_1",)}))


@pytest.mark.slow
def test_a_tiny_figure_compares_with_the_stopped_teacher(tmp_path):
    found = figure1(Job(epochs=4, seeds=2, out=tmp_path, quiet=True))
    points = found.data["points"]
    assert [(p["teacher"], p["epoch"]) for p in points] == [
        (t, e) for t in ("standard", "soteacher") for e in (1, 2, 3, 4)
    ]
    assert all(len(p["taught"]) == len(p["of"]) == 2 for p in points)
    by = {(p["teacher"], p["epoch"]): p["taught"] for p in points}
    assert found.data["stopped"] == 2  # 5/8 of 4 epochs lies between 2 and 3; the earlier is taken
    expected = np.mean(by["soteacher", 4]) - np.mean(by["standard", 2])
    assert found.data["differences"][1]["mean"] == pytest.approx(expected)
    assert "stopped at epoch 2 of 4" in found.verdict and "vega" in next(iter(found.charts.values())).lower()
    assert json.dumps(found.data) and any("30% symmetric noise" in line for line in found.departures)


@pytest.mark.slow
def test_a_tiny_table_has_every_quantity_of_every_arm(tmp_path):
    found = table(Job(epochs=1, seeds=2, out=tmp_path, quiet=True))
    rows = found.data["small"]
    assert set(rows) == {*ABLATION, "stopped", "alone"}
    for arm in (*ABLATION, "stopped"):
        assert {"student", "teacher", "nll", "ece", "brier", "agreement", "divergence"} == set(rows[arm])
        assert min(rows[arm]["agreement"]) >= 0 and min(rows[arm]["divergence"]) >= 0
    # Stopping after the one epoch there is, is no stopping.
    assert rows["stopped"]["student"] == rows["standard"]["student"]
    published, arms, differences = found.grids
    assert published.rows[0][:4] == ("wrn_40_2-wrn_40_1", "73.73 (teacher 76.38)", "74.35 (teacher 74.95)", "+0.62")
    assert len(arms.rows) == 5 and len(differences.rows) == 7 and "n = 2" in arms.title
