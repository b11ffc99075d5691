"""Figures: first what each shows, as a plain table, then its drawing as a Vega-Lite specification."""

from __future__ import annotations

from typing import Any

import pandas as pd

from goodteacher.base.probability import log_soften
from goodteacher.diagnose.calibration import reliability
from goodteacher.diagnose.results import Results
from goodteacher.report.charts import beside, channel, chart, free, intervals, lines, points, spec
from goodteacher.report.charts import reliability as diagram
from goodteacher.report.costs import cost_chart


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
    """Draw student accuracy against the predictor, one point per teacher arm, with intervals."""
    scale = {"zero": False, "nice": False, "padding": 20}  # no point on the frame
    x = channel("calibrated_brier:Q", "calibrated Brier of the teacher, validation", scale=scale, axis={"tickCount": 6})
    y = channel("student_accuracy:Q", "test accuracy of the student", scale=scale, axis={"format": ".1%"})
    color = channel("teacher:N", "teacher")
    bars = intervals(only=None, look={"opacity": 0.6}, x=x, color=color)
    dots = points(
        x, y, look={"size": 90, "opacity": 1}, color=color, shape=channel("student:N", "student"),
        tooltip=["teacher", "student", channel("student_accuracy:Q", format=".2%")],
    )  # fmt: skip
    return chart(results.points, bars, dots, title="What the score said, and what the students did")


def curves_chart(results: Results) -> Any:
    """Draw validation Brier by epoch, teachers beside students."""
    data = curves_data(results)
    drawn = lines(
        channel("epoch:Q", "epoch", axis={"tickMinStep": 1}),
        free("brier", "Brier score, validation"),
        look={"point": {"size": 12}},
        color=channel("arm:N", None, legend={"orient": "bottom", "columns": 2, "labelLimit": 0}),
        tooltip=["arm", "epoch", channel("accuracy:Q", format=".2%"), channel("brier:Q", format=".4f")],
    )
    return beside(
        [
            chart(data[data["kind"] == kind], drawn, title=f"Brier score while training, {kind}s")
            for kind in data["kind"].unique()
        ],
        apart=["color"],
    )


def reliability_chart(results: Results) -> Any:
    """Draw the reliability diagram of the teachers."""
    title = "Reliability of the teachers, validation"
    return diagram(reliability_data(results), color=channel("teacher:N", "teacher"), title=title)


def charts(results: Results) -> dict[str, str]:
    """Return every figure of a study as Vega-Lite JSON, by name; figures without data are left out."""
    found: dict[str, str] = {}
    if not results.points.empty:
        found["scatter"] = spec(scatter_chart(results))
    costs = cost_chart(results)
    if costs is not None:
        found["costs"] = spec(costs)
    if results.ranked:
        found["reliability"] = spec(reliability_chart(results))
    if not curves_data(results).empty:
        found["curves"] = spec(curves_chart(results))
    return found
