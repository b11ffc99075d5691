"""Early-stopped and loss-switching students: distil and then learn from labels, or the other way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from goodteacher.base.stats import holm, mean_interval, paired_difference, t_test_p
from goodteacher.report.charts import channel, chart, free, lines, spec
from goodteacher.report.tables import Grid, number, percent
from goodteacher.study.run import Run
from goodteacher_lab.claims import claim_of
from goodteacher_lab.deviations import runs
from goodteacher_lab.deviations.settings import departures_of
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.sizes import Size

SHARES = (0.25, 0.5, 0.75)
# Loss before and after the switch.
KINDS = {
    "labels_labels": "labels throughout",
    "distilled_distilled": "distilled throughout",
    "distilled_labels": "distilled, then labels",
    "labels_distilled": "labels, then distilled",
    "stopped": "distilled, stopped",
}


def switch_epochs(epochs: int) -> tuple[int, ...]:
    """Return the epochs after which the loss is switched: a quarter, half and three quarters of training.

    Example:
        >>> switch_epochs(40)
        (10, 20, 30)
    """
    return tuple(sorted({min(max(1, round(share * epochs)), epochs - 1) for share in SHARES} - {0}))


def arms_of(size: Size, model: Any, teacher: str) -> dict[str, Any]:
    """Return all arms of one seed as teacher arms, which alone can both start from another's weights and be taught.

    Until the switch the learning rate is constant, and a checkpoint of one training on each loss starts both second halves;
    in these the rate falls to zero. Labels throughout and distilled throughout are made of two halves too, so that the four
    arms of a switch differ in nothing but their losses.

    Args:
        size: its epochs count.
        model: of the student.
        teacher: id of the run that teaches.
    """
    own = {"model": model}
    losses: dict[str, dict[str, Any]] = {
        "labels": own,
        "distilled": {**own, "taught_by": "teacher", "method": runs.TAUGHT},
    }
    arms: dict[str, Any] = {"teacher": {"run": teacher}}
    for epoch in switch_epochs(size.epochs):
        left = size.epochs - epoch
        rest = {"recipe": {"epochs": left, "evaluate_every": left, "schedule": "cosine"}}
        for before, loss in losses.items():
            first = f"stopped-{epoch}" if before == "distilled" else f"half-{epoch}"
            arms[first] = {**loss, "keep": f"epoch={epoch}"}
            for after, other in losses.items():
                arms[f"{before}_{after}-{epoch}"] = {**other, **rest, "start": first}
    return arms


def switching(job: Job) -> Finding:
    """Stop distillation early, or switch its loss on the way, in self-distillation of the large model."""
    grids, said, departures, data, points = [], [], [], {}, []
    for name in runs.problems_of(job):
        size = runs.sized(job, images=name == "images")
        size = replace(size, epochs=max(2, size.epochs))  # one before the switch, one after
        words, problem = runs.loaded(job, name, size)
        recipe = {**runs.recipe_of(size), "schedule": "constant"}
        job.say(f"{name}: switches after epochs {switch_epochs(size.epochs)}, {size.seeds} seeds")
        title = f"switching-{name}"
        teachers = runs.train_teachers(job, title, words, problem, size, {"large": size.teacher})["large"]
        by_seed = [
            runs.train_students(job, title, words, problem, recipe, k, arms_of(size, size.teacher, teacher.id), {})
            for k, teacher in enumerate(teachers)
        ]
        rows = measure(teachers, by_seed, runs.Compared(problem, job))
        grids.append(_grid(name, rows))
        said.append(_words(name, rows))
        data[name] = rows
        departures += departures_of(problem, size)
        points += [{"problem": name, "arm": arm, **row} for arm, row in rows.items()]
    claim = claim_of("deviations/switching")
    return Finding(
        "deviations/switching",
        claim.text,
        " ".join(said),
        (*runs.EVERY, *claim.departures, *dict.fromkeys(departures)),
        tuple(grids),
        {"students by the epoch of the switch": _chart(points)},
        data,
    )


def measure(
    teachers: Sequence[Run], by_seed: Sequence[Mapping[str, Run]], answers: runs.Compared
) -> dict[str, dict[str, list[float]]]:
    """Return test accuracy, the shares of v < u on train and test, and agreement on train, of every arm, one per seed."""
    rows: dict[str, dict[str, list[float]]] = {"teacher": {"accuracy": [answers.accuracy(t) for t in teachers]}}
    for arm in by_seed[0]:
        if arm == "teacher" or arm.startswith("half-"):
            continue
        own = [arms[arm] for arms in by_seed]
        row = {"accuracy": [answers.accuracy(run) for run in own]}
        for split in ("test", "train"):
            parts = [answers.part(t, s, split) for t, s in zip(teachers, own, strict=True)]
            seen = runs.measured(parts)
            assert seen is not None, "a split of a problem holds enough examples"
            row[f"underfit {split}"] = seen.of("underfit")
            same = [(p.teacher.argmax(dim=1) == p.student.argmax(dim=1)).double().mean() for p in parts]
            row[f"agreement {split}"] = [float(x) for x in same]
        rows[arm] = row
    return rows


def _epochs(rows: Mapping[str, Mapping[str, list[float]]]) -> list[int]:
    return sorted({int(arm.rpartition("-")[2]) for arm in rows if arm != "teacher"})


def _grid(name: str, rows: Mapping[str, Mapping[str, list[float]]]) -> Grid:
    cells: list[tuple[str, ...]] = [("teacher", "-", percent(mean_interval(rows["teacher"]["accuracy"])), *("-",) * 6)]
    compared = [arm for arm in rows if arm != "teacher" and not arm.startswith("distilled_distilled")]
    differences = {
        arm: np.subtract(
            rows[arm]["accuracy"], rows[f"distilled_distilled-{arm.rpartition('-')[2]}"]["accuracy"]
        ).tolist()
        for arm in compared
    }
    p = dict(zip(compared, holm([t_test_p(d) for d in differences.values()]), strict=True))
    for epoch in _epochs(rows):
        for kind, words in KINDS.items():
            arm, row = f"{kind}-{epoch}", rows[f"{kind}-{epoch}"]
            labels = paired_difference(row["accuracy"], rows[f"labels_labels-{epoch}"]["accuracy"])
            gains = (
                "-" if arm not in p else percent(mean_interval(differences[arm]), signed=True),
                number(p[arm]) if arm in p else "-",
                "-" if kind == "labels_labels" else percent(labels, signed=True),
            )
            shares = (runs.written(mean_interval(row[f"underfit {split}"])) for split in ("test", "train"))
            agreement = percent(mean_interval(row["agreement train"]))
            cells.append((words, str(epoch), percent(mean_interval(row["accuracy"])), *gains, *shares, agreement))
    columns = (
        "student", "after epoch", "test %", "minus distilled", "p Holm", "minus labels", "v < u, lowest third, test",
        "the same, train", "agreement %, train",
    )  # fmt: skip
    note = (
        "Points of test accuracy, ± half a 95% t interval over seeds, paired by seed, against the arm of the same halves that is "
        "distilled, or learns from labels, throughout; Holm over this table's comparisons with the distilled one. v and u: what "
        "student and teacher give the teacher's first class."
    )
    n = len(rows["teacher"]["accuracy"])
    return Grid(f"Stopped and switched students, {name} (n = {n} seeds)", columns, tuple(cells), note)


def _words(name: str, rows: Mapping[str, Mapping[str, list[float]]]) -> str:
    """Return what each switch changes, averaged over the epochs at which it is made."""

    def mean(kind: str) -> list[float]:
        values: list[float] = np.mean([rows[f"{kind}-{epoch}"]["accuracy"] for epoch in _epochs(rows)], axis=0).tolist()
        return values

    def gain(kind: str, other: str) -> str:
        return percent(paired_difference(mean(kind), mean(other)), signed=True)

    return (
        f"{name}, mean over switching epochs, n = {len(rows['teacher']['accuracy'])}: distilled minus labels throughout "
        f"{gain('distilled_distilled', 'labels_labels')} points; against distilled throughout, then labels "
        f"{gain('distilled_labels', 'distilled_distilled')}, stopped {gain('stopped', 'distilled_distilled')}, labels then "
        f"distilled {gain('labels_distilled', 'distilled_distilled')}."
    )


def _chart(arms: Sequence[Mapping[str, Any]]) -> str:
    """Return accuracy by the epoch of the switch."""
    rows = []
    for point in arms:
        kind, _, epoch = str(point["arm"]).rpartition("-")
        if kind:
            mean = 100 * float(np.mean(point["accuracy"]))
            rows.append({"problem": point["problem"], "student": KINDS[kind], "epoch": int(epoch), "accuracy": mean})
    x, y = channel("epoch:Q", "epoch of the switch or stop"), free("accuracy", "test accuracy %")
    drawn = lines(x, y, color=channel("student:N", None), tooltip=["student", "epoch", "accuracy"])
    return spec(chart(rows, drawn, size=(300, 220), facet=channel("problem:N"), apart=["y"]))
