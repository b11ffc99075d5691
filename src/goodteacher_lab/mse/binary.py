"""Table 4 of the MSE teacher: tasks of two classes."""

from __future__ import annotations

from dataclasses import replace

from goodteacher.base.errors import ConfigError
from goodteacher.diagnose.results import Results
from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.mse import cells as of
from goodteacher_lab.mse.cells import SHARED, Cell
from goodteacher_lab.mse.printed import SLIPS, TABLE4
from goodteacher_lab.mse.study import THIN, binary_study, task_words
from goodteacher_lab.reading import problem_departures
from goodteacher_lab.sizes import SIZES, Size, size_of

METHODS4 = ("kd", "at", "cc", "vid")
PAIRS = {"header": ("26-45", "50-74"), "text": ("20-40", "50-70")}
TASKS = ("halves", *PAIRS["header"], *PAIRS["text"])


def tasks_of(job: Job) -> tuple[str, ...]:
    """Return the tasks that a job chooses, or those its pictures fit.

    Raises:
        ConfigError: if it does not say where pictures are, or they have neither 10 nor 100 classes.
    """
    if "task" in job.choices:
        return tuple(job.choices["task"])
    classes = of.pictures(job, None)[1].classes
    if classes not in (10, 100):
        raise ConfigError("--images", rule="must have CIFAR-10's classes or CIFAR-100's", received=f"{classes} classes")
    return (
        ("halves",)
        if classes == 10
        else tuple(t for words in job.choices.get("pairs", ("header",)) for t in PAIRS[words])
    )


def table4(job: Job) -> Finding:
    """Compare the two teachers on tasks of two classes."""
    size = size_of(job, "mse/table4")
    found, unfinished, said = run_tasks(job, size)
    cells = [
        Cell(task, method, task, TABLE4.get(task, {}).get(method, (None, None)), measured=of.of_students(results, method))
        for task, results in found.items()
        for method in METHODS4
    ]  # fmt: skip
    networks = []
    for task, results in found.items():
        printed = TABLE4.get(task, {}).get("alone", (None, None))
        networks.append(Cell(task, f"teacher {size.teacher}", task, measured=of.of_teachers(results)))
        networks.append(Cell(task, "student alone", task, printed, measured=of.alone(results)))
    done = sum(cell.gain is not None for cell in cells)
    title, note = (
        f"{size.teacher} -> {THIN} ({done} of {len(cells)} cells)",
        "Of 200 test pictures one is half a point.",
    )
    claim = claim_of("mse/table4", claim=SHARED.text)
    return Finding(
        "mse/table4",
        claim.text,
        of.verdict(cells, unfinished, 2),
        (*dict.fromkeys((*SHARED.departures, *claim.departures, *said)), *SLIPS["table4"]),
        (of.cell_grid(title, cells, note), of.cell_grid("Networks", networks, of.ALONE)),
        {"Brier - cross-entropy by method": of.gain_chart(cells)},
        {"students": of.plain_cells(cells), "networks": of.plain_cells(networks), "unfinished": unfinished},
    )


def run_tasks(job: Job, size: Size) -> tuple[dict[str, Results | None], int, list[str]]:
    """Run the tasks that a job chooses.

    Returns:
        Every task printed or chosen to what is finished of it, now or earlier; how many runs are not finished; what must be
        said.
    """
    whole_size = replace(size, seeds=max(size.seeds, SIZES["mse/table4"][job.budget].seeds))
    tasks = tasks_of(job)
    found: dict[str, Results | None] = {}
    said: list[str] = []
    unfinished = 0
    for task in dict.fromkeys((*TABLE4, *tasks)):
        if task not in tasks:
            elsewhere = binary_study(task, METHODS4, {"name": "elsewhere"}, whole_size, job.tag)
            found[task] = earlier = of.kept(job, elsewhere, ("recipe",))
            if earlier:
                said.append(f"{task}: of an earlier job, on {earlier.study.problem}.")
                said += [f"{note}." for note in earlier.study.notes]
            continue
        words, problem = of.pictures(job, size.examples, **task_words(task))
        job.say(f"{task}: {size.seeds} seeds")
        part = binary_study(task, job.choices.get("method", METHODS4), words, size, job.tag)
        found[task], missing = of.run_part(job, binary_study(task, METHODS4, words, whole_size, job.tag), part, problem)
        unfinished += missing
        said += [*(f"{note}." for note in part.notes), *problem_departures(job, problem)]
    if size.teacher != SIZES["mse/table4"]["paper"].teacher:
        said.append(f"The teacher is {size.teacher} in place of vgg13.")
    return found, unfinished, said + ([f"Seeds: {size.seeds}; the paper has 5 runs."] if size.seeds != 5 else [])
