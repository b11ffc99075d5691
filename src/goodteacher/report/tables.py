"""Results as tables: plain rows first, then the terminal's rendering of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from goodteacher.base.stats import Estimate
from goodteacher.diagnose.ranking import Ranked
from goodteacher.diagnose.results import Results
from goodteacher.diagnose.scorecard import QUANTITIES

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True)
class Grid:
    """A table as text.

    Attributes:
        title: what it shows, with n.
        columns: headings.
        rows: cells.
        note: what must be said below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def grid(title: str, rows: Iterable[T], columns: Mapping[str, Callable[[T], str]], note: str = "") -> Grid:
    """Return rows as a table.

    Args:
        title: what it shows, with n.
        rows: of any kind.
        columns: heading to how a row is written in it.
        note: what must be said below it.

    Example:
        >>> grid("Squares", [2, 3], {"x": str, "x²": lambda x: str(x * x)}).rows
        (('2', '4'), ('3', '9'))
    """
    return Grid(title, tuple(columns), tuple(tuple(cell(row) for cell in columns.values()) for row in rows), note)


def each(keys: Mapping[str, K], cell: Callable[[T, K], str]) -> dict[str, Callable[[T], str]]:
    """Return columns that one function writes, each from a key of its own.

    Args:
        keys: heading to key.
        cell: of a row and a key.

    Example:
        >>> grid("Powers", [2, 3], each({"x²": 2, "x³": 3}, lambda x, k: str(x**k))).rows
        (('4', '8'), ('9', '27'))
    """

    def of(key: K) -> Callable[[T], str]:
        return lambda row: cell(row, key)

    return {heading: of(key) for heading, key in keys.items()}


def percent(estimate: Estimate | None, *, signed: bool = False) -> str:
    """Return an accuracy, or a difference of two, in percentage points with its interval's half-width."""
    if estimate is None or math.isnan(estimate.mean):
        return "-"
    sign = "+" if signed else ""
    mean = f"{100 * estimate.mean:{sign}.2f}"
    return mean if math.isnan(estimate.low) else f"{mean} ± {100 * estimate.half:.2f}"


def ends(estimate: Estimate) -> str:
    """Return an interval in brackets, or a dash where there is none."""
    return "-" if math.isnan(estimate.low) else f"[{estimate.low:+.2f}, {estimate.high:+.2f}]"


def correlation(estimate: Estimate) -> str:
    """Return a rank correlation with its interval where it has one, or a dash."""
    if math.isnan(estimate.mean):
        return "-"
    return f"{estimate.mean:+.2f}" + ("" if math.isnan(estimate.low) else f" {ends(estimate)}")


def number(value: float, digits: int = 4) -> str:
    """Return a number, or a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


# Columns of the short table: heading, factor, digits.
SHORT = {
    "calibrated_brier": ("calibrated Brier", 1, 4),
    "brier": ("Brier", 1, 4),
    "calibrated_nll": ("calibrated NLL", 1, 4),
    "nll": ("NLL", 1, 4),
    "accuracy": ("accuracy %", 100, 2),
    "ece": ("ECE", 1, 3),
}


def teacher_grid(ranked: Sequence[Ranked], *, title: str = "Teachers, ranked on validation before any student") -> Grid:
    """Return the ranking of candidate teachers.

    Args:
        ranked: best first.
        title: of the table.

    Returns:
        The table; the deciding quantity comes first, with its interval, and a tie with the best is marked.
    """
    by = ranked[0].by if ranked else "calibrated_brier"
    heading, factor, digits = SHORT.get(by, (by.replace("_", " "), 1, 4))
    others = {name: column for name, column in SHORT.items() if name != by}
    rows = []
    for place, r in enumerate(ranked, start=1):
        mean = number(factor * r.estimate.mean, digits)
        deciding = mean if math.isnan(r.estimate.low) else f"{mean} ± {factor * r.estimate.half:.{digits}f}"
        to_best = "best" if place == 1 else _to_best(r, factor, max(digits, 4 if factor == 1 else 2))
        rest = (number(k * r.scores[name], d) for name, (_, k, d) in others.items())
        rows.append((str(place), r.name, deciding, to_best, *rest, f"{r.temperature:.2f}"))
    n = f"{_seeds(ranked)} of {ranked[0].examples} examples" if ranked else "n = 0"
    columns = ("#", "teacher", heading, "to the best", *(title for title, _, _ in others.values()), "T")
    better = QUANTITIES[by].better
    note = (
        f"Ranked by {heading}: {QUANTITIES[by].description}; {better} is better. Calibrated: after the temperature T that "
        "minimises the score, fitted and scored on different halves. To the best: paired difference, positive is worse. ± is "
        f"half a 95% interval, of the difference over {_over(ranked)}; tied: it holds zero."
    )
    return Grid(f"{title} ({n})", columns, tuple(rows), note)


def _to_best(r: Ranked, factor: float, digits: int) -> str:
    mean = f"{factor * r.to_best.mean:+.{digits}f}"
    if math.isnan(r.to_best.low):
        return f"{mean} (no interval)"
    return f"{mean} ± {factor * r.to_best.half:.{digits}f}{' (tied)' if r.tied else ''}"


def _over(ranked: Sequence[Ranked]) -> str:
    """Say what the differences' intervals are over."""
    words = {"seeds": "seeds", "examples": "examples", "resamples": "resamples of the examples"}
    found = {r.over for r in ranked[1:]} or {r.over for r in ranked} or {"seeds"}
    said = [text for key, text in words.items() if key in found]
    return ", or ".join(said) + (" where seeds do not pair or do not differ" if len(said) > 1 else "") or "nothing"


def scorecard_grid(ranked: Sequence[Ranked], *, most: int = 8) -> Grid:
    """Return the whole scorecard: quantities down, candidates across.

    Args:
        ranked: best first.
        most: candidates shown.

    Returns:
        The table, with the quantities that somebody shown has; those before a target map come last, under that heading.
    """
    shown = ranked[:most]
    after = [(name, q) for name, q in QUANTITIES.items() if any(name in r.scores for r in shown)]
    before = [(name, q) for name, q in QUANTITIES.items() if any(name in r.before for r in shown)]
    blank = ("",) * (len(shown) + 1)
    rows = [(name.replace("_", " "), q.better or "", *_cells(name, [r.scores for r in shown])) for name, q in after]
    if before:
        rows.append(("before the map", *blank))
        rows += [
            (f"  {name.replace('_', ' ')}", q.better or "", *_cells(name, [r.before for r in shown]))
            for name, q in before
        ]
    more = f" The first {most} of {len(ranked)} candidates." if len(ranked) > most else ""
    title = f"Scorecard ({_seeds(ranked)} of {ranked[0].examples} examples)" if ranked else "Scorecard (n = 0)"
    note = "Means over examples and seeds, of what a student would be taught; -: not known." + more
    return Grid(title, ("quantity", "better", *(r.name for r in shown)), tuple(rows), note)


def _cells(name: str, scores: Sequence[dict[str, float]]) -> list[str]:
    return [f"{s[name]:.4g}" if name in s else "-" for s in scores]


def _seeds(ranked: Sequence[Ranked]) -> str:
    low, high = min(r.seeds for r in ranked), max(r.seeds for r in ranked)
    return f"n = {low}{f' to {high}' if high > low else ''} seed{'s' if high > 1 else ''}"


# Columns of the students' table where test classes are of unlike size: score to heading.
BALANCED = {"balanced_accuracy": "balanced accuracy %", "macro_f1": "macro-F1 %"}


def student_grid(results: Results) -> Grid:
    """Return students by teacher with paired comparisons.

    Args:
        results: of a study.

    Returns:
        The table, best first within each student arm.
    """
    rows = []
    order = {arm: i for i, arm in enumerate(dict.fromkeys(r.student for r in results.students))}
    for r in sorted(results.students, key=lambda r: (order[r.student], -r.accuracy.mean)):
        p = "-" if r.to_baseline is None else f"{number(r.to_baseline.p)} / {number(r.holm)}"
        baseline = "baseline" if r.teacher == results.baseline else percent(r.to_baseline, signed=True)
        cells = (r.student, r.teacher or "(alone)", percent(r.accuracy), baseline if r.teacher else "-", p)
        balanced = [f"{100 * r.extra[name]:.2f}" for name in BALANCED if results.is_unbalanced]
        rest = (
            percent(r.to_alone, signed=True),
            *balanced,
            number(r.extra["brier"]),
            number(r.extra["nll"]),
            number(r.extra["ece"], 3),
        )
        rows.append((*cells, *rest, str(r.accuracy.n)))
    columns = (
        "student", "taught by", "test accuracy %", f"minus taught by {results.baseline}", "p exact / Holm",
        "minus alone", *(BALANCED.values() if results.is_unbalanced else ()), "Brier", "NLL", "ECE", "n",
    )  # fmt: skip
    least = min((2 ** (1 - r.accuracy.n) for r in results.students), default=1.0)
    note = (
        "Last or chosen checkpoint, test read once. ± is half a 95% t interval over seeds; differences are paired by seed, and "
        "seed k of a student learns from seed k of its teacher. p exact: sign flips, which cannot go below "
        f"{least:.4f} here; Holm: paired t test corrected for all comparisons with the baseline."
    )
    return Grid("Students on test", columns, tuple(rows), note)


def predictor_grid(results: Results) -> Grid | None:
    """Return how well each score of the teachers predicted the students, or None with fewer than 4 teachers."""
    known = {name: e for name, e in results.predictors.items() if not math.isnan(e.mean)}
    if not known:
        return None
    rows = tuple(
        (name.replace("_", " "), f"{e.mean:+.2f}", ends(e), str(e.n))
        for name, e in sorted(known.items(), key=lambda item: -item[1].mean)
    )
    note = (
        "Spearman's rank correlation over pairs of teacher and student arms, each student arm against its own mean, turned so "
        "that +1 predicts perfectly; 95% bootstrap interval over the trainings that the arms come from, of which it needs 4."
    )
    return Grid(
        "Which score of the teachers predicted the students", ("score", "correlation", "interval", "n"), rows, note
    )


def distance_grid(results: Results) -> Grid | None:
    """Return the teachers' distances to the truth or to human votes, where there are any."""
    found = {r.name: results.distances(r.name) for r in results.ranked}
    first = next(iter(found.values()), {})
    if not first:
        return None
    known = "true label distribution" if "test.truth" in results.targets else "human votes, corrected for their number"
    rows = tuple((name, *(number(values[key], 5) for key in first)) for name, values in found.items())
    title = f"Teachers' distance to the {known}, on test ({_seeds(results.ranked)})"
    return Grid(
        title,
        ("teacher", *first),
        rows,
        "mse: squared distance summed over classes; kl in nats; T as used in distilling.",
    )


def show(grid: Grid | None, console: Console) -> None:
    """Print a table to the terminal."""
    if grid is None:
        return
    table = Table(
        title=grid.title, title_justify="left", caption=grid.note or None, caption_justify="left", title_style="bold"
    )
    for i, column in enumerate(grid.columns):
        table.add_column(column, justify="left" if i == 0 or column in ("teacher", "taught by", "student") else "right")
    for row in grid.rows:
        table.add_row(*row)
    console.print(table)
