"""The study of proxy teachers: one network with every target map, a Brier teacher, and the truth where it is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab.sizes import Size

# The series of the paper has five perturbed coefficients in its main experiments; its search is random.
ORDER = 5
MAPS: dict[str, Any] = {
    "plain KL": None,
    "temperature": "temperature",
    "vector temperature": "vector_temperature",
    "proxy, random": {"pt_proxy": {"order": ORDER, "search": "random"}},
    "proxy, random, a class": {"pt_proxy": {"order": ORDER, "search": "random", "per_class": True}},
    "proxy, gradient": {"pt_proxy": {"order": ORDER, "search": "gradient"}},
    "proxy, gradient, a class": {"pt_proxy": {"order": ORDER, "search": "gradient", "per_class": True}},
}
BRIER, TRUTH = "Brier teacher", "the truth itself"
# A divergence of the targets as they are, without the label: nothing but the targets differs between students.
TAUGHT: dict[str, Any] = {"kd": {"alpha": 1.0, "gamma": 0.0, "temperature": 1.0}}


def map_study(name: str, size: Size, words: Mapping[str, Any], *, knows_truth: bool) -> StudySpec:
    """Return the study: one network with every map, a Brier teacher, and where it is known the truth."""
    teachers: dict[str, Any] = {arm_of(title): {"model": size.teacher, "map": spec} for title, spec in MAPS.items()}
    teachers[arm_of(BRIER)] = {"model": size.teacher, "objective": "brier"}
    if knows_truth:
        teachers[arm_of(TRUTH)] = {"table": "truth"}
    recipe = {**size.recipe, "epochs": size.epochs, "evaluate_every": size.epochs}
    students = {
        "alone": {"model": size.student, "method": "none"},
        "taught": {"model": size.student, "method": TAUGHT},
    }
    return parse_study({
        "name": f"ptloss-{name}", "problem": dict(words), "recipe": recipe, "teachers": teachers, "students": students,
        "seeds": size.seeds,
    })  # fmt: skip


def arm_of(title: str) -> str:
    """Return the arm of a way's title."""
    return title.replace(",", "").replace(" ", "-")
