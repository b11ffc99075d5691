"""What the statistics say, in plain words, and what they do not show."""

from __future__ import annotations

import math

from goodteacher.base.stats import Estimate
from goodteacher.diagnose.results import Results, StudentRow
from goodteacher.report.tables import ends

ALPHA = 0.05


def conclusion(results: Results) -> str:
    """Return a paragraph computed from a study's statistics.

    A difference is called shown when Holm's correction of the paired t tests leaves p below 0.05.

    Args:
        results: of the study.

    Returns:
        Sentences; "no difference shown" where that is so.
    """
    sentences = [_ranking(results)] if results.ranked else []
    for student in dict.fromkeys(r.student for r in results.students):
        rows = [r for r in results.students if r.student == student and r.teacher is not None]
        if rows:
            sentences.append(_students(student, rows, results))
            sentences.append(_against_alone(student, rows))
    sentences.append(_prediction(results))
    if results.missing:
        few = "1 planned run is" if len(results.missing) == 1 else f"{len(results.missing)} planned runs are"
        sentences.append(f"{few} not finished, so this is a partial result.")
    if alarms := len(results.alarms()):
        sentences.append(f"Training raised {alarms} alarm{'s' if alarms > 1 else ''}: see below.")
    return " ".join(s for s in sentences if s)


def _ranking(results: Results) -> str:
    best, *others = results.ranked
    tied = [r.name for r in others if r.tied]
    if not others:
        return f"There is one teacher, '{best.name}'."
    n = (
        f"n = {best.seeds}"
        if best.seeds > 1
        else "n = 1: of one training each, and another seed may order them otherwise"
    )
    if tied:
        return (
            f"Before any student was trained, '{best.name}' had the lowest calibrated Brier score on validation, not to be told "
            f"apart from {_join(tied)} ({n})."
        )
    return (
        f"Before any student was trained, '{best.name}' had the lowest calibrated Brier score on validation, ahead of every "
        f"other teacher ({n})."
    )


def _students(student: str, rows: list[StudentRow], results: Results) -> str:
    baseline = next((r for r in rows if r.teacher == results.baseline), None)
    compared = [r for r in rows if r.to_baseline is not None]
    if baseline is None or not compared:
        return ""
    shown = [r for r in compared if r.holm < ALPHA]
    better = [r for r in shown if r.to_baseline is not None and r.to_baseline.mean > 0]
    worse = [r for r in shown if r.to_baseline is not None and r.to_baseline.mean < 0]
    best = max(rows, key=lambda r: r.accuracy.mean)
    text = (
        f"Student '{student}' was most accurate on average when taught by '{best.teacher}' "
        f"({100 * best.accuracy.mean:.2f}%, n = {best.accuracy.n}); "
    )
    if better:
        gains = _join([f"'{r.teacher}' ({_points(r.to_baseline)})" for r in better])
        text += f"better than taught by '{baseline.teacher}' was shown for {gains}"
    else:
        text += f"no difference in favour of any teacher over '{baseline.teacher}' was shown"
    if worse:
        text += "; worse was shown for " + _join([f"'{r.teacher}' ({_points(r.to_baseline)})" for r in worse])
    return text + "."


def _against_alone(student: str, rows: list[StudentRow]) -> str:
    shown = [r for r in rows if r.to_alone is not None and r.holm_alone < ALPHA]
    if all(r.to_alone is None for r in rows):
        return ""
    words = {"a gain": lambda mean: mean > 0, "a loss": lambda mean: mean < 0}
    parts = []
    for word, holds in words.items():
        found = [
            f"'{r.teacher}' ({_points(r.to_alone)})" for r in shown if r.to_alone is not None and holds(r.to_alone.mean)
        ]
        if found:
            parts.append(f"{word} was shown for {_join(found)}")
    alone = [r.to_alone for r in rows if r.to_alone is not None]
    if not parts and all(e.n == 1 for e in alone):
        measured = ", ".join(f"{100 * e.mean:+.2f}" for e in alone)
        return f"Taught as '{student}' or alone: one seed cannot show a difference (measured {measured} points); take 3 or more."
    if not parts:
        return f"Taught as '{student}' or alone: no difference was shown for any teacher."
    return f"Taught as '{student}' against alone: {' and '.join(parts)}."


# Fewer teachers than this leave a bootstrap of ranks that only looks narrow.
FEWEST_TEACHERS = 8


def _prediction(results: Results) -> str:
    e = results.predictors.get("calibrated_brier", Estimate(math.nan, math.nan, math.nan, 0))
    if math.isnan(e.mean):
        return ""
    verdict = "which is too wide to say more" if e.low <= 0 <= e.high else "which excludes zero"
    if e.n < FEWEST_TEACHERS or math.isnan(e.low):
        verdict = "too few teachers to say more"
    students = results.points["student"].nunique()
    over = (
        f"{e.n} teacher arms" if students == 1 else f"{e.n} pairs of a teacher arm and one of {students} student arms"
    )
    return (
        f"Over {over} the calibrated Brier score, known beforehand, had rank correlation {e.mean:+.2f} with student "
        f"accuracy{'' if math.isnan(e.low) else f', 95% interval {ends(e)}'}, {verdict}."
    )


def _points(estimate: Estimate | None) -> str:
    assert estimate is not None
    return f"{100 * estimate.mean:+.2f} points, 95% interval [{100 * estimate.low:+.2f}, {100 * estimate.high:+.2f}]"


def _join(names: list[str]) -> str:
    quoted = [n if n.startswith("'") else f"'{n}'" for n in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " and " + quoted[-1]
