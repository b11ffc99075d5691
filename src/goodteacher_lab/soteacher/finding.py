"""SoTeacher again: students against the epoch of their teacher, the table of pairs, and what each of its two terms does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from goodteacher.base.stats import Estimate
from goodteacher.diagnose.results import Results
from goodteacher.report.charts import channel, chart, free, lines, points, spec
from goodteacher.report.tables import Grid, grid, percent
from goodteacher_lab import reading
from goodteacher_lab.benchmark import pair_of
from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.published import published
from goodteacher_lab.sizes import Size, size_of
from goodteacher_lab.soteacher.study import ABLATION, STOPPED, epochs_of, figure_study, table_study

PUBLISHED: dict[str, dict[str, Any]] = published("dong2024")["table1"]
PAIRS: dict[str, tuple[Any, Any]] = {name: pair_of(name) for name in PUBLISHED}


def _size(job: Job) -> Size:
    return size_of(job, "soteacher" if job.images is not None else "soteacher, digits")


def figure1(job: Job) -> Finding:
    """Distil a student from teachers of every age, standard and SoTeacher."""
    size = _size(job)
    words, problem = reading.problem_of(job, size.per_class)
    study = figure_study(size, words)
    results = job.run(study, problem)
    arms = {kind: epochs_of(study, kind) for kind in ("standard", "soteacher")}
    points: list[dict[str, Any]] = []
    for kind, by_epoch in arms.items():
        for epoch, arm in by_epoch.items():
            of, taught = reading.held_out(results, arm)["accuracy"], reading.values(results, "taught", arm)
            points.append({"teacher": kind, "epoch": epoch, "of": of, "taught": taught})
    table = grid(
        f"Teacher and student by the teacher's epoch (n = {size.seeds} seeds)",
        points,
        {
            "teacher": lambda p: str(p["teacher"]),
            "epoch": lambda p: str(p["epoch"]),
            "teacher accuracy %": lambda p: percent(reading.spread(p["of"])),
            "student accuracy %": lambda p: percent(reading.spread(p["taught"])),
            "n": lambda p: str(len(p["taught"])),
        },
        "Test accuracy, ± half a 95% t interval over seeds; seed k of a student learns from seed k of its teacher.",
    )
    found, stopped, chosen = _figure_differences(results, arms, size.epochs)
    verdict = (
        f"SoTeacher's last epoch against the standard teacher's: {found[0].words}. Against the essential baseline, a standard "
        f"teacher stopped at epoch {stopped} of {size.epochs}: {found[1].words}. Training it on after that changes its "
        f"student by {found[2].words}. The standard checkpoint of least Brier score on validation is epoch {chosen}; SoTeacher "
        f"against it: {found[3].words}."
    )
    data = {
        "points": [{**p, "of": list(p["of"].values()), "taught": list(p["taught"].values())} for p in points],
        "stopped": stopped,
        "least validation brier": chosen,
        "differences": [{"what": d.what, "mean": d.estimate.mean, "n": d.estimate.n} for d in found],
    }
    claim = claim_of(
        "soteacher/figure1", teacher=reading.model_name(size.teacher), student=reading.model_name(size.student),
        epochs=size.epochs, every=max(1, size.epochs // size.points),
    )  # fmt: skip
    return Finding(
        "soteacher/figure1",
        claim.text,
        verdict,
        (
            *claim.departures,
            *reading.problem_departures(job, problem, lipschitz=True),
        ),
        (table, reading.difference_grid("SoTeacher against standard teachers", found)),
        {"accuracy by the teacher's epoch": _figure_chart(points)},
        data,
    )


def _figure_differences(
    results: Results, arms: Mapping[str, Mapping[int, str]], epochs: int
) -> tuple[list[reading.Difference], int, int]:
    """Return the comparisons, the epoch of the stopped teacher and the one that validation chooses."""
    standard = arms["standard"]
    stopped = min(standard, key=lambda epoch: (abs(epoch - STOPPED * epochs), epoch))
    brier = {
        epoch: reading.spread(reading.held_out(results, arm, "validation")["brier"]).mean
        for epoch, arm in standard.items()
    }
    chosen = min(brier, key=lambda epoch: brier[epoch])
    last, own = reading.values(results, "taught", "standard"), reading.values(results, "taught", "soteacher")
    early, picked = (reading.values(results, "taught", standard[epoch]) for epoch in (stopped, chosen))
    found = reading.differences([
        ("SoTeacher, last epoch - standard, last epoch", own, last),
        (f"SoTeacher, last epoch - standard, epoch {stopped}", own, early),
        (f"standard, last epoch - standard, epoch {stopped}", last, early),
        (f"SoTeacher, last epoch - standard, epoch {chosen} (least validation Brier)", own, picked),
    ])  # fmt: skip
    return found, stopped, chosen


def _figure_chart(ages: Sequence[Mapping[str, Any]]) -> str:
    """Return the figure of the paper: both accuracies against the teacher's epoch."""
    rows = [
        {"teacher": p["teacher"], "epoch": p["epoch"], "of": of, "accuracy": 100 * reading.spread(p[key]).mean}
        for p in ages
        for key, of in (("of", "teacher"), ("taught", "student"))
    ]
    x, y = channel("epoch:Q", "the teacher's epoch"), free("accuracy", "test accuracy %")
    drawn = lines(x, y, color=channel("teacher:N", "teacher"), tooltip=["teacher", "epoch", "accuracy"])
    return spec(chart(rows, drawn, size=(300, 220), facet=channel("of:N"), apart=["y"]))


def table(job: Job) -> Finding:
    """Compare SoTeacher with the standard teacher on each pair, with the ablation of its terms."""
    size = _size(job)
    names = job.choices.get("pair") or (tuple(PAIRS) if job.budget == "paper" else ())
    if names and job.images is None:
        job.need_pictures()
    pairs = {name: PAIRS[name] for name in names} or {"small": (size.teacher, size.student)}
    words, problem = reading.problem_of(job, size.per_class)
    grids, said, gains, data = [], [], {}, {}
    for name, (teacher, student) in pairs.items():
        own = replace(size, teacher=teacher, student=student)
        title = f"{reading.model_name(teacher)} -> {reading.model_name(student)}"
        job.say(f"{title}: {len(ABLATION) + 1} teachers, {own.seeds} seeds")
        results = job.run(table_study(name, own, words), problem)
        rows = {arm: _row(results, arm) for arm in results.study.teachers}
        found = _table_differences(results)
        grids += [
            _pair_grid(title, rows, reading.values(results, "taught", "standard")),
            reading.difference_grid(f"{title}: differences", found),
        ]
        said.append(
            f"{title}: SoTeacher against the standard teacher {found[0].words}, against the standard teacher stopped at "
            f"{STOPPED:.1%} of training {found[1].words}. Against the standard teacher, Lipschitz alone {found[2].words}, "
            f"consistency alone {found[3].words}."
        )
        gains[name] = found[0].estimate
        data[name] = {arm: {q: list(v.values()) for q, v in row.items()} for arm, row in rows.items()}
        data[name]["alone"] = {"student": list(reading.values(results, "alone", None).values())}
    claim = claim_of("soteacher/table", epochs=size.epochs, seeds=size.seeds)
    return Finding(
        "soteacher/table",
        claim.text,
        " ".join(said),
        (
            *claim.departures,
            *(() if names else ("This pair of networks is smaller than any of the paper's.",)),
            "Last checkpoints; the paper's tables of Tiny-ImageNet and ImageNet are left out.",
            *reading.problem_departures(job, problem, lipschitz=True),
        ),
        (_published_grid(gains), *grids),
        {"what the terms do": _table_chart(data)},
        data,
    )


def _row(results: Results, arm: str) -> dict[str, dict[int, float]]:
    """Return all quantities of one teacher arm and its students, by seed."""
    own = reading.held_out(results, arm)
    agreement, divergence = reading.fidelity(results, "taught", arm)
    taught = {"student": reading.values(results, "taught", arm), "agreement": agreement, "divergence": divergence}
    return {"teacher": own["accuracy"], **{q: own[q] for q in ("nll", "ece", "brier")}, **taught}


def _table_differences(results: Results) -> list[reading.Difference]:
    taught = {arm: reading.values(results, "taught", arm) for arm in results.study.teachers}
    base = taught["standard"]
    return reading.differences([
        ("soteacher - standard", taught["soteacher"], base),
        ("soteacher - stopped", taught["soteacher"], taught["stopped"]),
        *((f"{arm} - standard", taught[arm], base) for arm in ("lipschitz", "consistency", "stopped")),
        ("soteacher - lipschitz", taught["soteacher"], taught["lipschitz"]),
        ("soteacher - consistency", taught["soteacher"], taught["consistency"]),
    ])  # fmt: skip


def _pair_grid(title: str, rows: Mapping[str, Mapping[str, reading.BySeed]], base: reading.BySeed) -> Grid:
    columns: dict[str, Callable[[tuple[str, Mapping[str, reading.BySeed]]], str]] = {
        "teacher": lambda row: row[0],
        "student accuracy %": lambda row: percent(reading.spread(row[1]["student"])),
        "teacher accuracy %": lambda row: percent(reading.spread(row[1]["teacher"])),
        "teacher NLL": lambda row: reading.decimal(row[1]["nll"], 4),
        "teacher ECE": lambda row: reading.decimal(row[1]["ece"], 3),
        "teacher Brier": lambda row: reading.decimal(row[1]["brier"], 4),
        "agreement %": lambda row: percent(reading.spread(row[1]["agreement"])),
        "KL to teacher": lambda row: reading.decimal(row[1]["divergence"], 4),
        "n": lambda row: str(len(row[1]["student"])),
    }
    note = (
        f"On test, ± half a 95% t interval over seeds. stopped: the standard teacher after {STOPPED:.1%} of its epochs, when the "
        "rate is still high. Agreement: share of examples where student and teacher name the same class; KL in nats at T = 1."
    )
    return grid(f"{title} (n = {len(base)} seeds)", rows.items(), columns, note)


def _published_grid(gains: Mapping[str, Estimate]) -> Grid:
    """Return published gains beside those measured."""
    rows = []
    for name, row in PUBLISHED.items():
        standard, own, known = row["standard"], row["soteacher"], row["known"]
        cells = [f"{a:.2f} (teacher {b})" if b else f"{a:.2f}" for a, b in (standard, own)]
        measured = gains.get(name)
        n = str(measured.n) if measured else "-"
        rows.append((name, *cells, f"{own[0] - standard[0]:+.2f}", percent(measured, signed=True), n, known))
    if "small" in gains:
        rows.append(
            ("this run's pair", "-", "-", "-", percent(gains["small"], signed=True), str(gains["small"].n), "-")
        )
    columns = ("pair", "standard %", "SoTeacher %", "gain", "gain measured", "n", "how the published numbers are known")
    note = "Student accuracy on CIFAR-100 with plain KD in the paper; ± is half a 95% t interval over seeds."
    return Grid("Published against measured", columns, tuple(rows), note)


def _table_chart(data: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    """Return student accuracy by teacher, one dot per seed."""
    rows = [
        {"pair": pair, "teacher": arm, "student accuracy": 100 * value}
        for pair, arms in data.items()
        for arm, row in arms.items()
        for value in row["student"]
    ]
    x = channel("student accuracy:Q", scale={"zero": False})
    dots = points(x, channel("teacher:N", sort=None), tooltip=list(rows[0]))
    return spec(chart(rows, dots, size=(300, None), facet=channel("pair:N"), apart=["x"]))
