"""The CRD benchmark's recipe, and the hyper-parameters that the literature sets by pair of networks, with their sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab.published import published

_FILE = published("benchmark")
BENCHMARK: dict[str, Any] = {**_FILE["recipe"], "milestones": tuple(_FILE["recipe"]["milestones"])}
PAIRS: dict[str, dict[str, dict[str, Any]]] = _FILE["pairs"]
LIGHT = frozenset(_FILE["light"])


Pair = tuple[str, str]


def pair_of(name: str) -> Pair:
    """Return teacher and student of ``TEACHER-STUDENT``."""
    teacher, student = name.split("-")
    return teacher, student


def options_of(teacher: str, student: str, method: str) -> tuple[dict[str, float], str]:
    """Return a method's published options for a pair, and where they come from.

    Args:
        teacher: model's name.
        student: model's name.
        method: its name.

    Returns:
        Options (none for methods that have one setting for all pairs) and the source; for a pair without published
        options, none and the sentence that a run has to say.

    Example:
        >>> options_of("resnet56", "resnet20", "dkd")[0]
        {'beta': 2.0}
    """
    known = PAIRS.get(f"{teacher}-{student}", {})
    if method in known:
        return known[method]["options"], known[method]["source"]
    if method in _FILE["by_pair"]:
        return {}, f"{method} has no published options for {teacher} -> {student}: its defaults are used"
    return {}, ""


def benchmark(
    teacher: str,
    student: str,
    methods: Sequence[str],
    *,
    problem: dict[str, Any],
    objectives: Sequence[str] = ("cross_entropy",),
    seeds: int = 5,
    **recipe: Any,
) -> StudySpec:
    """Return the study of one pair under several methods and teachers, by the benchmark's recipe.

    Args:
        teacher: model's name.
        student: model's name.
        methods: names, or sums such as ``"crd + kd"``.
        problem: as in a study file.
        objectives: of the teacher, one arm each.
        seeds: how many.
        recipe: changes to `BENCHMARK`; each is said on the page.

    Returns:
        The study, with a note for every departure.
    """
    notes = [f"{key}: {value!r} instead of the benchmark's {BENCHMARK.get(key)!r}" for key, value in recipe.items()]
    students: dict[str, Any] = {"alone": {"model": student, "method": "none"}}
    for method in methods:
        parts = {}
        for part in (p.strip() for p in method.split("+")):
            options, source = options_of(teacher, student, part)
            parts[part] = options
            if source and not options:
                notes.append(source)
        students[method.replace(" ", "").replace("+", "_")] = {"model": student, "method": parts}
    light = {"recipe": {"lr": recipe.get("lr", BENCHMARK["lr"]) / 5}}
    return parse_study({
        "name": f"benchmark-{teacher}-{student}",
        "problem": problem,
        "recipe": {**BENCHMARK, **recipe},
        "teachers": {o: {"model": teacher, "objective": o, **(light if teacher in LIGHT else {})} for o in objectives},
        "students": {name: {**arm, **(light if student in LIGHT else {})} for name, arm in students.items()},
        "seeds": seeds,
        "notes": notes,
    })  # fmt: skip
