"""Tables 1 to 3 of the MSE teacher: pairs of networks and methods, under cross-entropy and under Brier teachers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from goodteacher.data.problem import Problem
from goodteacher.diagnose.results import Results
from goodteacher.report.tables import Grid
from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab.benchmark import Pair, pair_of
from goodteacher_lab.job import Budget, Finding, Job, Reproduction
from goodteacher_lab.mse.cells import (
    ALONE,
    CLAIM,
    DEPARTURES,
    OBJECTIVES,
    Cell,
    benchmark_study,
    cell_grid,
    gain_chart,
    kept,
    network_cells,
    of_students,
    pictures,
    plain_cells,
    run_part,
    verdict,
)
from goodteacher_lab.mse.printed import RERUN, SLIPS, STUDENTS, TABLE1, TABLE2, TABLE3, TEACHERS, Printed
from goodteacher_lab.reading import problem_departures


@dataclass(frozen=True)
class Size:
    """What a budget buys.

    Attributes:
        pairs: of networks.
        methods: without KD behind them.
        epochs: of teachers and students.
        seeds: of both, paired.
        examples: training pictures at most, shared out evenly over classes; None for all.
        pixels: height and width of pictures from a folder.
        batch: pictures a step, of Table 3.
    """

    pairs: tuple[Pair, ...]
    methods: tuple[str, ...]
    epochs: int
    seeds: int
    examples: int | None = None
    pixels: int = 32
    batch: int = 64


STAND_IN: Pair = ("resnet14", "resnet8")
FIRST: Pair = ("resnet56", "resnet20")
METHODS1 = tuple(TABLE1[FIRST])
METHODS2 = tuple(next(iter(TABLE2.values())))
METHODS3 = ("kd", "dkd", "reviewkd_kd", "crd_kd")
SIZES: dict[str, dict[Budget, Size]] = {
    "table1": {
        "minutes": Size((STAND_IN,), ("kd", "at", "dkd"), 6, 2, 3000),
        "hours": Size((FIRST,), ("kd", "at", "dkd"), 20, 2, 10000),
        "paper": Size(tuple(TABLE1), METHODS1, 240, 5),
    },
    "table2": {
        "minutes": Size((STAND_IN,), ("at", "sp"), 6, 2, 3000),
        "hours": Size((next(iter(TABLE2)),), ("at", "sp"), 12, 2, 10000),
        "paper": Size(tuple(TABLE2), METHODS2, 240, 5),
    },
    "table3": {
        "minutes": Size((next(iter(TABLE3)),), ("kd", "dkd"), 6, 2, 500, 64, 32),
        "hours": Size((next(iter(TABLE3)),), ("kd", "dkd"), 20, 2, 5000, 64, 64),
        "paper": Size(tuple(TABLE3), METHODS3, 120, 3, None, 224, 256),
    },
}


def size_of(job: Job, table: str) -> Size:
    """Return the size of a job, with its own epochs and seeds where it gives them."""
    size = SIZES[table][job.budget]
    return replace(size, epochs=job.epochs or size.epochs, seeds=job.seeds or size.seeds)


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


Builder = Callable[[str, Pair, Sequence[str], Mapping[str, Any], Size, str], StudySpec]


def run_pairs(
    job: Job,
    table: str,
    methods: Sequence[str],
    size: Size,
    words: Mapping[str, Any],
    problem: Problem,
    build: Builder,
) -> tuple[dict[Pair, Results | None], tuple[str, ...], int]:
    """Run the pairs and methods that a job chooses.

    Returns:
        Every pair of the budget, or chosen, to what is finished of it, now or earlier; what the studies say of themselves;
        and how many of the runs ordered are not finished.
    """
    tag = "" if job.budget == "paper" else f"-{job.budget}"
    chosen = tuple(pair_of(name) for name in job.choices.get("pair", ())) or size.pairs
    part = job.choices.get("method", size.methods)
    whole_size = replace(size, seeds=max(size.seeds, SIZES[table][job.budget].seeds))
    found: dict[Pair, Results | None] = {}
    notes: dict[str, None] = {}
    unfinished = 0
    for pair in dict.fromkeys((*size.pairs, *chosen)):
        whole = build(table, pair, methods, words, whole_size, tag)
        if pair not in chosen:
            found[pair] = kept(job, whole)
            notes |= dict.fromkeys(whole.notes if found[pair] else ())
            continue
        job.say(f"{pair[0]} -> {pair[1]}: {len(part)} methods, {size.seeds} seeds")
        study = build(table, pair, part, words, size, tag)
        found[pair], missing = run_part(job, whole, study, problem)
        notes |= dict.fromkeys(study.notes)
        unfinished += missing
    return found, tuple(f"{note}." for note in notes), unfinished


def table1(job: Job) -> Finding:
    """Compare the two teachers under each method alone."""
    return _cifar(job, "table1", TABLE1, METHODS1, "in every state-of-the-art method alone")


def table2(job: Job) -> Finding:
    """Compare the two teachers under each method added to KD."""
    return _cifar(job, "table2", TABLE2, METHODS2, "in every state-of-the-art method added to KD")


def _cifar(
    job: Job, table: str, printed: Mapping[Pair, Mapping[str, Printed]], methods: Sequence[str], where: str
) -> Finding:
    size = size_of(job, table)
    words, problem = pictures(job, size.examples)
    pairs, notes, unfinished = run_pairs(job, table, methods, size, words, problem, pair_study)
    cells = []
    for pair, results in pairs.items():
        for method in methods:
            figures = printed.get(pair, {}).get(method, (None, None))
            starred = (
                (*pair, method) in RERUN if table == "table1" else method == "reviewkd" and figures != (None, None)
            )
            arm = method if table == "table1" else f"{method}_kd"
            cell = Cell(
                " -> ".join(pair), arm.replace("_", " + "), pair[0], figures, starred, of_students(results, arm)
            )
            cells += [cell] if cell.known else []
    networks = network_cells(pairs, TEACHERS, STUDENTS)
    note = "*: a cross-entropy figure of the authors' own; the others they took from earlier papers."
    said = [*DEPARTURES, *notes, *_scale(size, problem), *problem_departures(job, problem)]
    return Finding(
        f"mse/{table}",
        f"{CLAIM}, {where} and for every pair of networks.",
        verdict(cells, unfinished, problem.classes),
        (*dict.fromkeys(said), *SLIPS[table]),
        (
            _titled("Students: published against measured", cells, note),
            cell_grid("Networks: published against measured", networks, ALONE),
        ),
        {"Brier - cross-entropy by method": gain_chart(cells)},
        {"students": plain_cells(cells), "networks": plain_cells(networks), "unfinished": unfinished},
    )


def _titled(title: str, cells: Sequence[Cell], note: str) -> Grid:
    done = sum(cell.gain is not None for cell in cells)
    return cell_grid(f"{title} ({done} of {len(cells)} cells)", cells, note)


def _scale(size: Size, problem: Problem) -> list[str]:
    said = [f"Seeds: {size.seeds}; the paper has 5 runs."] if size.seeds != 5 else []
    if size.pairs == (STAND_IN,):
        said.append(
            f"The small pair {STAND_IN[0]} -> {STAND_IN[1]}, which is not in the paper, unless a pair is chosen."
        )
    if problem.classes != 100:
        said.append(f"The published figures are of CIFAR-100; this problem has {problem.classes} classes.")
    return said


def table3(job: Job) -> Finding:
    """Compare the two teachers on ImageNet's networks, on a folder of pictures."""
    size = size_of(job, "table3")
    of_folder = {"size": size.pixels} if Path(job.pictures["name"]).is_dir() else {}
    words, problem = pictures(job, size.examples, **of_folder)
    pairs, notes, unfinished = run_pairs(job, "table3", METHODS3, size, words, problem, imagenet_study)
    grids, tops = [], {}
    for place, (first, title) in enumerate(((1, "Top-1"), (5, "Top-5"))):
        cells = []
        for pair, results in pairs.items():
            for method in METHODS3:
                name, figures = method.replace("_", " + "), TABLE3[pair][method][place]
                starred = method == "reviewkd_kd" or (method, pair[1]) == ("crd_kd", "mobilenetv1")
                cells.append(
                    Cell(" -> ".join(pair), name, pair[0], figures, starred, of_students(results, method, first))
                )
        teachers = {pair[0]: rows["teacher"][place] for pair, rows in TABLE3.items()}
        networks = network_cells(pairs, teachers, {}, first)
        note = "*: a cross-entropy figure of the authors' own; the others they took from earlier papers."
        grids += [_titled(f"{title}: students", cells, note), cell_grid(f"{title}: networks", networks, ALONE)]
        tops[f"top{first}"] = cells
    height, width = problem.input_shape[1:]
    said = (
        *DEPARTURES,
        *notes,
        f"Pictures are brought to {height} x {width} once, by their shorter side and the centre; training cuts boxes of "
        f"8 to "
        "100% of that, stretched to its size and mirrored, where the paper's standard process cuts from the whole picture.",
        f"Batches of {size.batch} at a rate of 0.1 for 256; the paper prints 0.1 here, and batches of 64 for CIFAR-100 "
        f'"and settings in '
        "this paper\". No weight of a method is printed: kd and dkd have mdistiller's for ImageNet, and in sums with "
        "KD both have "
        "the weight and temperature of the CRD benchmark.",
        "Both teachers are trained here; published cross-entropy teachers are torchvision's.",
        f"{size.epochs} epochs, drops after a quarter, half and three quarters; the paper has 120.",
        f"Seeds: {size.seeds}; the paper does not say how many runs it had.",
        *(
            [f"The published figures are of 1000 classes; this problem has {problem.classes}."]
            if problem.classes != 1000
            else []
        ),
        *problem_departures(job, problem),
        *SLIPS["table3"],
    )
    return Finding(
        "mse/table3",
        f"{CLAIM} on ImageNet, by top-1 and top-5 accuracy.",
        verdict(tops["top1"], unfinished, problem.classes),
        said,
        tuple(grids),
        {"Brier - cross-entropy by method, top-1": gain_chart(tops["top1"])},
        {name: plain_cells(cells) for name, cells in tops.items()} | {"unfinished": unfinished},
    )


def _names(pairs: Sequence[Pair]) -> tuple[str, ...]:
    return tuple(f"{teacher}-{student}" for teacher, student in pairs)


ROWS: dict[str, Reproduction] = {
    "mse/table1": Reproduction(
        table1,
        "Hamidi et al. (2024), Table 1: methods alone on CIFAR-100, cross-entropy against MSE teachers",
        {"minutes": "10 minutes", "hours": "5 hours", "paper": "months; weeks on a GPU, in parts"},
        {"pair": _names((*TABLE1, STAND_IN)), "method": METHODS1},
    ),
    "mse/table2": Reproduction(
        table2,
        "Hamidi et al. (2024), Table 2: methods with KD on CIFAR-100, cross-entropy against MSE teachers",
        {"minutes": "10 minutes", "hours": "5 hours", "paper": "months; weeks on a GPU, in parts"},
        {"pair": _names((*TABLE2, STAND_IN)), "method": METHODS2},
    ),
    "mse/table3": Reproduction(
        table3,
        "Hamidi et al. (2024), Table 3: ImageNet, cross-entropy against MSE teachers",
        {"minutes": "10 minutes on 20 classes", "hours": "5 hours", "paper": "months; weeks on several GPUs, in parts"},
        {"pair": _names(tuple(TABLE3)), "method": METHODS3},
    ),
}
