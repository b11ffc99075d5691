"""What networks cost to run, as a table, and accuracy against it as a figure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from goodteacher.diagnose.results import Results
from goodteacher.report.charts import channel, chart, free, intervals, points
from goodteacher.report.tables import Grid


def cost_grid(results: Results) -> Grid | None:
    """Return what the networks of a study cost to run, largest first, or None where nothing was measured."""
    found = sorted(results.footprints.items(), key=lambda item: -item[1].macs)
    # Arms of one network differ in what they were taught, and not in what they cost: they share a row.
    alike: dict[tuple[int, int], list[str]] = {}
    for arm, cost in found:
        alike.setdefault((cost.parameters, cost.macs), []).append(arm)
    rows = []
    for arms in alike.values():
        cost = results.footprints[arms[0]]
        rows.append(
            (
                ", ".join(arms), short(cost.parameters), short(cost.macs), f"{cost.bytes / 1e6:.2f}",
                *(f"{ms:.2f}" for ms in cost.milliseconds.values()),
            )
        )  # fmt: skip
    if not rows:
        return None
    first = found[0][1]
    columns = ("network", "parameters", "MACs", "MB", *(f"ms for {count}" for count in first.milliseconds))
    threads = f"{first.threads} thread{'s' if first.threads > 1 else ''}"
    note = (
        "MACs: multiplications with addition per example. MB: of the weights in fp32. ms: median of 9 calls in fp32 on "
        f"{first.processor}, {threads}."
    )
    return Grid("What the networks cost to run", columns, tuple(rows), note)


def short(count: int) -> str:
    """Return a count with three digits.

    Example:
        >>> short(77754), short(12_340_000), short(812)
        ('77.8 k', '12.3 M', '812')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def cost_data(results: Results) -> pd.DataFrame:
    """Return test accuracy and MACs of every student arm under each of its teachers."""
    rows = [
        {
            "student": r.student, "teacher": r.teacher or "(alone)", "macs": results.footprints[r.student].macs,
            "accuracy": r.accuracy.mean, "low": r.accuracy.low, "high": r.accuracy.high,
        }
        for r in results.students
        if r.student in results.footprints
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["student", "teacher", "macs", "accuracy", "low", "high"])


def cost_chart(results: Results) -> Any | None:
    """Draw accuracy against cost, or return None where all students cost the same."""
    data = cost_data(results)
    if data["macs"].nunique() < 2:
        return None
    x = channel(
        "macs:Q", "multiplications with addition per example", scale={"type": "log", "nice": False, "padding": 20}
    )
    y = free("accuracy", "test accuracy", padding=20)
    color = channel("teacher:N", "taught by")
    dots = points(
        x, y, look={"size": 90, "opacity": 1}, color=color, shape=channel("student:N", "student"),
        tooltip=["student", "teacher", channel("accuracy:Q", format=".2%"), channel("macs:Q", format=".3s")],
    )  # fmt: skip
    return chart(data, intervals(x=x, color=color), dots, title="Accuracy against cost")
