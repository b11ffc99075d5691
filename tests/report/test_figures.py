import json

import numpy as np
import pandas as pd
import pytest

from goodteacher.base.probability import log_soften
from goodteacher.diagnose.calibration import reliability
from goodteacher.diagnose.results import Results
from goodteacher.report.figures import charts, curves_data, reliability_data, scatter_chart


@pytest.fixture
def results(digits_study):
    return digits_study.results


def values(chart):
    return [row for rows in chart["datasets"].values() for row in rows]


def test_curves_are_means_over_seeds(results):
    data = curves_data(results)
    arms = [
        "plain",
        "kept",
        "cooled",
        "focal",
        "alone",
        *(f"taught < {t}" for t in ("plain", "kept", "cooled", "focal")),
    ]
    assert list(data["arm"].unique()) == arms and list(data["kind"].unique()) == ["teacher", "student"]
    assert len(data) == 2 * len(arms) and set(data["epoch"]) == {1, 2}
    runs = [w.runs[0] for w in results.teachings["plain"].values()]
    last = [next(e for e in results.run(r).records if e.get("epoch") == 2)["validation"] for r in runs]
    row = data[(data["arm"] == "plain") & (data["epoch"] == 2)].iloc[0]
    for name in ("accuracy", "brier"):
        assert row[name] == pytest.approx(np.mean([v[name] for v in last]))


def test_curves_leave_missing_runs_out(results):
    fresh = Results(results.folder)
    fresh.missing = [w.runs[0] for w in fresh.teachings["plain"].values()]
    assert "plain" not in set(curves_data(fresh)["arm"])
    fresh.missing = fresh.planned
    assert curves_data(fresh).empty


def test_reliability_is_the_curve_of_all_seeds(results):
    data = reliability_data(results)
    assert list(data["teacher"].unique()) == [r.name for r in results.ranked]
    logits, labels = results.reliability_logits("cooled")
    want = reliability(log_soften(logits.double()).exp(), labels, bins=10, binning="mass")
    got = data[data["teacher"] == "cooled"]
    assert got["confidence"].tolist() == want.confidence.tolist() and got["accuracy"].tolist() == want.accuracy.tolist()


def test_the_scatter_shows_a_point_and_an_interval_a_pair(results):
    chart = json.loads(scatter_chart(results).to_json())
    rows = pd.DataFrame(values(chart)).sort_values("teacher", ignore_index=True)
    want = results.points.sort_values("teacher", ignore_index=True)
    pd.testing.assert_frame_equal(rows[list(want.columns)], want, check_exact=False)
    rule, dot = chart["layer"]
    assert rule["mark"]["type"] == "rule" and {rule["encoding"]["y"]["field"], rule["encoding"]["y2"]["field"]} == {
        "low",
        "high",
    }
    assert dot["encoding"]["y"]["field"] == "student_accuracy" and dot["encoding"]["x"]["field"] == "calibrated_brier"


def test_every_figure_is_drawn_and_carries_its_data(results):
    found = {name: json.loads(text) for name, text in charts(results).items()}
    assert list(found) == ["scatter", "reliability", "curves"]
    assert all(values(chart) for chart in found.values())
    assert [side["title"] for side in found["curves"]["hconcat"]] == [
        "Brier score while training, teachers",
        "Brier score while training, students",
    ]
    assert not any("url" in chart.get("data", {}) for chart in found.values())


@pytest.mark.parametrize("name", ["scatter", "reliability", "curves"])
def test_figures_compile_and_render(results, name):
    import vl_convert

    svg = vl_convert.vegalite_to_svg(charts(results)[name])
    assert svg.startswith("<svg") and "plain" in svg


def test_figures_without_data_are_left_out(results):
    fresh = Results(results.folder)
    fresh.students = []
    assert fresh.points.empty and list(charts(fresh)) == ["reliability", "curves"]
    fresh.ranked = []
    fresh.missing = fresh.planned
    assert charts(fresh) == {}
