"""The studies of SoTeacher: teachers of every age, and each of its two terms apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab.benchmark import BENCHMARK, LIGHT
from goodteacher_lab.sizes import Size

# The distilling side of the released script: half the label, half the teacher at T = 4.
TAUGHT: dict[str, Any] = {"kd": {"alpha": 0.5, "gamma": 0.5, "temperature": 4.0}}
# Reviewers of the paper: a standard teacher of about epoch 150 of 240 teaches as well in its Figure 1.
STOPPED = 150 / 240
ABLATION = {
    "standard": "cross_entropy",
    "lipschitz": "cross_entropy + lipschitz",
    "consistency": "cross_entropy + consistency",
    "soteacher": "soteacher",
}


def recipe_of(size: Size) -> dict[str, Any]:
    """Return the benchmark's recipe at a size, with one look at validation."""
    return {**BENCHMARK, "epochs": size.epochs, "evaluate_every": size.epochs}


def figure_study(size: Size, words: Mapping[str, Any]) -> StudySpec:
    """Return the study of the figure: two teachers, each with checkpoints that teach."""
    every = max(1, size.epochs // size.points)
    arms = {
        name: {"model": size.teacher, "objective": ABLATION[name], "checkpoints": every}
        for name in ("standard", "soteacher")
    }
    return parse_study({
        "name": "soteacher-figure1", "problem": dict(words), "recipe": recipe_of(size),
        "teachers": arms, "students": {"taught": {"model": size.student, "method": TAUGHT}}, "seeds": size.seeds,
    })  # fmt: skip


def epochs_of(study: StudySpec, kind: str) -> dict[int, str]:
    """Return epoch to teacher arm, the last one included."""
    found = {
        int(name.removeprefix(f"{kind}_epoch")): name for name in study.known_arms if name.startswith(f"{kind}_epoch")
    }
    return {**found, study.recipe.epochs: kind}


def table_study(name: str, size: Size, words: Mapping[str, Any]) -> StudySpec:
    """Return the study of one pair: the standard teacher, the same stopped early, and SoTeacher with its terms apart."""

    def light(model: Any) -> dict[str, Any]:
        return {"recipe": {"lr": BENCHMARK["lr"] / 5}} if model in LIGHT else {}

    arms: dict[str, Any] = {
        arm: {"model": size.teacher, "objective": objective, **light(str(size.teacher))}
        for arm, objective in ABLATION.items()
    }
    arms["stopped"] = {**arms["standard"], "early_stop": max(1, round(STOPPED * size.epochs))}
    student = {"model": size.student, **light(str(size.student))}
    return parse_study({
        "name": f"soteacher-table-{name}", "problem": dict(words), "recipe": recipe_of(size),
        "teachers": arms, "seeds": size.seeds,
        "students": {"alone": {**student, "method": "none"}, "taught": {**student, "method": TAUGHT}},
    })  # fmt: skip
