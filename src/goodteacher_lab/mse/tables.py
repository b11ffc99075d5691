"""Tables 1 to 3 of the MSE teacher: pairs of networks and methods, under cross-entropy and under Brier teachers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from goodteacher.data.problem import Problem
from goodteacher.diagnose.results import Results
from goodteacher.report.tables import Grid
from goodteacher.study.spec import StudySpec
from goodteacher_lab.benchmark import Pair, pair_of
from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.mse import cells as of
from goodteacher_lab.mse.cells import SHARED, Cell
from goodteacher_lab.mse.printed import RERUN, SLIPS, STUDENTS, TABLE1, TABLE2, TABLE3, TEACHERS, Printed
from goodteacher_lab.mse.study import imagenet_study, pair_study
from goodteacher_lab.reading import problem_departures
from goodteacher_lab.sizes import METHODS1, METHODS2, METHODS3, SIZES, STAND_IN, Size, size_of

STARRED = "*: a cross-entropy figure of the authors' own; the others they took from earlier papers."
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
    chosen = tuple(pair_of(name) for name in job.choices.get("pair", ())) or size.pairs
    part = job.choices.get("method", size.methods)
    whole_size = replace(size, seeds=max(size.seeds, SIZES[f"mse/{table}"][job.budget].seeds))
    found: dict[Pair, Results | None] = {}
    notes: dict[str, None] = {}
    unfinished = 0
    for pair in dict.fromkeys((*size.pairs, *chosen)):
        whole = build(table, pair, methods, words, whole_size, job.tag)
        if pair not in chosen:
            found[pair] = of.kept(job, whole)
            notes |= dict.fromkeys(whole.notes if found[pair] else ())
            continue
        job.say(f"{pair[0]} -> {pair[1]}: {len(part)} methods, {size.seeds} seeds")
        study = build(table, pair, part, words, size, job.tag)
        found[pair], missing = of.run_part(job, whole, study, problem)
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
    size = size_of(job, f"mse/{table}")
    words, problem = of.pictures(job, size.examples)
    pairs, notes, unfinished = run_pairs(job, table, methods, size, words, problem, pair_study)
    cells = []
    for pair, results in pairs.items():
        for method in methods:
            known = printed.get(pair, {}).get(method, (None, None))
            starred = (*pair, method) in RERUN if table == "table1" else method == "reviewkd" and known != (None, None)
            arm = method if table == "table1" else f"{method}_kd"
            found = of.of_students(results, arm)
            cell = Cell(" -> ".join(pair), arm.replace("_", " + "), pair[0], known, starred, found)
            cells += [cell] if cell.known else []
    networks = of.network_cells(pairs, TEACHERS, STUDENTS)
    said = [*SHARED.departures, *notes, *_scale(size, problem), *problem_departures(job, problem)]
    return Finding(
        f"mse/{table}",
        f"{SHARED.text}, {where} and for every pair of networks.",
        of.verdict(cells, unfinished, problem.classes),
        (*dict.fromkeys(said), *SLIPS[table]),
        (
            _titled("Students: published against measured", cells),
            of.cell_grid("Networks: published against measured", networks, of.ALONE),
        ),
        {"Brier - cross-entropy by method": of.gain_chart(cells)},
        {"students": of.plain_cells(cells), "networks": of.plain_cells(networks), "unfinished": unfinished},
    )


def _titled(title: str, cells: Sequence[Cell]) -> Grid:
    done = sum(cell.gain is not None for cell in cells)
    return of.cell_grid(f"{title} ({done} of {len(cells)} cells)", cells, STARRED)


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
    size = size_of(job, "mse/table3")
    of_folder = {"size": size.pixels} if Path(job.pictures["name"]).is_dir() else {}
    words, problem = of.pictures(job, size.examples, **of_folder)
    pairs, notes, unfinished = run_pairs(job, "table3", METHODS3, size, words, problem, imagenet_study)
    grids, tops = [], {}
    for place, first in enumerate((1, 5)):
        cells = []
        for pair, results in pairs.items():
            for method in METHODS3:
                starred = method == "reviewkd_kd" or (method, pair[1]) == ("crd_kd", "mobilenetv1")
                known, found = TABLE3[pair][method][place], of.of_students(results, method, first)
                cells.append(Cell(" -> ".join(pair), method.replace("_", " + "), pair[0], known, starred, found))
        teachers = {pair[0]: rows["teacher"][place] for pair, rows in TABLE3.items()}
        networks = of.network_cells(pairs, teachers, {}, first)
        grids += [_titled(f"Top-{first}: students", cells), of.cell_grid(f"Top-{first}: networks", networks, of.ALONE)]
        tops[f"top{first}"] = cells
    height, width = problem.input_shape[1:]
    sizes = {"height": height, "width": width, "batch": size.batch, "epochs": size.epochs, "seeds": size.seeds}
    claim = claim_of("mse/table3", claim=SHARED.text, **sizes)
    other = [f"The published figures are of 1000 classes; this problem has {problem.classes}."]
    return Finding(
        "mse/table3",
        claim.text,
        of.verdict(tops["top1"], unfinished, problem.classes),
        (
            *SHARED.departures, *notes, *claim.departures, *(other if problem.classes != 1000 else []),
            *problem_departures(job, problem), *SLIPS["table3"],
        ),
        tuple(grids),
        {"Brier - cross-entropy by method, top-1": of.gain_chart(tops["top1"])},
        {name: of.plain_cells(cells) for name, cells in tops.items()} | {"unfinished": unfinished},
    )  # fmt: skip
