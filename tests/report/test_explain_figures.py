"""Figures of one student: their data, and that they can be drawn."""

from __future__ import annotations

import json

import pytest
import torch

from goodteacher.diagnose.deviation import confidences, deviation
from goodteacher.diagnose.explain import Part, explain
from goodteacher.report.explain_figures import (
    charts_of,
    class_data,
    median_data,
    reliability_data,
    scatter_data,
)


@pytest.fixture(scope="module")
def part():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    truth = 2 * torch.nn.functional.one_hot(labels, 3)
    return Part("test", *(truth + torch.randn(90, 3, generator=generator) for _ in range(2)), labels)


def test_points_are_the_confidences_with_the_teachers_being_right(part):
    data = scatter_data([part])
    x, y = confidences(part.teacher, part.student)
    assert data["teacher_sure"].tolist() == pytest.approx(x.tolist(), abs=1e-3)
    assert data["student_sure"].tolist() == pytest.approx(y.tolist(), abs=1e-3)
    assert (data["teacher"] == "right").tolist() == (part.teacher.argmax(1) == part.labels).tolist()
    assert len(scatter_data([part], most=30)) == 30


def test_medians_are_the_deviations_bins(part):
    rows = median_data([part])[["teacher_sure", "student_sure", "examples"]].to_numpy().tolist()
    assert [tuple(r) for r in rows] == [(x, y, float(n)) for x, y, n in deviation(part.teacher, part.student).bins]


def test_both_networks_have_a_reliability_curve(part):
    data = reliability_data([part])
    assert data.groupby("network").size().to_dict() == {"student": 10, "teacher": 10}


def test_class_differences_are_in_points(part):
    e = explain(part, ("a", "b", "c"))
    data = class_data(e)
    assert data["difference"].tolist() == pytest.approx([100 * g.contest.difference.mean for g in e.classes])


def test_charts_are_vega_lite_with_their_data(part):
    found = charts_of([explain(part, ("a", "b", "c"))])
    assert list(found) == ["scatter", "reliability", "classes"]
    for text in found.values():
        chart = json.loads(text)
        assert "vega-lite" in chart["$schema"] and chart["datasets"]


def test_too_few_examples_for_a_deviation_leave_out_the_scatter():
    few = Part("test", torch.eye(2), torch.eye(2), torch.tensor([0, 1]))
    assert list(charts_of([explain(few, ("a", "b"))])) == ["reliability", "classes"]
