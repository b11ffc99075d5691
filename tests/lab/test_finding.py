"""A finding on disk: the JSON, the page, and the Markdown with its pictures."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

from goodteacher.report.tables import Grid
from goodteacher_lab.finding import Finding, write_finding

CHART = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "data": {"values": [{"x": 1, "y": 2}, {"x": 2, "y": 5}]},
    "mark": "point",
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
}


def test_all_three_say_the_same(tmp_path):
    grid = Grid("published against measured (n = 2)", ("what", "n|N"), (("a*", "3"), ("b", "4")), "below")
    charts = {"first": json.dumps(CHART), "second": json.dumps({**CHART, "mark": "line"})}
    finding = Finding("x/y", "A claim.", "It held.", ("a departure", "another"), (grid,), charts, {"n": 2})
    page = write_finding(
        finding, tmp_path / "f", source="A paper", budget="minutes", command="goodteacher reproduce x/y"
    )
    told = (tmp_path / "f" / "README.md").read_text()
    kept = json.loads((tmp_path / "f" / "finding.json").read_text())
    assert kept["tables"][0]["rows"] == [["a*", "3"], ["b", "4"]] and kept["environment"]["torch"]
    for text in ("A paper", "A claim.", "It held.", "a departure", "another", "below", "goodteacher reproduce x/y"):
        assert text in told and text in page.read_text()
    table = re.findall(r"^\|.*\|$", told, flags=re.M)
    assert table == ["| what | n\\|N |", "|---|---|", "| a\\* | 3 |", "| b | 4 |"]
    figures = re.findall(r"!\[(.*)\]\((.*)\)", told)
    assert figures == [("first", "figure1.svg"), ("second", "figure2.svg")]
    marks = [{e.get("class") for e in ET.parse(tmp_path / "f" / name).iter()} for _, name in figures]
    assert any("mark-symbol" in str(c) for c in marks[0]) and any("mark-line" in str(c) for c in marks[1])


def test_no_figure_no_picture(tmp_path):
    write_finding(Finding("x", "c", "v", (), (), {}, {}), tmp_path, source="s", budget="minutes", command="c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "finding.json", "report.html"]
