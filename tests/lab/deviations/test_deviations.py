"""Deviations in many settings and under wrong labels, at a tiny size."""

from __future__ import annotations

import json

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.data.sources import load
from goodteacher_lab.deviations.deviations import PAPER, ROWS, mislabelled, noise, scatter
from goodteacher_lab.job import BUDGETS, Job


def test_every_row_has_a_cost_and_a_source():
    assert set(ROWS) == {f"deviations/{name}" for name in ("scatter", "noise", "switching", "eigenspace")}
    for row in ROWS.values():
        assert set(row.cost) == set(BUDGETS) and "Nagarajan" in row.source


def test_wrong_labels_are_known_even_of_a_part_of_the_examples():
    words = {"name": "digits", "noise": 0.4}
    problem = load(**words)
    wrong = mislabelled(words, problem)
    clean = load("digits")
    assert torch.equal(wrong, clean.train.labels != problem.train.labels) and 0.3 < float(wrong.double().mean()) < 0.4
    few = load(**words, subset=20)
    place = {int(i): k for k, i in enumerate(problem.train.indices)}
    assert mislabelled({**words, "subset": 20}, few).tolist() == [bool(wrong[place[int(i)]]) for i in few.train.indices]


def test_pictures_must_be_somewhere():
    with pytest.raises(ConfigError, match="--images"):
        scatter(Job(choices={"problem": ("images",)}))
    with pytest.raises(ConfigError, match="pair: needs --images: vectors have MLPs alone"):
        scatter(Job(choices={"pair": ("large-to-other",)}))
    with pytest.raises(ConfigError, match="--images"):
        noise(Job(budget="paper"))


@pytest.mark.slow
def test_a_tiny_scatter_counts_its_settings(tmp_path):
    job = Job(epochs=1, seeds=1, out=tmp_path, quiet=True, choices={"problem": ("few_digits",)})
    found = scatter(job)
    counts = found.grids[0]
    assert "n = 3 settings" in counts.title and counts.rows[0][1] == PAPER["counts"]["test"]
    assert all(cell.endswith("of 3") for row in counts.rows[:2] for cell in row[2:])
    assert len(found.charts) == 3 and all("vega-lite" in chart for chart in found.charts.values())
    assert json.dumps(found.data, allow_nan=False) and "18 of 18" in found.verdict
    assert any("Beyond the paper" in line for line in found.departures)


@pytest.mark.slow
def test_a_tiny_noise_has_right_and_wrong_labels_apart(tmp_path):
    job = Job(epochs=1, seeds=1, out=tmp_path, quiet=True, choices={"rate": ("0", "0.4")})
    found = noise(job)
    apart = found.grids[-1].rows
    assert [row[:2] for row in apart] == [
        ("0% wrong labels", "right labels"),
        ("40% wrong labels", "right labels"),
        ("40% wrong labels", "wrong labels"),
    ]
    assert int(apart[0][2]) == 1008 == int(apart[1][2]) + int(apart[2][2])
    assert set(found.data) == {"0% wrong labels", "40% wrong labels"} and "+2.9" in found.verdict
