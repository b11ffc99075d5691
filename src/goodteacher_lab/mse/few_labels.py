"""Figure 2 of the MSE teacher: few labels on CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.data.problem import Problem
from goodteacher.diagnose.results import Results
from goodteacher.report.charts import channel, chart, free, intervals, lines, spec
from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.mse import cells as of
from goodteacher_lab.mse.cells import SHARED, Cell
from goodteacher_lab.mse.study import few_labels_students, few_labels_teachers, labelled_part
from goodteacher_lab.reading import problem_departures, spread
from goodteacher_lab.sizes import Size, size_of


def figure2(job: Job) -> Finding:
    """Distil students on all pictures from teachers that were trained on few labels."""
    size = size_of(job, "mse/figure2")
    size = replace(size, teacher_epochs=job.epochs or size.teacher_epochs)
    words, problem = of.pictures(job, size.examples)
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
    by_role = {
        "student": lambda total: of.joined(of.of_students(s, f"labels{total}") for _, s in ran),
        "teacher": lambda total: of.joined(of.of_teachers(teachers[total]) for teachers, _ in ran),
    }
    students, teachers = (
        [Cell(f"{total} labels", role, size.teacher, measured=read(total)) for total in labels]
        for role, read in by_role.items()
    )
    claim = claim_of(
        "mse/figure2", claim=SHARED.text, model=size.teacher, teacher_epochs=size.teacher_epochs, epochs=size.epochs,
        batch=size.batch, seeds=size.seeds,
    )  # fmt: skip
    left_out, cells = sorted(set(chosen) - set(labels)), [*students, *teachers]
    return Finding(
        "mse/figure2",
        claim.text,
        f"{of.verdict(students, unfinished, problem.classes)} The paper's figure has no numbers; its text says that the MSE "
        "teacher surpasses the other.",
        (
            *SHARED.departures,
            *claim.departures,
            *([f"{', '.join(map(str, left_out))} labels are left out: there are fewer pictures."] if left_out else []),
            *([f"The paper's data are CIFAR-10; this problem has {problem.classes} classes."] if problem.classes != 10 else []),
            *problem_departures(job, problem),
        ),
        (of.cell_grid("Students of few labels", students), of.cell_grid("Their teachers", teachers)),
        {"accuracy by number of labels": _chart(cells)},
        {"cells": of.plain_cells(cells), "unfinished": unfinished},
    )  # fmt: skip


def _one_seed(
    job: Job, size: Size, labels: Sequence[int], seed: int, words: Mapping[str, Any], problem: Problem
) -> tuple[dict[int, Results], Results | None]:
    """Run one seed; return the results of its teachers by number of labels, and of its students."""
    runs: dict[tuple[int, str], str] = {}
    teachers: dict[int, Results] = {}
    for total in labels:
        job.say(f"{total} labels, seed {seed}")
        study = few_labels_teachers(size, total, seed, words, job.tag)
        teachers[total] = results = job.run(study, labelled_part(problem, total, seed), whole=False)
        trained = {arm: who.runs[0] for (arm, _), who in results.plan.teachers.items()}
        runs |= {(total, arm): run for arm, run in trained.items() if run not in results.missing}
    if not runs:
        return teachers, None
    students = few_labels_students(size, runs, seed, words, problem.classes, job.tag)
    return teachers, job.run(students, problem, whole=False)


def _chart(cells: Sequence[Cell]) -> str:
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
