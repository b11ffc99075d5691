"""Tables of a student beside its teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodteacher.base.stats import Estimate
from goodteacher.diagnose.deviation import CLIP, Deviation
from goodteacher.diagnose.explain import Contest, Explanation, Group
from goodteacher.report.tables import Grid, number, percent

KEYS = ("nll", "brier", "ece", "overconfident", "underconfident")


def _interval(e: Estimate, digits: int = 2) -> str:
    mean = number(e.mean, digits)
    return mean if math.isnan(e.low) else f"{mean} [{e.low:.{digits}f}, {e.high:.{digits}f}]"


def _short(d: Deviation) -> str:
    return " and ".join(word for word, holds in (("low", d.underfits_low), ("high", d.overfits_high)) if holds) or "no"


def fidelity_grid(parts: Sequence[Explanation]) -> Grid:
    """Return agreement and divergence by split."""
    rows = [
        (e.part.name, str(len(e.part.labels)), percent(e.fidelity.agreement), _interval(e.fidelity.divergence, 4))
        for e in parts
    ]
    note = (
        "Agreement: both name the same class. KL from teacher to student in nats at T = 1. 95% intervals over examples."
    )
    return Grid("How far the student answers as its teacher", ("split", "n", "agreement %", "KL"), tuple(rows), note)


def deviation_grid(parts: Sequence[Explanation]) -> Grid:
    """Return slopes and shares by split, version and the teacher's being right."""
    rows = []
    for e in parts:
        for version, groups in e.deviations.items():
            exchanged = {"roles exchanged": e.exchanged} if version == "log_odds" and e.exchanged is not None else {}
            for group, d in {**groups, **exchanged}.items():
                lines = [_interval(line.slope) for line in (d.whole, d.below, d.above)]
                shares = [_interval(s) for s in (d.underfit, d.overfit)]
                rest = (_interval(d.whole.orthogonal), number(d.whole.intercept, 2), *shares, _short(d))
                rows.append((f"{e.part.name}, {group}", version.replace("_", " "), str(d.points), *lines, *rest))
    columns = (
        "split", "version", "n", "slope", "below median", "above median", "orthogonal slope", "intercept",
        "v < u, lowest third", "v > u, highest third", "exaggerates",
    )  # fmt: skip
    note = (
        f"u and v: what teacher and student give the teacher's first class, clipped to [{CLIP:g}, 1 - {CLIP:g}]; slopes "
        "of v's log odds on u's. Margin: against the largest other class alone. Intervals are 95% over examples: bootstrap for "
        "slopes, Wilson's for shares; exaggerates: low, points of low confidence are underfitted, high, those of high "
        "confidence are overfitted, where a share's interval is above one half. u is the teacher's largest probability, so "
        "networks that never met show v < u in the lowest third too; with roles exchanged u is the student's largest and v the "
        "teacher's: only what exceeds that is a deviation of the student."
    )
    return Grid("Deviations: is confidence exaggerated?", columns, tuple(rows), note)


def score_grid(parts: Sequence[Explanation]) -> Grid:
    """Return accuracy and calibration of both by split."""
    rows = [
        (f"{e.part.name}, {who}", str(len(e.part.labels)), f"{100 * s['accuracy']:.2f}", *(f"{s[k]:.4f}" for k in KEYS))
        for e in parts
        for who, s in e.scores.items()
    ]
    columns = ("split", "n", "accuracy %", "NLL", "Brier", "ECE", "too sure", "not sure enough")
    note = "At T = 1. ECE with 15 bins of equal width, and its parts in bins that are too sure and not sure enough."
    return Grid("Calibration of teacher and student", columns, tuple(rows), note)


def contest_grid(parts: Sequence[Explanation]) -> Grid:
    """Return who is right by split, and on the last one by the teacher's confidence."""
    rows = [(e.part.name, str(len(e.part.labels)), *_contest(e.contest), number(e.contest.p)) for e in parts]
    last = parts[-1]
    for g in last.bands:
        name = f"{last.part.name}, {g.name} (mean {g.confidence:.2f})"
        rows.append((name, str(g.contest.difference.n), *_contest(g.contest), number(g.holm)))
    columns = ("examples", "n", "both right", "teacher only", "student only", "neither", "student - teacher", "p")
    note = (
        "Difference in points of accuracy, ± half a 95% interval over examples; p: McNemar's exact test, for fifths corrected by "
        "Holm. Where nothing differs the interval is empty, and p alone says what is known."
    )
    return Grid("Where the student beats its teacher", columns, tuple(rows), note)


def _contest(c: Contest) -> tuple[str, ...]:
    return (*map(str, (c.both, c.teacher_only, c.student_only, c.neither)), percent(c.difference, signed=True))


def class_grid(last: Explanation) -> Grid:
    """Return the contest class by class, the student's largest gains first."""

    def gain(g: Group) -> float:
        return -g.contest.difference.mean

    rows = [
        (g.name, str(g.contest.difference.n), *(f"{100 * x:.2f}" for x in (g.teacher, g.student)),
         percent(g.contest.difference, signed=True), number(g.holm), f"{100 * g.agreement:.2f}")
        for g in sorted(last.classes, key=gain)
    ]  # fmt: skip
    columns = ("class", "n", "teacher %", "student %", "student - teacher", "p Holm", "agreement %")
    note = "± half a 95% interval over examples; p: McNemar's exact test, corrected for all classes."
    return Grid(f"Class by class on {last.part.name}", columns, tuple(rows), note)


def grids_of(parts: Sequence[Explanation]) -> list[Grid]:
    """Return every table of an explanation."""
    return [fidelity_grid(parts), deviation_grid(parts), score_grid(parts), contest_grid(parts), class_grid(parts[-1])]
