"""Figures of a student beside its teacher: first what each shows, as a plain table, then its drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from goodteacher.base.probability import log_soften
from goodteacher.diagnose.calibration import reliability
from goodteacher.diagnose.deviation import confidences, deviation
from goodteacher.diagnose.explain import Explanation, Part
from goodteacher.report.charts import WIDTH, beside, channel, chart, diagonal, intervals, lines, points, spec, zero
from goodteacher.report.charts import reliability as diagram

# Points drawn of a scatter: a page holds them all.
DRAWN = 800
POINTS = ["split", "teacher_sure", "student_sure", "teacher"]


def scatter_data(parts: Sequence[Part], *, most: int = DRAWN) -> pd.DataFrame:
    """Return log odds of the teacher's first class by both, for up to so many examples per split, evenly taken."""
    rows = []
    for part in parts:
        x, y = confidences(part.teacher, part.student)
        right = part.teacher.argmax(dim=1) == part.labels
        kept = torch.arange(min(most, len(x))) * len(x) // min(most, len(x))
        for i in kept.tolist():
            rows.append((part.name, round(float(x[i]), 3), round(float(y[i]), 3), "right" if right[i] else "wrong"))
    return pd.DataFrame(rows, columns=POINTS)


def median_data(parts: Sequence[Part]) -> pd.DataFrame:
    """Return the medians of both in bins of equally many examples by the teacher's, for each split."""
    rows = [
        (part.name, x, y, n)
        for part in parts
        for x, y, n in deviation(part.teacher, part.student).bins
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["split", "teacher_sure", "student_sure", "examples"])


def scatter_chart(parts: Sequence[Part], *, most: int = DRAWN) -> Any:
    """Draw a student's confidence against its teacher's, with the diagonal and the bins' medians, a panel per split."""
    dots, medians = scatter_data(parts, most=most), median_data(parts)
    low = float(dots[["teacher_sure", "student_sure"]].min().min())
    high = float(dots[["teacher_sure", "student_sure"]].max().max())
    drawn = points(
        channel("teacher_sure:Q", "log odds of the teacher's first class, by the teacher"),
        channel("student_sure:Q", "by the student"),
        look={"size": 10, "opacity": 0.35},
        color=channel("teacher:N", "teacher is"),
    )
    middle = lines(
        "teacher_sure:Q", "student_sure:Q", look={"point": True, "color": "black"},
        tooltip=["teacher_sure", "student_sure", "examples"],
    )  # fmt: skip
    line = diagonal("teacher_sure", "student_sure", low, high)
    panels = [
        chart(dots[dots["split"] == split], line, drawn, replace(middle, frame=medians[medians["split"] == split]),
              title=str(split))
        for split in dots["split"].unique()
    ]  # fmt: skip
    return beside(panels)


def reliability_data(parts: Sequence[Part]) -> pd.DataFrame:
    """Return the reliability curves of both in bins of equally many examples, for each split."""
    rows = []
    for part in parts:
        for who, logits in (("teacher", part.teacher), ("student", part.student)):
            curve = reliability(log_soften(logits.double()).exp(), part.labels, binning="mass", bins=10)
            pairs = zip(curve.confidence.tolist(), curve.accuracy.tolist(), strict=True)
            rows += [(part.name, who, confidence, accuracy) for confidence, accuracy in pairs]
    return pd.DataFrame(rows, columns=["split", "network", "confidence", "accuracy"])


def reliability_chart(part: Part) -> Any:
    """Draw the reliability of both on one split."""
    return diagram(reliability_data([part]), color=channel("network:N", None), title=f"Reliability on {part.name}")


def class_data(last: Explanation) -> pd.DataFrame:
    """Return the student's accuracy minus its teacher's in points, with intervals, class by class."""
    rows = [
        (g.name, *(100 * x for x in (g.contest.difference.mean, g.contest.difference.low, g.contest.difference.high)))
        for g in last.classes
    ]
    return pd.DataFrame(rows, columns=["class", "difference", "low", "high"])


def class_chart(last: Explanation) -> Any:
    """Draw the difference of accuracies class by class."""
    y = channel("class:N", None, sort="-x")
    x = channel("difference:Q", "student's accuracy minus teacher's, points")
    dots = points(x, y, look={"size": 60}, tooltip=["class", "difference"])
    layers = (zero("difference"), intervals(only=None, y=y), dots)
    return chart(class_data(last), *layers, size=(WIDTH, None), title=f"Class by class on {last.part.name}")


def charts_of(parts: Sequence[Explanation]) -> dict[str, str]:
    """Return every figure of an explanation as Vega-Lite JSON, by name."""
    shown = [e.part for e in parts if e.deviations]
    found = {"scatter": spec(scatter_chart(shown))} if shown else {}
    found["reliability"] = spec(reliability_chart(parts[-1].part))
    found["classes"] = spec(class_chart(parts[-1]))
    return found
