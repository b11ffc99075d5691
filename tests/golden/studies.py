"""Tiny studies that pass through every kind of teacher and method once: what a change of the code must leave as it is."""

from __future__ import annotations

from typing import Any

RECIPE = {"epochs": 2, "batch_size": 16, "lr": 0.02, "precision": "fp32", "augment": "none"}
IMAGES = {"name": "digits", "subset": 8}
BIG, SMALL = "resnet14", "resnet8"
WIDE, THIN = {"mlp": {"widths": [16]}}, {"mlp": {"widths": [8]}}


def _students(methods: dict[str, Any], model: Any, **arm: Any) -> dict[str, Any]:
    return {name: {"model": model, "method": method, **arm} for name, method in methods.items()}


METHODS: dict[str, Any] = {
    "name": "methods",
    "problem": IMAGES,
    "recipe": RECIPE,
    "teachers": {"t": {"model": BIG}},
    "students": {
        "alone": {"model": SMALL, "method": "none"},
        **_students(
            {
                "logit": "dkd",
                "relation": "pkt",
                "levels": "mlkd",
                "schedule": "ctkd",
                "tap": "vid",
                "stages": "reviewkd",
                "memory": {"crd": {"negatives": 16}},
                "preparation": "ft",
                "views": "hsakd",
                "initial": {"ab": {"initial_epochs": 1}},
                "deployed": "simkd",
                "labelled": {"labelled": {"per_class": 4}},
                "sum": "at + kd",
            },
            SMALL,
        ),
        "other": {"model": "vgg8", "method": "fitnet", "keep": "best_brier", "recipe": {"augment": "crop_flip"}},
    },
    "seeds": 1,
}
TEACHERS: dict[str, Any] = {
    "name": "teachers",
    "problem": {"name": "gaussian", "train": 240, "validation": 90, "test": 120},
    "recipe": RECIPE,
    "teachers": {
        "network": {"model": WIDE, "checkpoints": 1},
        "mapped": {"model": WIDE, "map": "temperature + top_k"},
        "proxy": {"model": WIDE, "map": "pt_proxy"},
        "ensemble": {"ensemble": {"of": ["network", "brier"], "weights": "validation"}},
        "brier": {"model": WIDE, "objective": "brier", "keep": "best_brier"},
        "folds": {"model": WIDE, "cross_fit": 2},
        "filter": {"model": WIDE, "filter_table": 0.05},
        "truth": {"table": "truth"},
        "tuned": {"model": WIDE, "objective": "mcmi", "start": "network"},
        "assistant": {"model": WIDE, "taught_by": "network", "method": "kd"},
        "snapshots": {"model": WIDE, "snapshots": 2},
        "averaged": {"model": WIDE, "recipe": {"swa": 0.5}},
        "mixed": {"model": WIDE, "recipe": {"mixup": 0.2, "ema": 0.9}},
    },
    "students": {
        **_students({"kd": "kd", "ptloss": "ptloss"}, THIN),
        "route": {"model": THIN, "method": "kd", "taught_by": ["network"], "route": [1]},
    },
    "seeds": 1,
}
PICTURES: dict[str, Any] = {
    "name": "pictures",
    "problem": IMAGES,
    "recipe": {**RECIPE, "augment": "crop_flip"},
    "teachers": {
        "soteacher": {"model": SMALL, "objective": "soteacher"},
        "tolerant": {"model": SMALL, "objective": "tolerant"},
        "sftn": {"model": BIG, "objective": {"sftn": {"student": {SMALL: {}}}}},
        "viewed": {"model": SMALL, "map": {"view_average": {"views": 2}}},
        "cut": {"model": SMALL, "recipe": {"cutmix": 1.0, "optimizer": "adamw", "lr": 0.001, "clip": 1.0}},
    },
    "students": {"kd": {"model": SMALL, "taught_by": ["soteacher", "viewed"]}},
    "seeds": 1,
}
STUDIES = {study["name"]: study for study in (METHODS, TEACHERS, PICTURES)}
