"""The studies of the MSE teacher's tables and of its figure of few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from goodteacher.data.labels import label_subset
from goodteacher.data.problem import Problem
from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab.benchmark import BENCHMARK, Pair, benchmark
from goodteacher_lab.sizes import Size

OBJECTIVES = ("cross_entropy", "brier")
# The student of Table 4, a tenth as wide as MobileNetV2.
THIN = "mobilenetv2_0.1"
HALVES: dict[str, Any] = {"merge": {"first": [0, 1, 2, 3, 4], "last": [5, 6, 7, 8, 9]}}


def benchmark_study(
    name: str, pair: Pair, methods: Sequence[str], words: Mapping[str, Any], seeds: int, **recipe: int
) -> StudySpec:
    """Return the study of one pair under both teachers by the CRD benchmark's recipe, with fewer looks at validation."""
    changes: dict[str, Any] = {key: value for key, value in recipe.items() if value != BENCHMARK[key]}
    study = benchmark(*pair, methods, problem=dict(words), objectives=OBJECTIVES, seeds=seeds, **changes)
    # Nothing is chosen on validation, and a look at it costs as much as a part of an epoch.
    seldom = study.recipe.model_copy(update={"evaluate_every": max(1, study.recipe.epochs // 2)})
    return study.model_copy(update={"name": name, "recipe": seldom})


def pair_study(
    table: str, pair: Pair, methods: Sequence[str], words: Mapping[str, Any], size: Size, tag: str
) -> StudySpec:
    """Return the study of one pair in Table 1 or 2 under some of its methods."""
    named = [method if table == "table1" else f"{method} + kd" for method in methods]
    return benchmark_study(f"mse-{table}-{pair[0]}-{pair[1]}{tag}", pair, named, words, size.seeds, epochs=size.epochs)


def imagenet_study(
    table: str, pair: Pair, methods: Sequence[str], words: Mapping[str, Any], size: Size, tag: str
) -> StudySpec:
    """Return the study of one pair in Table 3 under some of its methods."""
    beta = {"dkd": 0.5, "reviewkd": 1.0} if pair[1] == "resnet18_imagenet" else {"dkd": 2.0, "reviewkd": 8.0}
    # DKD's and ReviewKD's constants are mdistiller's for ImageNet, as are KD's; the sums are weighted as in the CRD benchmark.
    known: dict[str, Any] = {
        "kd": {"kd": {"temperature": 1.0, "alpha": 0.5, "gamma": 0.5}},
        "dkd": {"dkd": {"temperature": 1.0, "warmup": 1, "beta": beta["dkd"]}},
        "reviewkd_kd": {"reviewkd": {"beta": beta["reviewkd"], "warmup": 1}, "kd": {}},
        "crd_kd": {"crd": {}, "kd": {}},
    }
    recipe = {
        "epochs": size.epochs, "batch_size": size.batch, "lr": 0.1 * size.batch / 256, "weight_decay": 1e-4,
        "schedule": "multistep", "milestones": (30 / 120, 60 / 120, 90 / 120), "augment": "resized_crop_flip",
        "evaluate_every": max(1, size.epochs // 2),
    }  # fmt: skip
    students = {name: {"model": pair[1], "method": known[name]} for name in methods}
    return parse_study({
        "name": f"mse-{table}-{pair[0]}-{pair[1]}{tag}", "problem": dict(words), "recipe": recipe, "seeds": size.seeds,
        "teachers": {o: {"model": pair[0], "objective": o} for o in OBJECTIVES},
        "students": {"alone": {"model": pair[1], "method": "none"}, **students},
    })  # fmt: skip


def task_words(task: str) -> dict[str, Any]:
    """Return the label tool of a task, as options of `goodteacher.data.sources.load`."""
    return dict(HALVES) if task == "halves" else {"pair": [int(number) for number in task.split("-")]}


def binary_study(task: str, methods: Sequence[str], words: Mapping[str, Any], size: Size, tag: str) -> StudySpec:
    """Return the study of one task."""
    pair, recipe = (size.teacher, THIN), {"epochs": size.epochs, "batch_size": size.batch}
    return benchmark_study(f"mse-table4-{task}{tag}", pair, methods, words, size.seeds, **recipe)


def labelled_part(problem: Problem, total: int, seed: int) -> Problem:
    """Return the problem with a class-balanced few of its training examples, normalised as the whole of them is."""
    own = label_subset(problem, total=total, seed=seed).train.indices
    return problem.with_train_rows(torch.isin(problem.train.indices, own).nonzero().squeeze(1))


def few_labels_teachers(size: Size, total: int, seed: int, words: Mapping[str, Any], tag: str) -> StudySpec:
    """Return the study that trains the teachers of one seed on so many labelled examples."""
    return parse_study({
        "name": f"mse-figure2-teachers-{total}-seed{seed}{tag}",
        "problem": dict(words),
        "recipe": _recipe(size.teacher_epochs, size.batch),
        "teachers": {o: {"model": size.teacher, "objective": o} for o in OBJECTIVES},
        "seeds": [seed],
        "notes": [f"Trained on {total} of the training examples alone, chosen by `label_subset` with seed {seed}."],
    })  # fmt: skip


def few_labels_students(
    size: Size, runs: Mapping[tuple[int, str], str], seed: int, words: Mapping[str, Any], classes: int, tag: str
) -> StudySpec:
    """Return the study whose students see all examples, and the labels of those that their teacher was trained on.

    ``runs`` maps (labelled examples, objective) to the teacher's run.
    """
    students = {}
    for total in sorted({total for total, _ in runs}):
        labelled = {"per_class": total // classes, "seed": seed, "weight": 0.1}
        method = {"kd": {"alpha": 0.9, "temperature": 4.0, "gamma": 0.0}, "labelled": labelled}
        arms = [f"{o}-{total}" for o in OBJECTIVES if (total, o) in runs]
        students[f"labels{total}"] = {"model": size.teacher, "method": method, "taught_by": arms}
    return parse_study({
        "name": f"mse-figure2-students-seed{seed}{tag}", "problem": dict(words), "recipe": _recipe(size.epochs, size.batch),
        "teachers": {f"{o}-{total}": {"run": run} for (total, o), run in runs.items()}, "students": students,
        "seeds": [seed],
    })  # fmt: skip


def _recipe(epochs: int, batch: int) -> dict[str, Any]:
    return {**BENCHMARK, "epochs": epochs, "batch_size": batch, "evaluate_every": max(1, epochs // 2)}
