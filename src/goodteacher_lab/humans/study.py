"""The study of teachers and people: objectives, each stopped at several epochs, each under every map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab.sizes import Size

OBJECTIVES = ("cross_entropy", "brier", "label_smoothing", "soteacher")
MAPS: dict[str, Any] = {"raw": None, "calibrated": "temperature", "T4": {"temperature": {"value": 4.0}}}
# The student learns from the mapped answers as they are, without the label.
TAUGHT: dict[str, Any] = {"kd": {"alpha": 1.0, "gamma": 0.0, "temperature": 1.0}}


def people_study(size: Size, words: Mapping[str, Any]) -> StudySpec:
    """Return the study: objectives, each stopped at several epochs, each under every map, all teaching one student."""
    arms = {
        f"{objective}-{title}": {
            "model": size.teacher, "objective": objective, "map": spec, "checkpoints": max(1, size.epochs // size.points)
        }
        for objective in OBJECTIVES
        for title, spec in MAPS.items()
    }  # fmt: skip
    # At a constant rate a stopped teacher is one of a shorter training, not one cut at a high rate.
    recipe = {
        "epochs": size.epochs,
        "batch_size": 64,
        "lr": 0.05,
        "schedule": "constant",
        "evaluate_every": size.epochs,
    }
    return parse_study({
        "name": "humans", "problem": dict(words), "recipe": recipe, "teachers": arms,
        "students": {"taught": {"model": size.student, "method": TAUGHT}}, "seeds": size.seeds,
    })  # fmt: skip
