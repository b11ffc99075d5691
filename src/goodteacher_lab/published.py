"""Hyper-parameters that the literature sets by pair of networks, with their sources, and the benchmark recipe they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from goodteacher.study.spec import StudySpec, parse_study

DKD = "Zhao et al. (2022), released configurations"
REVIEW = "Chen et al. (2021), released scripts"
STANDARD = "Sun et al. (2024), names of released logs"

# (teacher, student) -> method -> (options, source). Pairs that are absent were not published.
PAIRS: dict[tuple[str, str], dict[str, tuple[dict[str, float], str]]] = {
    ("resnet56", "resnet20"): {"dkd": ({"beta": 2.0}, DKD), "reviewkd": ({"beta": 0.6}, REVIEW)},
    ("resnet110", "resnet20"): {"logit_standardization": ({"temperature": 4.0, "alpha": 12.0}, STANDARD)},
    ("resnet110", "resnet32"): {"dkd": ({"beta": 2.0}, DKD), "reviewkd": ({"beta": 1.0}, REVIEW)},
    ("resnet32x4", "resnet8x4"): {
        "dkd": ({"beta": 8.0}, DKD),
        "reviewkd": ({"beta": 5.0}, "mdistiller's configuration"),
    },
    ("wrn_40_2", "wrn_16_2"): {"dkd": ({"beta": 6.0}, DKD), "reviewkd": ({"beta": 5.0}, REVIEW)},
    ("wrn_40_2", "wrn_40_1"): {"dkd": ({"beta": 6.0}, DKD), "reviewkd": ({"beta": 5.0}, REVIEW)},
    ("vgg13", "vgg8"): {
        "dkd": ({"beta": 6.0}, DKD),
        "logit_standardization": ({"temperature": 3.0, "alpha": 9.0}, STANDARD),
        "wttm": ({"temperature": 10.0, "alpha": 45.0}, "Zheng & Yang (2024)"),
    },
    ("vgg13", "mobilenetv2"): {
        "dkd": ({"beta": 6.0}, DKD),
        "logit_standardization": ({"temperature": 3.0, "alpha": 9.0}, STANDARD),
    },
    ("resnet50", "mobilenetv2"): {
        "dkd": ({"beta": 8.0}, DKD),
        "logit_standardization": ({"temperature": 3.0, "alpha": 1.0}, STANDARD),
    },
    ("resnet50", "vgg8"): {},
    ("resnet32x4", "shufflenetv1"): {"dkd": ({"beta": 8.0}, DKD), "reviewkd": ({"beta": 5.0}, REVIEW)},
    ("resnet32x4", "shufflenetv2"): {"dkd": ({"beta": 8.0}, DKD), "reviewkd": ({"beta": 8.0}, REVIEW)},
    ("wrn_40_2", "shufflenetv1"): {"dkd": ({"beta": 8.0}, DKD), "reviewkd": ({"beta": 5.0}, REVIEW)},
}
BY_PAIR = ("dkd", "reviewkd", "logit_standardization", "wttm")

# Networks that the benchmark trains at a fifth of the rate. Tian et al. (2020), released code.
LIGHT = frozenset({"mobilenetv2", "mobilenetv2_0.1", "shufflenetv1", "shufflenetv2"})

# Tian et al. (2020): 240 epochs, drops after 150, 180 and 210, everything decayed.
BENCHMARK: dict[str, Any] = {
    "epochs": 240,
    "batch_size": 64,
    "optimizer": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "multistep",
    "milestones": (150 / 240, 180 / 240, 210 / 240),
    "decay": 0.1,
    "augment": "crop_flip",
}


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
    known = PAIRS.get((teacher, student), {})
    if method in known:
        return known[method]
    if method in BY_PAIR:
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
