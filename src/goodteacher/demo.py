"""The demo: five teachers on real digits with noisy labels, and on Gaussians whose true label distribution is known."""

from __future__ import annotations

from typing import Any

from goodteacher.study.spec import StudySpec, parse_study

TEACHER: dict[str, Any] = {"model": {"mlp": {"widths": [128, 128]}}}
TEACHERS: dict[str, dict[str, Any]] = {
    "cross_entropy": {**TEACHER},
    "early_stopped": {**TEACHER, "keep": "best_brier"},
    "brier": {**TEACHER, "objective": "brier"},
    "label_smoothing": {**TEACHER, "objective": "label_smoothing"},
    "confidence_penalty": {**TEACHER, "objective": "confidence_penalty"},
}


def _students(width: int) -> dict[str, dict[str, Any]]:
    small = {"mlp": {"widths": [width]}}
    return {"alone": {"model": small, "method": "none"}, "kd": {"model": small, "method": {"kd": {"temperature": 1.0}}}}


def digits(seeds: int = 5) -> StudySpec:
    """Return the study on scikit-learn's digits, 30% of whose training labels are replaced at random.

    With clean labels every teacher is right 98 times in 100 and there is nothing to choose; noise is where the choice of
    teacher matters. The test labels are clean.
    """
    return parse_study({
        "name": "demo-digits",
        "problem": {"name": "digits", "noise": 0.3},
        "recipe": {"epochs": 30, "batch_size": 64, "lr": 0.1},
        "teachers": TEACHERS,
        "students": _students(12),
        "seeds": seeds,
    })  # fmt: skip


def gaussian(seeds: int = 5) -> StudySpec:
    """Return the study on ten Gaussian clouds in 30 dimensions, where p* is known exactly."""
    return parse_study({
        "name": "demo-gaussian",
        "problem": {"name": "gaussian", "classes": 10, "train": 2000, "validation": 1000, "test": 5000},
        "recipe": {"epochs": 15, "batch_size": 64, "lr": 0.02},
        "teachers": TEACHERS,
        "students": _students(32),
        "seeds": seeds,
    })  # fmt: skip
