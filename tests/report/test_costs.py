from __future__ import annotations

import json

import pytest

import goodteacher as gt
from goodteacher.api import run_study
from goodteacher.report.costs import cost_chart, cost_data, cost_grid, short
from goodteacher.report.figures import charts

STUDY = {
    "name": "sizes", "problem": {"name": "digits"}, "seeds": 2, "recipe": {"epochs": 1, "batch_size": 20},
    "teachers": {"t": {"model": {"mlp": {"widths": [32]}}}},
    "students": {
        "small": {"model": {"mlp": {"widths": [4]}}, "method": "kd"},
        "large": {"model": {"mlp": {"widths": [16]}}, "method": "kd"},
        "alone": {"model": {"mlp": {"widths": [16]}}, "method": "none"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_study(STUDY, gt.load("digits", subset=8), out=tmp_path_factory.mktemp("store"), page=True).results


def test_networks_stand_once_largest_first(results):
    grid = cost_grid(results)
    assert [row[0] for row in grid.rows] == ["teacher t", "large, alone", "small"]
    assert [row[1:3] for row in grid.rows] == [("2.41 k", "2.37 k"), ("1.21 k", "1.18 k"), ("310", "296")]
    assert grid.columns == ("network", "parameters", "MACs", "MB", "ms for 1", "ms for 64") and "1 thread" in grid.note
    page = (results.folder / "report.html").read_text()
    assert grid.title in page and 'id="chart-costs"' in page


def test_accuracy_is_drawn_against_cost_where_students_differ(results):
    data = cost_data(results)
    assert set(zip(data["student"], data["teacher"], strict=True)) == {
        ("small", "t"),
        ("large", "t"),
        ("alone", "(alone)"),
    }
    assert data.groupby("student")["macs"].first().to_dict() == {"small": 296, "large": 1184, "alone": 1184}
    assert json.loads(charts(results)["costs"])["layer"]


def test_students_of_one_size_have_a_table_and_no_picture(tmp_path):
    one = {**STUDY, "students": {"small": STUDY["students"]["small"]}, "seeds": 1}
    results = run_study(one, gt.load("digits", subset=8), out=tmp_path, page=True).results
    assert cost_grid(results) is not None and cost_chart(results) is None and "costs" not in charts(results)


def test_a_study_in_which_nothing_was_measured_has_neither(tmp_path):
    results = run_study({**STUDY, "seeds": 1}, gt.load("digits", subset=8), out=tmp_path).results
    assert cost_grid(results) is None and cost_chart(results) is None


def test_counts_have_three_digits():
    assert [short(c) for c in (999, 1000, 1_234_567, 5_000_000_000)] == ["999", "1 k", "1.23 M", "5 G"]
