"""SoTeacher again: students against the epoch of their teacher, the table of pairs, and what each of its two terms does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from goodteacher.base.stats import Estimate
from goodteacher.diagnose.results import Results
from goodteacher.report.charts import channel, chart, free, lines, points, spec
from goodteacher.report.tables import Grid, percent
from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab import reading
from goodteacher_lab.benchmark import BENCHMARK, LIGHT, pair_of
from goodteacher_lab.job import Budget, Finding, Job, Reproduction
from goodteacher_lab.published import published

PUBLISHED: dict[str, dict[str, Any]] = published("dong2024")["table1"]
PAIRS: dict[str, tuple[Any, Any]] = {name: pair_of(name) for name in PUBLISHED}
# The distilling side of the released script: half the label, half the teacher at T = 4.
TAUGHT: dict[str, Any] = {"kd": {"alpha": 0.5, "gamma": 0.5, "temperature": 4.0}}
# Reviewers of the paper: a standard teacher of about epoch 150 of 240 teaches as well in its Figure 1.
STOPPED = 150 / 240
ABLATION = {
    "standard": "cross_entropy",
    "lipschitz": "cross_entropy + lipschitz",
    "consistency": "cross_entropy + consistency",
    "soteacher": "soteacher",
}


@dataclass(frozen=True)
class Size:
    """What a budget buys.

    Attributes:
        teacher: model.
        student: model.
        epochs: of both.
        points: checkpoints of a teacher that teach, at most.
        seeds: of both, paired.
        per_class: training pictures a class, at most; None for all.
    """

    teacher: Any
    student: Any
    epochs: int
    points: int
    seeds: int
    per_class: int | None = None


PICTURES: dict[Budget, Size] = {
    "minutes": Size("resnet14", "resnet8", 6, 3, 2, 100),
    "hours": Size("resnet20", "resnet8", 60, 12, 3, 1000),
    "paper": Size("wrn_40_2", "wrn_40_1", 240, 24, 3),
}
DIGITS = Size({"mlp": {"widths": [128, 128]}}, {"mlp": {"widths": [32]}}, 48, 6, 4)


def size_of(job: Job) -> Size:
    """Return the size of a job, with its own epochs and seeds where it gives them.

    Raises:
        ConfigError: if a budget above ``minutes`` has no pictures.
    """
    if job.images is None and job.budget != "minutes":
        job.need_pictures()
    size = DIGITS if job.images is None else PICTURES[job.budget]
    return replace(size, epochs=job.epochs or size.epochs, seeds=job.seeds or size.seeds)


def recipe_of(size: Size) -> dict[str, Any]:
    """Return the benchmark's recipe at a size, with one look at validation."""
    return {**BENCHMARK, "epochs": size.epochs, "evaluate_every": size.epochs}


def figure_study(size: Size, words: Mapping[str, Any]) -> StudySpec:
    """Return the study of the figure: two teachers, each with checkpoints that teach."""
    every = max(1, size.epochs // size.points)
    arms = {
        name: {"model": size.teacher, "objective": ABLATION[name], "checkpoints": every}
        for name in ("standard", "soteacher")
    }
    return parse_study({
        "name": "soteacher-figure1", "problem": dict(words), "recipe": recipe_of(size),
        "teachers": arms, "students": {"taught": {"model": size.student, "method": TAUGHT}}, "seeds": size.seeds,
    })  # fmt: skip


def epochs_of(study: StudySpec, kind: str) -> dict[int, str]:
    """Return epoch to teacher arm, the last one included."""
    found = {
        int(name.removeprefix(f"{kind}_epoch")): name for name in study.known_arms if name.startswith(f"{kind}_epoch")
    }
    return {**found, study.recipe.epochs: kind}


def figure1(job: Job) -> Finding:
    """Distil a student from teachers of every age, standard and SoTeacher."""
    size = size_of(job)
    words, problem = reading.problem_of(job, size.per_class)
    study = figure_study(size, words)
    results = job.run(study, problem)
    arms = {kind: epochs_of(study, kind) for kind in ("standard", "soteacher")}
    points: list[dict[str, Any]] = []
    for kind, by_epoch in arms.items():
        for epoch, arm in by_epoch.items():
            of, taught = reading.held_out(results, arm)["accuracy"], reading.values(results, "taught", arm)
            points.append({"teacher": kind, "epoch": epoch, "of": of, "taught": taught})
    rows = []
    for p in points:
        both = (percent(reading.spread(p[key])) for key in ("of", "taught"))
        rows.append((str(p["teacher"]), str(p["epoch"]), *both, str(len(p["taught"]))))
    title = f"Teacher and student by the teacher's epoch (n = {size.seeds} seeds)"
    note = "Test accuracy, ± half a 95% t interval over seeds; seed k of a student learns from seed k of its teacher."
    grid = Grid(title, ("teacher", "epoch", "teacher accuracy %", "student accuracy %", "n"), tuple(rows), note)
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
    return Finding(
        "soteacher/figure1",
        "A standard teacher trained to convergence makes its student worse after some epoch; a SoTeacher makes a better student "
        "though it is less accurate itself.",
        verdict,
        (
            "The pair of networks of Figure 1 is not known here; WRN-40-2 -> WRN-40-1 is taken at the budget 'paper'.",
            f"This run: {reading.model_name(size.teacher)} -> {reading.model_name(size.student)}, {size.epochs} epochs of the "
            f"benchmark's schedule, a checkpoint every {max(1, size.epochs // size.points)}; 240 and 10 in the paper.",
            *reading.problem_departures(job, problem, lipschitz=True),
        ),
        (grid, reading.difference_grid("SoTeacher against standard teachers", found)),
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


def table_study(name: str, size: Size, words: Mapping[str, Any]) -> StudySpec:
    """Return the study of one pair: the standard teacher, the same stopped early, and SoTeacher with its terms apart."""

    def light(model: Any) -> dict[str, Any]:
        return {"recipe": {"lr": BENCHMARK["lr"] / 5}} if model in LIGHT else {}

    arms: dict[str, Any] = {
        arm: {"model": size.teacher, "objective": objective, **light(str(size.teacher))}
        for arm, objective in ABLATION.items()
    }
    arms["stopped"] = {**arms["standard"], "early_stop": max(1, round(STOPPED * size.epochs))}
    student = {"model": size.student, **light(str(size.student))}
    return parse_study({
        "name": f"soteacher-table-{name}", "problem": dict(words), "recipe": recipe_of(size),
        "teachers": arms, "seeds": size.seeds,
        "students": {"alone": {**student, "method": "none"}, "taught": {**student, "method": TAUGHT}},
    })  # fmt: skip


def table(job: Job) -> Finding:
    """Compare SoTeacher with the standard teacher on each pair, with the ablation of its terms."""
    size = size_of(job)
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
    return Finding(
        "soteacher/table",
        "SoTeacher's students are more accurate than those of a standard teacher, and both of its terms contribute.",
        " ".join(said),
        (
            f"{size.epochs} epochs of the benchmark's schedule and {size.seeds} seeds; 240 epochs in the paper.",
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
    cells = []
    for arm, row in rows.items():
        plain = [reading.decimal(row[q], digits) for q, digits in (("nll", 4), ("ece", 3), ("brier", 4))]
        cells.append((
            arm, percent(reading.spread(row["student"])), percent(reading.spread(row["teacher"])), *plain,
            percent(reading.spread(row["agreement"])), reading.decimal(row["divergence"], 4), str(len(row["student"])),
        ))  # fmt: skip
    columns = (
        "teacher", "student accuracy %", "teacher accuracy %", "teacher NLL", "teacher ECE", "teacher Brier",
        "agreement %", "KL to teacher", "n",
    )  # fmt: skip
    note = (
        f"On test, ± half a 95% t interval over seeds. stopped: the standard teacher after {STOPPED:.1%} of its epochs, when the "
        "rate is still high. Agreement: share of examples where student and teacher name the same class; KL in nats at T = 1."
    )
    return Grid(f"{title} (n = {len(base)} seeds)", columns, tuple(cells), note)


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
    """Return student accuracy by teacher, one dot a seed."""
    rows = [
        {"pair": pair, "teacher": arm, "student accuracy": 100 * value}
        for pair, arms in data.items()
        for arm, row in arms.items()
        for value in row["student"]
    ]
    x = channel("student accuracy:Q", scale={"zero": False})
    dots = points(x, channel("teacher:N", sort=None), tooltip=list(rows[0]))
    return spec(chart(rows, dots, size=(300, None), facet=channel("pair:N"), apart=["x"]))


ROWS: dict[str, Reproduction] = {
    "soteacher/figure1": Reproduction(
        figure1,
        "Dong, Liu & Shang (2024), Figure 1: students by the epoch of their teacher",
        {"minutes": "2 minutes, up to 30 with --images", "hours": "10 hours", "paper": "weeks; a GPU"},
    ),
    "soteacher/table": Reproduction(
        table,
        "Dong, Liu & Shang (2024), Tables 1 and 3: pairs, and the two terms apart",
        {"minutes": "2 minutes, up to 30 with --images", "hours": "4 hours", "paper": "weeks; a GPU"},
        {"pair": tuple(PAIRS)},
    ),
}
