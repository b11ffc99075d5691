"""Layers become Vega-Lite: marks, channels, facets, intervals, and rows of their own."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from goodteacher.report.charts import (
    Channel,
    beside,
    channel,
    chart,
    diagonal,
    free,
    intervals,
    lines,
    points,
    reliability,
    spec,
    zero,
)

ROWS = [
    {"x": 1.0, "y": 2.0, "low": 1.5, "high": 2.5, "of": "a"},
    {"x": 2.0, "y": 3.0, "low": None, "high": None, "of": "b"},
]


def drawn(*layers, **options):
    return json.loads(spec(chart(ROWS, *layers, **options)))


def test_a_channel_without_a_title_is_named_by_its_column_and_with_none_by_nothing():
    assert channel("x:Q") == Channel("x:Q") and channel("x:Q", None).options == {"title": None}
    assert free("x", "X", padding=2) == Channel("x:Q", {"title": "X", "scale": {"zero": False, "padding": 2}})
    found = drawn(points("x:Q", channel("y:Q", None), color=channel("of:N", "kind")))["encoding"]
    assert found["x"] == {"field": "x", "type": "quantitative"} and found["y"]["title"] is None
    assert found["color"]["title"] == "kind"


def test_intervals_lie_across_the_axis_that_is_given():
    for own, across in (("x", "y"), ("y", "x")):
        found = drawn(intervals(**{own: f"{own}:Q"}))
        assert found["encoding"][across]["field"] == "low" and found["encoding"][f"{across}2"]["field"] == "high"
        assert found["transform"] == [{"filter": "isValid(datum.low)"}]
    assert "transform" not in drawn(intervals(only=None, x="x:Q"))


def test_reference_lines_have_rows_of_their_own_but_for_zero_within_facets():
    found = drawn(diagonal("x", "y", 1, 3), zero("x"), points("x:Q", "y:Q"), title="T", size=(100, None))
    ends, nought, own = (found["datasets"][layer["data"]["name"]] for layer in found["layer"])
    assert ends == [{"x": 1, "y": 1}, {"x": 3, "y": 3}] and nought == [{"x": 0}] and len(own) == 2
    assert found["title"] == "T" and found["width"] == 100 and "height" not in found
    faceted = drawn(
        zero(), points("x:Q", "y:Q"), facet=channel("of:N", "kind", sort=["b", "a"]), columns=1, apart=["y"]
    )
    assert faceted["spec"]["layer"][0]["encoding"]["x"] == {"datum": 0} and len(faceted["datasets"]) == 1
    assert faceted["facet"]["sort"] == ["b", "a"] and faceted["columns"] == 1
    assert faceted["resolve"]["scale"] == {"y": "independent"}


def test_charts_stand_beside_each_other():
    one = chart(pd.DataFrame(ROWS), lines("x:Q", "y:Q", look={}))
    found = json.loads(spec(beside([one, one], apart=["color"])))
    assert len(found["hconcat"]) == 2 and found["resolve"]["scale"] == {"color": "independent"}


def test_a_reliability_diagram_has_its_diagonal():
    frame = pd.DataFrame({"confidence": [0.5, 0.9], "accuracy": [0.4, 0.95], "who": ["a", "a"]})
    found = json.loads(spec(reliability(frame, color=channel("who:N", None), title="R")))
    assert found["layer"][0]["mark"]["strokeDash"] == [4, 4] and found["layer"][1]["mark"]["point"]


def test_a_column_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="missing"):
        spec(chart(ROWS, points("missing", "y:Q")))
