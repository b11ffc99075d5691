"""Figures of a student beside its teacher: first what each shows, as a plain table, then its drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from goodteacher.base.probability import log_soften
from goodteacher.diagnose.calibration import reliability
from goodteacher.diagnose.deviation import confidences, deviation
from goodteacher.diagnose.explain import Explanation, Part
from goodteacher.report.figures import HEIGHT, WIDTH

# Points drawn of a scatter: a page holds them all.
DRAWN = 800
POINTS = ["split", "teacher_sure", "student_sure", "teacher"]


def scatter_data(parts: Sequence[Part], *, most: int = DRAWN) -> pd.DataFrame:
    """Return log odds of the teacher's first class by both, for up to so many examples a split, evenly taken."""
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
    """Draw a student's confidence against its teacher's, with the diagonal and the bins' medians, a panel a split."""
    import altair as alt

    points, medians = scatter_data(parts, most=most), median_data(parts)
    low = float(points[["teacher_sure", "student_sure"]].min().min())
    high = float(points[["teacher_sure", "student_sure"]].max().max())
    panels = []
    for split in points["split"].unique():
        diagonal = alt.Chart(pd.DataFrame({"teacher_sure": [low, high], "student_sure": [low, high]}))
        line = diagonal.mark_line(strokeDash=[4, 4], color="grey").encode(x="teacher_sure:Q", y="student_sure:Q")
        dots = alt.Chart(points[points["split"] == split]).mark_point(filled=True, size=10, opacity=0.35).encode(
            x=alt.X("teacher_sure:Q", title="log odds of the teacher's first class, by the teacher"),
            y=alt.Y("student_sure:Q", title="by the student"),
            color=alt.Color("teacher:N", title="teacher is"),
        )  # fmt: skip
        middle = alt.Chart(medians[medians["split"] == split]).mark_line(point=True, color="black").encode(
            x="teacher_sure:Q", y="student_sure:Q", tooltip=["teacher_sure", "student_sure", "examples"]
        )  # fmt: skip
        panels.append((line + dots + middle).properties(width=WIDTH, height=HEIGHT, title=str(split)))
    return alt.hconcat(*panels)


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
    import altair as alt

    diagonal = alt.Chart(pd.DataFrame({"confidence": [0, 1], "accuracy": [0, 1]}))
    line = diagonal.mark_line(strokeDash=[4, 4], color="grey").encode(x="confidence:Q", y="accuracy:Q")
    curves = alt.Chart(reliability_data([part])).mark_line(point=True).encode(
        x=alt.X("confidence:Q", title="mean top probability in the bin"),
        y=alt.Y("accuracy:Q", title="share that is right"),
        color=alt.Color("network:N", title=None),
    )  # fmt: skip
    return (line + curves).properties(width=WIDTH, height=HEIGHT, title=f"Reliability on {part.name}")


def class_data(last: Explanation) -> pd.DataFrame:
    """Return the student's accuracy minus its teacher's in points, with intervals, class by class."""
    rows = [
        (g.name, *(100 * x for x in (g.contest.difference.mean, g.contest.difference.low, g.contest.difference.high)))
        for g in last.classes
    ]
    return pd.DataFrame(rows, columns=["class", "difference", "low", "high"])


def class_chart(last: Explanation) -> Any:
    """Draw the difference of accuracies class by class."""
    import altair as alt

    base = alt.Chart(class_data(last)).encode(y=alt.Y("class:N", title=None, sort="-x"))
    dots = base.mark_point(filled=True, size=60).encode(
        x=alt.X("difference:Q", title="student's accuracy minus teacher's, points"), tooltip=["class", "difference"]
    )
    bars = base.mark_rule().encode(x="low:Q", x2="high:Q")
    zero = alt.Chart(pd.DataFrame({"difference": [0]})).mark_rule(strokeDash=[4, 4], color="grey").encode(
        x="difference:Q"
    )  # fmt: skip
    return (zero + bars + dots).properties(width=WIDTH, title=f"Class by class on {last.part.name}")


def charts_of(parts: Sequence[Explanation]) -> dict[str, str]:
    """Return every figure of an explanation as Vega-Lite JSON, by name."""
    shown = [e.part for e in parts if e.deviations]
    found = {"scatter": scatter_chart(shown).to_json(indent=None)} if shown else {}
    found["reliability"] = reliability_chart(parts[-1].part).to_json(indent=None)
    found["classes"] = class_chart(parts[-1]).to_json(indent=None)
    return found
