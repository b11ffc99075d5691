"""Figures: first what each shows, as a plain table, then its drawing as a Vega-Lite specification."""

from __future__ import annotations

from typing import Any

import pandas as pd

from goodteacher.base.probability import log_soften
from goodteacher.diagnose.calibration import reliability
from goodteacher.diagnose.results import Results

WIDTH, HEIGHT = 380, 270  # two side by side on the page


def curves_data(results: Results) -> pd.DataFrame:
    """Return validation accuracy and Brier by epoch, mean over seeds, for every teacher and student arm."""
    rows = []
    plan = results.plan
    arms = [("teacher", arm, run) for (arm, _), who in plan.teachers.items() for run in who.runs]
    arms += [("student", c.student + (f" < {c.teacher}" if c.teacher else ""), c.run) for c in plan.cells]
    for kind, arm, run in arms:
        if run in results.missing:
            continue
        for event in results.run(run).records:
            if "validation" in event:
                scores = {k: event["validation"][k] for k in ("accuracy", "brier")}
                rows.append({"kind": kind, "arm": arm, "epoch": event["epoch"], **scores})
    frame = pd.DataFrame(rows, columns=["kind", "arm", "epoch", "accuracy", "brier"])
    return frame.groupby(["kind", "arm", "epoch"], as_index=False, sort=False).mean(numeric_only=True)


def reliability_data(results: Results) -> pd.DataFrame:
    """Return the reliability curve of every teacher arm on validation, seeds joined."""
    rows = []
    for r in results.ranked:
        logits, labels = results.reliability_logits(r.name)
        curve = reliability(log_soften(logits.double()).exp(), labels, binning="mass", bins=10)
        pairs = zip(curve.confidence.tolist(), curve.accuracy.tolist(), strict=True)
        rows += [{"teacher": r.name, "confidence": c, "accuracy": a} for c, a in pairs]
    return pd.DataFrame(rows, columns=["teacher", "confidence", "accuracy"])


def scatter_chart(results: Results) -> Any:
    """Draw student accuracy against the predictor, a point a teacher arm, with intervals."""
    import altair as alt

    points = results.points
    scale = alt.Scale(zero=False, nice=False, padding=20)  # no point on the frame
    base = alt.Chart(points).encode(
        x=alt.X(
            "calibrated_brier:Q",
            title="calibrated Brier of the teacher, validation",
            scale=scale,
            axis=alt.Axis(tickCount=6),
        ),
        color=alt.Color("teacher:N", title="teacher"),
    )
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=alt.Y("student_accuracy:Q", title="test accuracy of the student", scale=scale, axis=alt.Axis(format=".1%")),
        shape=alt.Shape("student:N", title="student"),
        tooltip=["teacher", "student", alt.Tooltip("student_accuracy:Q", format=".2%")],
    )
    bars = base.mark_rule(opacity=0.6).encode(y="low:Q", y2="high:Q")
    return (bars + dots).properties(width=WIDTH, height=HEIGHT, title="What the score said, and what the students did")


def curves_chart(results: Results) -> Any:
    """Draw validation Brier by epoch, teachers beside students."""
    import altair as alt

    data = curves_data(results)
    sides = []
    for kind in data["kind"].unique():
        lines = alt.Chart(data[data["kind"] == kind], title=f"Brier score while training, {kind}s")
        lines = lines.mark_line(point=alt.OverlayMarkDef(size=12)).encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("brier:Q", title="Brier score, validation", scale=alt.Scale(zero=False)),
            color=alt.Color("arm:N", title=None, legend=alt.Legend(orient="bottom", columns=2, labelLimit=0)),
            tooltip=["arm", "epoch", alt.Tooltip("accuracy:Q", format=".2%"), alt.Tooltip("brier:Q", format=".4f")],
        )
        sides.append(lines.properties(width=WIDTH, height=HEIGHT))
    return alt.hconcat(*sides).resolve_scale(color="independent")


def reliability_chart(results: Results) -> Any:
    """Draw the reliability diagram of the teachers."""
    import altair as alt

    diagonal = (
        alt.Chart(pd.DataFrame({"confidence": [0, 1], "accuracy": [0, 1]}))
        .mark_line(strokeDash=[4, 4], color="grey")
        .encode(x="confidence:Q", y="accuracy:Q")
    )
    lines = (
        alt.Chart(reliability_data(results))
        .mark_line(point=True)
        .encode(
            x=alt.X("confidence:Q", title="mean top probability in the bin"),
            y=alt.Y("accuracy:Q", title="share that is right"),
            color=alt.Color("teacher:N", title="teacher"),
        )
    )
    return (diagonal + lines).properties(width=WIDTH, height=HEIGHT, title="Reliability of the teachers, validation")


def charts(results: Results) -> dict[str, str]:
    """Return every figure of a study as Vega-Lite JSON, by name; figures without data are left out."""
    found: dict[str, str] = {}
    if not results.points.empty:
        found["scatter"] = scatter_chart(results).to_json(indent=None)
    if results.ranked:
        found["reliability"] = reliability_chart(results).to_json(indent=None)
    if not curves_data(results).empty:
        found["curves"] = curves_chart(results).to_json(indent=None)
    return found
