"""The study of predictors: its arms, and the whole of it at a tiny size."""

from __future__ import annotations

import json

import numpy as np
import pytest

from goodteacher.base.errors import ConfigError
from goodteacher_lab.job import Job
from goodteacher_lab.predictors import study as candidates
from goodteacher_lab.predictors.finding import predictors
from goodteacher_lab.predictors.study import MAPS, VECTORS, vector_study
from goodteacher_lab.sizes import SIZES


def test_objectives_stopping_regularisation_architectures_and_maps_all_vary():
    study = vector_study("digits", SIZES["predictors, vectors"]["minutes"])
    kinds = {name.split("-")[0] for name in study.teachers}
    assert {"cross_entropy", "brier", "soteacher", "tolerant", "mixup", "decay", "ema"} <= kinds
    assert len({str(arm.model) for arm in study.teachers.values()}) == 3
    assert len({arm.keep for arm in study.teachers.values()}) == 4
    assert sum(arm.map is not None for arm in study.teachers.values()) == 2 * 2 * 2 * len(MAPS)


def test_a_tiny_job_judges_every_quantity_on_two_problems(tmp_path, monkeypatch):
    small = {"name": "gaussian", "classes": 3, "train": 200, "validation": 200, "test": 300}
    monkeypatch.setitem(VECTORS, "gaussian3", (small, 0.02))
    monkeypatch.setattr(candidates, "OBJECTIVES", ("cross_entropy", "brier"))
    monkeypatch.setattr(candidates, "REGULARISED", {"mixup": {"mixup": 0.2}})
    monkeypatch.setattr(candidates, "MAPS", {"flat": {"temperature": {"value": 3.0}}})
    chosen = {"problem": ("digits", "gaussian3")}
    found = predictors(Job(epochs=1, seeds=2, choices=chosen, out=tmp_path, quiet=True))
    rows = [r for r in found.data["judged"] if r["problem"] == "digits" and r["student"] == "T1"]
    held_out = {"calibrated_brier", "calibrated_nll", "brier", "nll", "accuracy", "ece"}
    assert held_out <= {r["quantity"] for r in rows}
    assert all(-1 <= r["correlation"]["mean"] <= 1 for r in rows if r["correlation"]["mean"] is not None)
    assert len(found.data["combined"]) == 4
    assert json.dumps(found.data) and "vega" in found.charts["points"].lower()
    summary = found.grids[0]
    assert len(summary.columns) == 3 + 4 and all(len(row) == 7 for row in summary.rows)
    means = [float(row[1]) for row in summary.rows if not row[0].startswith("combination")]
    assert means == sorted(means, reverse=True) and np.isfinite(means).all()


def test_pictures_must_be_pointed_to(tmp_path):
    with pytest.raises(ConfigError, match="--images: must say where pictures are"):
        predictors(Job(choices={"problem": ("images",)}, out=tmp_path))
    assert set(VECTORS) == {"gaussian3", "gaussian10", "digits"}
