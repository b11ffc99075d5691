"""Table 4 of the MSE teacher: tasks of two classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from goodteacher.base.errors import ConfigError
from goodteacher.diagnose.results import Results
from goodteacher.study.spec import StudySpec
from goodteacher_lab.job import Budget, Finding, Job, Reproduction
from goodteacher_lab.mse.cells import (
    ALONE,
    CLAIM,
    DEPARTURES,
    Cell,
    alone,
    benchmark_study,
    cell_grid,
    gain_chart,
    kept,
    of_students,
    of_teachers,
    pictures,
    plain_cells,
    run_part,
    verdict,
)
from goodteacher_lab.mse.printed import SLIPS, TABLE4
from goodteacher_lab.reading import problem_departures


@dataclass(frozen=True)
class Binary:
    """What a budget buys in Table 4: the teacher, epochs, seeds, training pictures at most (None for all), and batches."""

    teacher: str
    epochs: int
    seeds: int
    examples: int | None = None
    batch: int = 64


BINARY: dict[Budget, Binary] = {
    "minutes": Binary("vgg8", 40, 2, 1200, 32),
    "hours": Binary("vgg13", 40, 3, 2000, 32),
    "paper": Binary("vgg13", 240, 5),
}
STUDENT = "mobilenetv2_0.1"
RECIPE = (
    'The paper prints one recipe, for CIFAR-100 "and settings in this paper" (SGD at 0.05, 240 epochs, batches of 64), '
    "and does not "
    "repeat it here; it is that of Tables 1 and 2."
)
METHODS4 = ("kd", "at", "cc", "vid")
HALVES: dict[str, Any] = {"merge": {"first": [0, 1, 2, 3, 4], "last": [5, 6, 7, 8, 9]}}
PAIRS = {"header": ("26-45", "50-74"), "text": ("20-40", "50-70")}
TASKS = ("halves", *PAIRS["header"], *PAIRS["text"])


def task_words(task: str) -> dict[str, Any]:
    """Return the label tool of a task, as options of `goodteacher.data.sources.load`."""
    return dict(HALVES) if task == "halves" else {"pair": [int(number) for number in task.split("-")]}


def tasks_of(job: Job) -> tuple[str, ...]:
    """Return the tasks that a job chooses, or those its pictures fit.

    Raises:
        ConfigError: if it does not say where pictures are, or they have neither 10 nor 100 classes.
    """
    if "task" in job.choices:
        return tuple(job.choices["task"])
    classes = pictures(job, None)[1].classes
    if classes not in (10, 100):
        raise ConfigError("--images", rule="must have CIFAR-10's classes or CIFAR-100's", received=f"{classes} classes")
    return (
        ("halves",)
        if classes == 10
        else tuple(t for words in job.choices.get("pairs", ("header",)) for t in PAIRS[words])
    )


def binary_study(task: str, methods: Sequence[str], words: Mapping[str, Any], size: Binary, tag: str) -> StudySpec:
    """Return the study of one task."""
    pair, recipe = (size.teacher, STUDENT), {"epochs": size.epochs, "batch_size": size.batch}
    return benchmark_study(f"mse-table4-{task}{tag}", pair, methods, words, size.seeds, **recipe)


def table4(job: Job) -> Finding:
    """Compare the two teachers on tasks of two classes."""
    tasks = tasks_of(job)
    size = BINARY[job.budget]
    whole_size = replace(size, epochs=job.epochs or size.epochs, seeds=max(job.seeds or 0, size.seeds))
    size = replace(whole_size, seeds=job.seeds or size.seeds)
    tag = "" if job.budget == "paper" else f"-{job.budget}"
    found: dict[str, Results | None] = {}
    said: list[str] = [*DEPARTURES, RECIPE]
    unfinished = 0
    for task in dict.fromkeys((*TABLE4, *tasks)):
        if task not in tasks:
            elsewhere = binary_study(task, METHODS4, {"name": "elsewhere"}, whole_size, tag)
            found[task] = earlier = kept(job, elsewhere, ("recipe",))
            if earlier:
                said.append(f"{task}: of an earlier job, on {earlier.study.problem}.")
                said += [f"{note}." for note in earlier.study.notes]
            continue
        words, problem = pictures(job, size.examples, **task_words(task))
        job.say(f"{task}: {size.seeds} seeds")
        part = binary_study(task, job.choices.get("method", METHODS4), words, size, tag)
        found[task], missing = run_part(job, binary_study(task, METHODS4, words, whole_size, tag), part, problem)
        unfinished += missing
        said += [*(f"{note}." for note in part.notes), *problem_departures(job, problem)]
    cells = [
        Cell(task, method, task, TABLE4.get(task, {}).get(method, (None, None)), measured=of_students(results, method))
        for task, results in found.items()
        for method in METHODS4
    ]
    networks = []
    for task, results in found.items():
        printed = TABLE4.get(task, {}).get("alone", (None, None))
        networks.append(Cell(task, f"teacher {size.teacher}", task, measured=of_teachers(results)))
        networks.append(Cell(task, "student alone", task, printed, measured=alone(results)))
    if size.teacher != BINARY["paper"].teacher:
        said.append(f"The teacher is {size.teacher} in place of vgg13.")
    said += [f"Seeds: {size.seeds}; the paper has 5 runs."] if size.seeds != 5 else []
    done = sum(cell.gain is not None for cell in cells)
    return Finding(
        "mse/table4",
        f"{CLAIM} in tasks of two classes too.",
        verdict(cells, unfinished, 2),
        (*dict.fromkeys(said), *SLIPS["table4"]),
        (
            cell_grid(
                f"{size.teacher} -> {STUDENT} ({done} of {len(cells)} cells)",
                cells,
                "Of 200 test pictures one is half a point.",
            ),
            cell_grid("Networks", networks, ALONE),
        ),
        {"Brier - cross-entropy by method": gain_chart(cells)},
        {"students": plain_cells(cells), "networks": plain_cells(networks), "unfinished": unfinished},
    )


ROWS: dict[str, Reproduction] = {
    "mse/table4": Reproduction(
        table4,
        "Hamidi et al. (2024), Table 4: two classes, cross-entropy against MSE teachers",
        {"minutes": "15 minutes a task", "hours": "5 hours a task", "paper": "weeks; days on a GPU"},
        {"task": TASKS, "pairs": tuple(PAIRS), "method": METHODS4},
    ),
}
