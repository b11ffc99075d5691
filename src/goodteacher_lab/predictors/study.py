"""The studies of predictors: candidate teachers of many kinds that each teach the same students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab.sizes import Size

OBJECTIVES = ("cross_entropy", "brier", "label_smoothing", "confidence_penalty", "soteacher", "tolerant")
# Regularisation on top of cross-entropy, as overrides of the recipe.
REGULARISED: dict[str, dict[str, Any]] = {
    "decay": {"weight_decay": 5e-3},
    "mixup": {"mixup": 0.2},
    "ema": {"ema": 0.99},
}
MAPS: dict[str, Any] = {
    "fitted": "temperature",
    "sharp": {"temperature": {"value": 0.5}},
    "flat": {"temperature": {"value": 3.0}},
    "proxy": {"pt_proxy": {"order": 3}},
    "top2": {"top_k": {"k": 2}},
}
TEMPERATURES = (1.0, 4.0)
VECTORS: dict[str, tuple[dict[str, Any], float]] = {
    "gaussian3": ({"name": "gaussian", "classes": 3, "train": 1000, "validation": 1000, "test": 10000}, 0.02),
    "gaussian10": ({"name": "gaussian", "classes": 10, "train": 2000, "validation": 1000, "test": 10000}, 0.02),
    "digits": ({"name": "digits", "noise": 0.3}, 0.1),
}
IMAGE_MAPS = ("fitted", "flat", "proxy")


def vector_study(name: str, size: Size) -> StudySpec:
    """Return the study on Gaussians or digits: networks of three widths, stopped at four times.

    The rate is constant, so that a stopped teacher is one of a shorter training and not one cut at a high rate.
    """
    problem, lr = VECTORS[name]
    models = {str(width): {"mlp": {"widths": [width, width]}} for width in (16, 64, 256)}
    return _study(name, problem, models, {"mlp": {"widths": [16]}}, OBJECTIVES, lr, size)


def image_study(problem: dict[str, Any], size: Size) -> StudySpec:
    """Return the study on pictures: two ResNets, three stopping times, and maps around the smaller one."""
    models: dict[str, Any] = {name: {name: {}} for name in ("resnet8", "resnet14")}
    some: dict[str, Any] = {"stops": 3, "maps": IMAGE_MAPS, "mapped": ("resnet8",)}
    return _study("images", problem, models, "resnet8", OBJECTIVES[:4], 0.05, size, **some)


def _study(
    name: str,
    problem: Mapping[str, Any],
    models: Mapping[str, Any],
    student: Any,
    objectives: Sequence[str],
    lr: float,
    size: Size,
    *,
    stops: int = 4,
    maps: Sequence[str] | None = None,
    mapped: Sequence[str] = ("16", "256"),
) -> StudySpec:
    epochs = size.epochs
    recipe = {"epochs": epochs, "batch_size": 64, "lr": lr, "schedule": "constant", "evaluate_every": epochs}
    times = sorted({max(1, round(epochs * share)) for share in np.geomspace(1 / 8, 1, stops)})
    teachers: dict[str, Any] = {}
    for title, model in models.items():
        for stop in times:
            keep = f"epoch={stop}"
            for objective in objectives:
                teachers[f"{objective}-{title}-{stop}"] = {"model": model, "objective": objective, "keep": keep}
            for change, overrides in REGULARISED.items():
                teachers[f"{change}-{title}-{stop}"] = {"model": model, "keep": keep, "recipe": overrides}
    for title in mapped:
        for stop in (times[len(times) // 2 - 1], times[-1]):
            for objective in ("cross_entropy", "brier"):
                for short in MAPS if maps is None else maps:
                    arm = teachers[f"{objective}-{title}-{stop}"]
                    teachers[f"{objective}-{title}-{stop}-{short}"] = {**arm, "map": MAPS[short]}
    students = {f"T{t:g}": {"model": student, "method": {"kd": {"temperature": t}}} for t in TEMPERATURES}
    return parse_study({
        "name": f"predictors-{name}", "problem": dict(problem), "recipe": recipe, "teachers": teachers, "students": students,
        "seeds": size.seeds,
    })  # fmt: skip
