"""The panels of the MSE teacher's figure 1: correlations, tables and charts of its dots."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from goodteacher.base.stats import Estimate, mean_interval, paired_difference, spearman
from goodteacher.report.charts import beside, channel, chart, free, points, spec
from goodteacher.report.tables import Grid, correlation, each, grid, percent
from goodteacher_lab.judging import correlation_difference

SHARE, SHARE_HALF, PERTURBED = "share of the label", "share of the label, at most 1/2", "three perturbations"
CROSS_ENTROPY, BRIER, BRIER_SUM = "cross-entropy teacher", "Brier teacher", "summed Brier teacher"
SLOW = "slowed cross-entropy teacher"
NETWORKS = (CROSS_ENTROPY, BRIER, BRIER_SUM, SLOW)
COMPARISONS = ((BRIER, CROSS_ENTROPY), (BRIER_SUM, CROSS_ENTROPY), (SLOW, CROSS_ENTROPY), (BRIER, SLOW))


@dataclass(frozen=True)
class Point:
    """A dot of the figure.

    Attributes:
        kind: of the target.
        accuracy: of the student, on test.
        mse: mean over training examples of the squared distance to p*.
        ce: mean cross-entropy from p*, nats.
        drawn_mse: the paper's axis: norm over all training entries.
        drawn_ce: the paper's axis: clamped, and the other way round for teachers.
        settings: what made the target.
        of: the teacher's own scores on test.
    """

    kind: str
    accuracy: float
    mse: float
    ce: float
    drawn_mse: float
    drawn_ce: float
    settings: dict[str, float]
    of: dict[str, float]


# Panels: title, axes, kinds of dots, whether a dot of a network belongs to it.
PANELS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "as the paper drew it": ("drawn_mse", "drawn_ce", (SHARE, SHARE_HALF, CROSS_ENTROPY, BRIER)),
    "as it should be": ("mse", "ce", (SHARE, SHARE_HALF, *NETWORKS)),
    "three perturbations at once": ("mse", "ce", (PERTURBED, *NETWORKS)),
}
AXES = {
    "mse": "mean squared distance to p*",
    "ce": "cross-entropy from p*, nats",
    "drawn_mse": "norm of the distance to p*, all entries",
    "drawn_ce": "cross-entropy, clamped; of teachers the other way round",
}


@dataclass(frozen=True)
class Judged:
    """What one panel's two axes tell of the students.

    Attributes:
        mse: rank correlation of the student's accuracy with the squared distance.
        ce: with the cross-entropy.
        difference: ``ce`` less ``mse``; positive where the squared distance orders better.
        between: rank correlation of the two axes.
        disagree: pairs of dots that the axes order differently.
        right: share of those in which the dot of smaller squared distance has the better student.
    """

    mse: Estimate
    ce: Estimate
    difference: Estimate
    between: float
    disagree: int
    right: float


def judge(mse: Sequence[float], ce: Sequence[float], accuracy: Sequence[float]) -> Judged:
    """Return what two distances tell of accuracy.

    Args:
        mse: squared distance of each dot.
        ce: cross-entropy of each.
        accuracy: of each student.
    """
    a, b, y = (np.asarray(v, dtype=float) for v in (mse, ce, accuracy))
    first, second = np.triu_indices(len(y), 1)
    by_mse, by_ce, by_student = (np.sign(v[first] - v[second]) for v in (a, b, -y))
    told = (by_mse * by_ce < 0) & (by_student != 0)
    right = float((by_mse == by_student)[told].mean()) if told.any() else float("nan")
    between = spearman(a.tolist(), b.tolist()).mean
    own = spearman(a.tolist(), y.tolist()), spearman(b.tolist(), y.tolist())
    return Judged(*own, correlation_difference(a, b, y), between, int(told.sum()), right)


def panel_rows(points: Sequence[Point]) -> dict[tuple[str, str], Judged]:
    """Return every panel judged on its dots: those that no network made, the networks', and all."""
    found = {}
    for panel, (x, other, kinds) in PANELS.items():
        groups = {
            "noise alone": [k for k in kinds if k not in NETWORKS],
            "teachers alone": [k for k in kinds if k in NETWORKS],
            "all": list(kinds),
        }
        # The teachers' dots of the last panel are those of the panel before.
        for group, wanted in itertools.islice(groups.items(), 1) if PERTURBED in kinds else groups.items():
            dots = [p for p in points if p.kind in wanted]
            if len(dots) >= 4:
                values = [[getattr(p, name) for p in dots] for name in (x, other, "accuracy")]
                found[panel, group] = judge(*values)
    return found


def figure_grids(problems: Sequence[Sequence[Point]]) -> tuple[Grid, ...]:
    """Return the tables: correlations of each panel, and teachers by kind."""
    judged = [panel_rows(points) for points in problems]
    first = _correlation_grid(judged[0], "" if len(problems) == 1 else ", first draw of the problem")
    several = () if len(problems) == 1 else (_problem_grid(problems, judged),)
    teachers = _teacher_grid(problems)
    return (first, *several, *((teachers,) if teachers is not None else ()))


Panel = tuple[str, str]
PANEL: dict[str, Callable[[tuple[Panel, Any]], str]] = {"panel": lambda row: row[0][0], "dots": lambda row: row[0][1]}
DISTANCES = {"with squared distance": "mse", "with cross-entropy": "ce", "difference": "difference"}


def _correlation_grid(judged: dict[Panel, Judged], where: str) -> Grid:
    columns: dict[str, Callable[[tuple[Panel, Judged]], str]] = {
        **PANEL,
        "n": lambda row: str(row[1].mse.n),
        **each(DISTANCES, lambda row, name: correlation(getattr(row[1], name))),
        "axes with each other": lambda row: "-" if np.isnan(row[1].between) else f"{row[1].between:+.2f}",
        "disagreeing pairs: distance right": lambda row: (
            "-" if np.isnan(row[1].right) else f"{100 * row[1].right:.0f}% of {row[1].disagree}"
        ),
    }
    return grid(
        f"Rank correlation of student accuracy with the distance of its targets to p*{where}",
        judged.items(),
        columns,
        "Spearman's, [95% bootstrap interval over dots]; -1: the closer, always the more accurate. Difference: cross-entropy's "
        "less squared distance's, resampled together; positive: squared distance orders better. Last column: pairs of dots that "
        "the two order differently, and the share in which squared distance is right.",
    )


def panel_estimates(problems: Sequence[Sequence[Point]]) -> dict[tuple[str, str], dict[str, Estimate]]:
    """Return each panel's correlations and their difference: over the dots of one draw, or over several draws."""
    judged = [panel_rows(points) for points in problems]
    found: dict[tuple[str, str], dict[str, Estimate]] = {}
    for key in judged[0]:
        rows = [of_draw[key] for of_draw in judged if key in of_draw]
        for name in ("mse", "ce", "difference"):
            values = [getattr(row, name).mean for row in rows]
            known = [value for value in values if not np.isnan(value)]
            alone = len(problems) == 1 or not known
            found.setdefault(key, {})[name] = getattr(rows[0], name) if alone else mean_interval(known)
    return found


def _problem_grid(problems: Sequence[Sequence[Point]], judged: Sequence[dict[Panel, Judged]]) -> Grid:
    columns: dict[str, Callable[[tuple[Panel, dict[str, Estimate]]], str]] = {
        **PANEL,
        "n": lambda row: str(sum(row[0] in of_draw for of_draw in judged)),
        **each(DISTANCES, lambda row, name: correlation(row[1][name])),
    }
    title = f"The same over draws of the problem (n = {len(judged)})"
    note = "Mean over draws of means and examples, [95% t interval]."
    return grid(title, panel_estimates(problems).items(), columns, note)


TEACHER_COLUMNS = {
    "taught mse": ("squared distance, training inputs", 4),
    "taught ce": ("cross-entropy, training inputs", 4),
    "mse": ("squared distance, test", 4),
    "kl": ("KL, test", 4),
    "accuracy": ("teacher accuracy", None),
    "student": ("student accuracy", None),
}


def teacher_values(points: Sequence[Point]) -> dict[str, dict[str, list[float]]]:
    """Return kind of teacher to quantity to values, in the order of teachers."""
    found: dict[str, dict[str, list[float]]] = {}
    for p in points:
        if p.kind in NETWORKS:
            row = {"taught mse": p.mse, "taught ce": p.ce, **p.of, "student": p.accuracy}
            for name in TEACHER_COLUMNS:
                found.setdefault(p.kind, {}).setdefault(name, []).append(row[name])
    return found


def pooled(problems: Sequence[Sequence[Point]]) -> dict[str, dict[str, list[float]]]:
    """Return the values of one draw's teachers, or the mean of each of several draws.

    Teachers of one draw share its means and examples, so that draws and not teachers are what a second study would repeat.
    """
    values = [teacher_values(points) for points in problems]
    if len(values) == 1:
        return values[0]
    shared = [kind for kind in values[0] if all(kind in of_draw for of_draw in values)]
    return {
        kind: {name: [float(np.mean(of_draw[kind][name])) for of_draw in values] for name in TEACHER_COLUMNS}
        for kind in shared
    }


def _teacher_grid(problems: Sequence[Sequence[Point]]) -> Grid | None:
    values = pooled(problems)
    if not values:
        return None

    def cell(estimate: Estimate, digits: int | None, *, signed: bool = False) -> str:
        if digits is None:
            return percent(estimate, signed=signed)
        mean = f"{estimate.mean:+.{digits}f}" if signed else f"{estimate.mean:.{digits}f}"
        return mean if estimate.n == 1 else f"{mean} ± {estimate.half:.{digits}f}"

    rows = []
    for kind, row in values.items():
        cells = [cell(mean_interval(row[name]), digits) for name, (_, digits) in TEACHER_COLUMNS.items()]
        rows.append((kind, *cells, str(len(row["student"]))))
    for kind, base in COMPARISONS:
        if kind in values and base in values:
            pairs = [
                cell(paired_difference(values[kind][name], values[base][name]), digits, signed=True)
                for name, (_, digits) in TEACHER_COLUMNS.items()
            ]
            rows.append((f"{kind} - {base}", *pairs, str(len(values[kind]["student"]))))
    columns = ("teacher", *(title for title, _ in TEACHER_COLUMNS.values()), "n")
    over = "teachers of this one draw of the problem" if len(problems) == 1 else "draws of the problem"
    note = (
        f"± is half a 95% t interval over n {over}; differences are paired by first weights and batches. Accuracies in % and "
        "points; KL from p*, nats."
    )
    return Grid("Teachers by objective, and their students", columns, tuple(rows), note)


def plain_points(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return dots as plain data."""
    return [asdict(p) for p in points]


def figure_charts(dots: Sequence[Point]) -> dict[str, str]:
    """Return the panels as charts, those of squared distance left and of cross-entropy right."""
    charts = {}
    y, color = free("accuracy", "student accuracy on test, %"), channel("target:N", "taught by")
    for panel, (x, other, kinds) in PANELS.items():
        rows = [
            {"target": p.kind, "x": getattr(p, x), "other": getattr(p, other), "accuracy": 100 * p.accuracy}
            for p in dots
            if p.kind in kinds
        ]
        sides = [
            points(free(at, AXES[name]), y, look={"opacity": 0.7}, color=color, tooltip=["target", at, "accuracy"])
            for at, name in (("x", x), ("other", other))
        ]
        if rows:
            charts[panel] = spec(beside([chart(rows, side, size=(300, 240)) for side in sides]))
    return charts
