"""What a finished network is worth on held-out examples: scores with intervals over examples, and class by class.

Legend: N examples, C classes, p probabilities, y labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binomtest

from goodteacher.base.checks import check_labels, check_logits
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.base.seeds import numpy_stream
from goodteacher.base.stats import LEVEL, Estimate
from goodteacher.base.types import Labels, Logits
from goodteacher.diagnose.calibration import expected_calibration_error

RESAMPLES = 1000
# Of those, in which the calibration error is computed too.
BINNED = 200
ORDER = ("accuracy", "balanced_accuracy", "macro_f1", "brier", "nll", "ece")


@dataclass(frozen=True)
class ClassScores:
    """One class.

    Attributes:
        name: of the class.
        recall: share of its examples that are recognised; None without any.
        low: lower end of the recall's 95% interval (Wilson), None without any.
        high: upper end.
        precision: share of the answers that name it which are right; None without any.
        examples: of the class.
    """

    name: str
    recall: float | None
    low: float | None
    high: float | None
    precision: float | None
    examples: int


@dataclass(frozen=True)
class Evaluation:
    """Scores on one split.

    Attributes:
        scores: ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``brier``, ``nll`` and ``ece``, with intervals over examples.
        classes: class by class.
    """

    scores: dict[str, Estimate]
    classes: tuple[ClassScores, ...]


def evaluate(logits: Logits, labels: Labels, class_names: Sequence[str]) -> Evaluation:
    """Return the scores of a logit table against labels.

    Intervals are percentiles of 1000 resamples of the examples, the same for every score (200 for the calibration error).
    Balanced accuracy and macro-F1 are means over the classes that have examples.

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)``.
        class_names: C names.

    Raises:
        ShapeError: if the shapes do not fit.

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
        >>> found = evaluate(z, torch.tensor([0, 1, 1, 0]), ("cat", "dog"))
        >>> found.scores["accuracy"].mean, found.scores["balanced_accuracy"].mean, found.classes[1].recall
        (0.75, 0.75, 0.5)
    """
    check_logits(logits=logits)
    check_labels(labels, examples=len(logits), classes=logits.shape[1])
    log_p = log_soften(logits.double())
    answers, classes = logits.argmax(dim=1), logits.shape[1]
    per_example = {
        "accuracy": (answers == labels).double().numpy(),
        "brier": brier_score(log_p.exp(), labels).numpy(),
        "nll": nll(log_p, labels).numpy(),
    }
    pairs = (labels * classes + answers).numpy()

    def scores_of(rows: np.ndarray, bins: bool) -> dict[str, float]:
        """Return every score of some rows; the calibration error where it is asked for, since it sorts."""
        table = np.bincount(pairs[rows], minlength=classes**2).reshape(classes, classes)
        found = {name: float(values[rows].mean()) for name, values in per_example.items()}
        found |= {"balanced_accuracy": _balanced_accuracy(table), "macro_f1": _macro_f1(table)}
        if bins:
            picked = torch.from_numpy(rows)
            found["ece"] = expected_calibration_error(log_p[picked].exp(), labels[picked])
        return found

    everything = np.arange(len(labels))
    stream = numpy_stream(0, "evaluation")
    resampled = [scores_of(stream.integers(len(labels), size=len(labels)), i < BINNED) for i in range(RESAMPLES)]
    scores = {
        name: _interval(value, np.array([found[name] for found in resampled if name in found]), len(labels))
        for name, value in scores_of(everything, True).items()
    }
    table = _table(labels, answers, classes)
    return Evaluation({name: scores[name] for name in ORDER}, _by_class(table, class_names))


def _interval(mean: float, resampled: np.ndarray, n: int) -> Estimate:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(mean, float(low), float(high), n)


def class_scores(logits: Logits, labels: Labels) -> dict[str, float]:
    """Return ``balanced_accuracy`` and ``macro_f1`` of a logit table ``(N, C)`` against labels ``(N,)``."""
    table = _table(labels, logits.argmax(dim=1), logits.shape[1])
    return {"balanced_accuracy": _balanced_accuracy(table), "macro_f1": _macro_f1(table)}


def _table(labels: Labels, answers: Labels, classes: int) -> np.ndarray:
    """Return the counts ``(C, C)`` of (label, answer)."""
    return np.bincount((labels * classes + answers).numpy(), minlength=classes**2).reshape(classes, classes)


def _balanced_accuracy(table: np.ndarray) -> float:
    """Return the mean recall over classes that have examples, from counts ``(C, C)`` of (label, answer)."""
    sizes = table.sum(axis=1)
    return float((table.diagonal()[sizes > 0] / sizes[sizes > 0]).mean())


def _macro_f1(table: np.ndarray) -> float:
    """Return the mean F1 over classes that have examples, from counts ``(C, C)`` of (label, answer)."""
    sizes, named = table.sum(axis=1), table.sum(axis=0)
    return float((2 * table.diagonal() / np.maximum(sizes + named, 1))[sizes > 0].mean())


def _by_class(table: np.ndarray, names: Sequence[str]) -> tuple[ClassScores, ...]:
    right, sizes, named = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    found = [_wilson(int(right[c]), int(sizes[c])) for c in range(len(names))]
    return tuple(
        ClassScores(
            name,
            float(right[c] / sizes[c]) if sizes[c] else None,
            *found[c],
            float(right[c] / named[c]) if named[c] else None,
            int(sizes[c]),
        )
        for c, name in enumerate(names)
    )


def _wilson(right: int, examples: int) -> tuple[float | None, float | None]:
    """Return Wilson's interval of a share, which a class of few examples needs, or nothing without examples."""
    if not examples:
        return None, None
    interval = binomtest(right, examples).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)
