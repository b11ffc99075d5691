"""Deviations in many settings, at a tiny size."""

from __future__ import annotations

import json

import pytest

from goodteacher.base.errors import ConfigError
from goodteacher_lab.deviations.noise import noise
from goodteacher_lab.deviations.scatter import PAPER, scatter
from goodteacher_lab.job import Job


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
