"""Figure 2 of the MSE teacher: few labels on CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.data.labels import label_subset
from goodteacher.data.problem import Problem
from goodteacher.diagnose.results import Results
from goodteacher.report.charts import channel, chart, free, intervals, lines, spec
from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab.benchmark import BENCHMARK
from goodteacher_lab.job import Budget, Finding, Job, Reproduction
from goodteacher_lab.mse.cells import (
    CLAIM,
    DEPARTURES,
    OBJECTIVES,
    Cell,
    cell_grid,
    joined,
    of_students,
    of_teachers,
    pictures,
    plain_cells,
    verdict,
)
from goodteacher_lab.reading import problem_departures, spread


@dataclass(frozen=True)
class FewLabels:
    """What a budget buys in Figure 2.

    Attributes:
        model: of teacher and student.
        labels: labelled examples in all, one teacher of either kind each.
        teacher_epochs: over its labelled examples; a student's are over all.
        batch: examples a step.
        examples: training pictures at most, labelled or not; None for all.
    """

    model: str
    labels: tuple[int, ...]
    teacher_epochs: int
    epochs: int
    seeds: int
    examples: int | None = None
    batch: int = 64


LABELS = (500, 1000, 2000, 4000)
FIGURE2: dict[Budget, FewLabels] = {
    "minutes": FewLabels("resnet8", LABELS[:3], 25, 6, 2, 4000, 32),
    "hours": FewLabels("resnet20", LABELS, 60, 15, 2, 15000),
    "paper": FewLabels("resnet18", LABELS, 240, 240, 3),
}


def labelled_part(problem: Problem, total: int, seed: int) -> Problem:
    """Return the problem with a class-balanced few of its training examples, normalised as the whole of them is."""
    own = label_subset(problem, total=total, seed=seed).train.indices
    return problem.with_train_rows(torch.isin(problem.train.indices, own).nonzero().squeeze(1))


def few_labels_teachers(size: FewLabels, total: int, seed: int, words: Mapping[str, Any], tag: str) -> StudySpec:
    """Return the study that trains the teachers of one seed on so many labelled examples."""
    return parse_study({
        "name": f"mse-figure2-teachers-{total}-seed{seed}{tag}",
        "problem": dict(words),
        "recipe": _recipe(size.teacher_epochs, size.batch),
        "teachers": {o: {"model": size.model, "objective": o} for o in OBJECTIVES},
        "seeds": [seed],
        "notes": [f"Trained on {total} of the training examples alone, chosen by `label_subset` with seed {seed}."],
    })  # fmt: skip


def few_labels_students(
    size: FewLabels, runs: Mapping[tuple[int, str], str], seed: int, words: Mapping[str, Any], classes: int, tag: str
) -> StudySpec:
    """Return the study whose students see all examples, and the labels of those that their teacher was trained on.

    ``runs`` maps (labelled examples, objective) to the teacher's run.
    """
    students = {}
    for total in sorted({total for total, _ in runs}):
        labelled = {"per_class": total // classes, "seed": seed, "weight": 0.1}
        method = {"kd": {"alpha": 0.9, "temperature": 4.0, "gamma": 0.0}, "labelled": labelled}
        arms = [f"{o}-{total}" for o in OBJECTIVES if (total, o) in runs]
        students[f"labels{total}"] = {"model": size.model, "method": method, "taught_by": arms}
    return parse_study({
        "name": f"mse-figure2-students-seed{seed}{tag}", "problem": dict(words), "recipe": _recipe(size.epochs, size.batch),
        "teachers": {f"{o}-{total}": {"run": run} for (total, o), run in runs.items()}, "students": students,
        "seeds": [seed],
    })  # fmt: skip


def _recipe(epochs: int, batch: int) -> dict[str, Any]:
    return {**BENCHMARK, "epochs": epochs, "batch_size": batch, "evaluate_every": max(1, epochs // 2)}


def figure2(job: Job) -> Finding:
    """Distil students on all pictures from teachers that were trained on few labels."""
    size = FIGURE2[job.budget]
    epochs, teacher_epochs = job.epochs or size.epochs, job.epochs or size.teacher_epochs
    size = replace(size, epochs=epochs, teacher_epochs=teacher_epochs, seeds=job.seeds or size.seeds)
    words, problem = pictures(job, size.examples)
    # Votes on training examples play no part, and those of the whole are not the labelled part's.
    problem = replace(problem, train=replace(problem.train, votes=None))
    chosen = tuple(int(total) for total in job.choices.get("labels", ())) or size.labels
    fewest = int(torch.bincount(problem.train.labels, minlength=problem.classes).min()) * problem.classes
    labels = tuple(total for total in chosen if total <= fewest or "labels" in job.choices)
    if not labels:
        received = f"{len(problem.train)} training pictures"
        raise ConfigError("--images", rule=f"must hold at least {min(chosen)} labelled pictures", received=received)
    ran = [_one_seed(job, size, labels, seed, words, problem) for seed in range(size.seeds)]
    unfinished = sum(len(r.missing) for teachers, students in ran for r in (*teachers.values(), students) if r)
    cells = [
        Cell(
            f"{total} labels", "student", size.model, measured=joined(of_students(s, f"labels{total}") for _, s in ran)
        )
        for total in labels
    ]
    cells += [
        Cell(
            f"{total} labels",
            "teacher",
            size.model,
            measured=joined(of_teachers(teachers[total]) for teachers, _ in ran),
        )
        for total in labels
    ]
    students = cells[: len(labels)]
    return Finding(
        "mse/figure2",
        f"{CLAIM} where few of its examples are labelled, at every number of labels.",
        f"{verdict(students, unfinished, problem.classes)} The paper's figure has no numbers; its text says that the "
        f"MSE teacher "
        "surpasses the other.",
        _figure_departures(job, size, problem, labels, chosen),
        (cell_grid("Students of few labels", students), cell_grid("Their teachers", cells[len(labels) :])),
        {"accuracy by number of labels": _figure_chart(cells)},
        {"cells": plain_cells(cells), "unfinished": unfinished},
    )


def _one_seed(
    job: Job, size: FewLabels, labels: Sequence[int], seed: int, words: Mapping[str, Any], problem: Problem
) -> tuple[dict[int, Results], Results | None]:
    """Run one seed; return the results of its teachers by number of labels, and of its students."""
    tag = "" if job.budget == "paper" else f"-{job.budget}"
    runs: dict[tuple[int, str], str] = {}
    teachers: dict[int, Results] = {}
    for total in labels:
        job.say(f"{total} labels, seed {seed}")
        study = few_labels_teachers(size, total, seed, words, tag)
        teachers[total] = results = job.run(study, labelled_part(problem, total, seed), whole=False)
        trained = {arm: who.runs[0] for (arm, _), who in results.plan.teachers.items()}
        runs |= {(total, arm): run for arm, run in trained.items() if run not in results.missing}
    if not runs:
        return teachers, None
    students = few_labels_students(size, runs, seed, words, problem.classes, tag)
    return teachers, job.run(students, problem, whole=False)


def _figure_departures(
    job: Job, size: FewLabels, problem: Problem, labels: Sequence[int], chosen: Sequence[int]
) -> tuple[str, ...]:
    left_out = sorted(set(chosen) - set(labels))
    return (
        *DEPARTURES,
        "The paper follows the settings of SimCLRv2 and says no more. Here a teacher is trained on its labelled "
        "pictures alone, "
        "a class-balanced choice anew for each seed; nothing is pretrained without labels, so accuracies lie far below such "
        "a pipeline's.",
        "The student sees all training pictures: 0.9 times kd at T = 4 on each, and 0.1 times cross-entropy on the labelled "
        "ones; the labels of the others are never read. Weights and temperature are the CRD benchmark's.",
        f"Teacher and student are both {size.model}, as in SimCLRv2's self-distillation; the paper's student is "
        f"ResNet18, its "
        "teacher is not named.",
        f"{size.teacher_epochs} epochs of labelled pictures for a teacher, {size.epochs} of all pictures for a student, "
        f"by the "
        f"benchmark's schedule in batches of {size.batch}; the paper has 240 epochs \"for all experiments\" in batches "
        f"of 64. Seeds: {size.seeds}; the paper has 3 runs.",
        *([f"{', '.join(map(str, left_out))} labels are left out: there are fewer pictures."] if left_out else []),
        *([f"The paper's data are CIFAR-10; this problem has {problem.classes} classes."] if problem.classes != 10 else []),
        *problem_departures(job, problem),
    )  # fmt: skip


def _figure_chart(cells: Sequence[Cell]) -> str:
    """Return the paper's figure: accuracy by number of labels, for both teachers and their students."""
    rows = []
    for cell in cells:
        for objective, found in cell.measured.items():
            if found:
                e = spread(found)
                place = {"labels": int(cell.setting.split()[0]), "objective": objective, "of": cell.method}
                rows.append({**place, "accuracy": 100 * e.mean, "low": 100 * e.low, "high": 100 * e.high})
    frame = pd.DataFrame(rows, columns=["labels", "objective", "of", "accuracy", "low", "high"])
    x = channel("labels:Q", "labelled pictures", scale={"type": "log"})
    y, color = free("accuracy", "test accuracy %"), channel("objective:N", "teacher's loss")
    means = lines(x, y, color=color, strokeDash=channel("of:N"), tooltip=list(frame.columns))
    return spec(chart(frame, means, intervals(x=x, color=color), size=(420, 280)))


ROWS: dict[str, Reproduction] = {
    "mse/figure2": Reproduction(
        figure2,
        "Hamidi et al. (2024), Figure 2: semi-supervised CIFAR-10, cross-entropy against MSE teachers",
        {"minutes": "15 minutes", "hours": "5 hours", "paper": "months; days on a GPU"},
        {"labels": tuple(map(str, LABELS))},
    ),
}
