"""Scores of a finished network as tables."""

from __future__ import annotations

from goodteacher.diagnose.evaluation import ClassScores, Evaluation
from goodteacher.report.tables import Grid

# Heading, factor and digits of each score.
SCORES = {
    "accuracy": ("accuracy %", 100, 2),
    "balanced_accuracy": ("balanced accuracy %", 100, 2),
    "macro_f1": ("macro-F1 %", 100, 2),
    "brier": ("Brier", 1, 4),
    "nll": ("NLL", 1, 4),
    "ece": ("ECE", 1, 4),
}


def evaluation_grids(found: Evaluation) -> tuple[Grid, Grid]:
    """Return the scores with their intervals, and the classes, worst recognised first."""
    rows = []
    for name, (heading, factor, digits) in SCORES.items():
        e = found.scores[name]
        interval = f"[{factor * e.low:.{digits}f}, {factor * e.high:.{digits}f}]"
        rows.append((heading, f"{factor * e.mean:.{digits}f}", interval))
    n = found.scores["accuracy"].n
    note = (
        "Intervals: 95%, percentiles of resampled examples. Balanced accuracy and macro-F1 count every class alike. "
        "Resamples are noisier than the examples themselves, so that the interval of ECE lies high."
    )
    scores = Grid(f"Held-out scores (n = {n} test examples)", ("score", "value", "interval"), tuple(rows), note)
    ordered = sorted(found.classes, key=lambda c: (c.recall is None, c.recall))
    shares = [(c.name, _percent(c.recall), _interval(c), _percent(c.precision), str(c.examples)) for c in ordered]
    columns = ("class", "recall %", "interval", "precision %", "n")
    return scores, Grid("Class by class", columns, tuple(shares), "Interval of the recall: 95%, Wilson.")


def _interval(found: ClassScores) -> str:
    return "-" if found.low is None else f"[{_percent(found.low)}, {_percent(found.high)}]"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
