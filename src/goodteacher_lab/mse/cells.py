"""Students of cross-entropy teachers against those of Brier teachers: cells of a table, published beside measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from goodteacher.api import finished_teachers
from goodteacher.base.stats import Estimate, holm, mean_interval, paired_difference, t_test_p
from goodteacher.data.problem import Problem
from goodteacher.data.sources import load
from goodteacher.diagnose.results import Results
from goodteacher.report.charts import Channel, channel, chart, intervals, points, spec, zero
from goodteacher.report.tables import Grid, grid, number, percent
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import StudySpec
from goodteacher.study.store import Store
from goodteacher_lab.benchmark import Pair
from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import Job
from goodteacher_lab.mse.printed import Printed
from goodteacher_lab.mse.study import OBJECTIVES
from goodteacher_lab.reading import BySeed, reduced, spread

SHARED = claim_of("mse/every table")
ALONE = "A student alone has no teacher; it stands in the first column."
# Students that have come less than this share of the way from chance to certainty have hardly learnt.
NEAR = 0.1


@dataclass(frozen=True)
class Cell:
    """One method in one setting: published beside measured.

    Attributes:
        setting: pair of networks, or task.
        method: its words.
        teacher: what teaches; cells that share it share its runs.
        published: under cross-entropy and MSE, in percent.
        starred: whether the first is the authors' own run.
        measured: objective of the teacher to seed to accuracy in [0, 1].
    """

    setting: str
    method: str
    teacher: str
    published: Printed = (None, None)
    starred: bool = False
    measured: Mapping[str | None, BySeed] = field(default_factory=dict)

    @property
    def differences(self) -> dict[int, float]:
        """Accuracy under the Brier teacher less that under the cross-entropy teacher, by seed."""
        plain, brier = (self.measured.get(objective, {}) for objective in OBJECTIVES)
        return {seed: brier[seed] - plain[seed] for seed in sorted(set(plain) & set(brier))}

    @property
    def gain(self) -> Estimate | None:
        """The paired difference with its interval, or None where nothing is finished."""
        found = list(self.differences.values())
        return paired_difference(found, [0.0] * len(found)) if found else None

    @property
    def count(self) -> str:
        """How many pairs there are, and of how many seeds where some lack their other half."""
        n, pairs = max((len(found) for found in self.measured.values()), default=0), len(self.differences)
        return f"{pairs} of {n}" if 0 < pairs < n else str(n)

    def mean(self, objective: str) -> str:
        """Write the accuracy under one teacher."""
        return percent(spread(found)) if (found := self.measured.get(objective, {})) else "-"

    @property
    def known(self) -> bool:
        """Whether anything is printed or measured."""
        return self.published != (None, None) or any(self.measured.values())

    @property
    def published_gain(self) -> float | None:
        """The printed difference in points."""
        plain, mse = self.published
        return None if plain is None or mse is None else mse - plain


def pictures(job: Job, examples: int | None, **options: Any) -> tuple[dict[str, Any], Problem]:
    """Return a job's pictures as a problem, in a study's words and loaded.

    Args:
        job: whose ``images`` count.
        examples: training pictures at most, shared out evenly over classes; None for all.
        options: of the source, and label tools such as ``pair``.
    """
    words = {**job.pictures, **options}
    problem = load(**words)
    return (words, problem) if examples is None else reduced(words, problem, max(1, examples // problem.classes))


def run_part(job: Job, whole: StudySpec, part: StudySpec, problem: Problem) -> tuple[Results, int]:
    """Run a part of a study; return the results of all of it that is finished so far, and how many of the part's runs are not.

    The plan of the whole is kept under its own name, so that parts run at different times, or on machines whose stores are
    merged, add up.
    """
    store = Store(job.out)
    whole, given = finished_teachers(whole, store)
    plan = plan_study(whole.of_file("reproduce"), problem.facts, given)
    store.add_problem(problem, plan.facts)
    folder = store.add_study(plan)
    own = part if part == whole else part.model_copy(update={"name": f"{part.name}-part"})
    unfinished = job.run(own, problem, whole=False).missing
    return Results(folder), len(unfinished)


def kept(job: Job, whole: StudySpec, same: Sequence[str] = ("recipe", "problem")) -> Results | None:
    """Return the results of a study of this name that earlier orders ran, if those parts of it were the same, or None."""
    folder = Store(job.out).study_folder(whole.name)
    if not (folder / "plan.json").exists():
        return None
    results = Results(folder)
    own, other = (study.model_dump(mode="json") for study in (whole, results.study))
    return results if all(other[key] == own[key] for key in same) else None


def within(logits: Tensor, labels: Tensor, first: int) -> float:
    """Return the share of examples whose label is among the ``first`` likeliest classes."""
    top = logits.topk(min(first, logits.shape[1]), dim=1).indices
    return float((top == labels[:, None]).any(dim=1).double().mean())


def of_students(results: Results | None, student: str, first: int = 1) -> dict[str | None, dict[int, float]]:
    """Return a student arm's test accuracy: teacher arm (None for none) to seed to value."""
    found: dict[str | None, dict[int, float]] = {}
    for cell in results.plan.cells if results else ():
        assert results is not None
        if cell.student == student and cell.run not in results.missing:
            logits = results.run(cell.run).outputs("test")
            value = within(logits, results.targets["test.labels"], first)
            found.setdefault(cell.teacher, {})[cell.seed] = value
    return found


def of_teachers(results: Results | None, first: int = 1) -> dict[str | None, dict[int, float]]:
    """Return the teacher arms' own test accuracy: arm to seed to value."""
    found: dict[str | None, dict[int, float]] = {}
    for (arm, seed), answers in results.answers.items() if results else ():
        assert results is not None
        found.setdefault(arm, {})[seed] = within(answers.plain("test"), results.targets["test.labels"], first)
    return found


def joined(found: Iterable[Mapping[str | None, BySeed]]) -> dict[str | None, BySeed]:
    """Return what several studies of one seed each found, by objective; arms are ``OBJECTIVE`` or ``OBJECTIVE-LABELS``."""
    whole: dict[str | None, dict[int, float]] = {}
    for arms in found:
        for arm, values in arms.items():
            whole.setdefault(str(arm).partition("-")[0], {}).update(values)
    return dict(whole)


def alone(results: Results | None, first: int = 1) -> dict[str | None, BySeed]:
    """Return the accuracy of students without a teacher, by seed, in the place of the first objective."""
    return {OBJECTIVES[0]: of_students(results, "alone", first).get(None, {})}


def network_cells(
    pairs: Mapping[Pair, Results | None],
    teachers: Mapping[str, Printed],
    students: Mapping[str, float],
    first: int = 1,
) -> list[Cell]:
    """Return a cell for each teacher's own accuracy and each student's alone, every network once.

    Args:
        pairs: of networks, to what is finished of them.
        teachers: printed accuracies.
        students: printed accuracies.
        first: as in `within`.
    """
    cells: dict[tuple[str, str], Cell] = {}
    for (teacher, student), results in pairs.items():
        own = Cell(
            teacher, "teacher", teacher, teachers.get(teacher, (None, None)), measured=of_teachers(results, first)
        )
        single = Cell(student, "student alone", student, (students.get(student), None), measured=alone(results, first))
        for cell in (own, single):
            if (cell.setting, cell.method) not in cells or any(cell.measured.values()):
                cells[cell.setting, cell.method] = cell
    return [cell for cell in cells.values() if cell.known]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def signed(value: float | None) -> str:
    """Write a printed difference, or a dash."""
    return "-" if value is None else f"{value:+.2f}"


def cell_grid(title: str, cells: Sequence[Cell], note: str = "") -> Grid:
    """Return cells as a table: published, measured, their paired difference."""
    corrected = holm([t_test_p(list(cell.differences.values())) for cell in cells])
    columns: dict[str, Callable[[tuple[Cell, float]], str]] = {
        "setting": lambda row: row[0].setting,
        "method": lambda row: row[0].method,
        "published: CE": lambda row: number(_or_nan(row[0].published[0]), 2) + "*" * row[0].starred,
        "MSE": lambda row: number(_or_nan(row[0].published[1]), 2),
        "gain": lambda row: signed(row[0].published_gain),
        "measured: CE": lambda row: row[0].mean(OBJECTIVES[0]),
        "Brier": lambda row: row[0].mean(OBJECTIVES[1]),
        "Brier - CE": lambda row: percent(row[0].gain, signed=True),
        "p exact / Holm": lambda row: f"{number(gain.p)} / {number(row[1])}" if (gain := row[0].gain) else "-",
        "n": lambda row: row[0].count,
    }
    told = (
        "Test accuracy in percent by the teacher's loss; ± is half a 95% t interval over n seeds, of the difference paired by "
        "seed. p exact: sign flips; Holm: paired t test corrected for all rows of this table. n: pairs, of seeds finished. "
        "-: not finished, or not printed."
    )
    return grid(title, list(zip(cells, corrected, strict=True)), columns, f"{told} {note}".strip())


def overall(cells: Sequence[Cell]) -> Estimate | None:
    """Return the mean difference over teachers drawn: cells that share a teacher's network and seed count as one value."""
    draws: dict[tuple[str, int], list[float]] = {}
    for cell in cells:
        for seed, difference in cell.differences.items():
            draws.setdefault((cell.teacher, seed), []).append(difference)
    return mean_interval([float(np.mean(found)) for found in draws.values()]) if draws else None


def verdict(cells: Sequence[Cell], unfinished: int = 0, classes: int = 100) -> str:
    """Say in how many cells the Brier teacher's students are ahead, measured and printed; and if they are near chance."""
    gains = [cell.gain for cell in cells if cell.gain is not None]
    corrected = holm([t_test_p(list(cell.differences.values())) for cell in cells])
    sure = [cell.gain.mean > 0 for cell, p in zip(cells, corrected, strict=True) if p < 0.05 and cell.gain is not None]
    printed = [cell.published_gain for cell in cells if cell.published_gain is not None]
    said = "Nothing is finished yet."
    mean = overall(cells)
    if mean is not None:
        said = (
            f"Measured: students of Brier teachers are ahead in {sum(e.mean > 0 for e in gains)} of {len(gains)} cells "
            f"({sum(sure)} surely after Holm's correction, {len(sure) - sum(sure)} surely behind); mean difference "
            f"{percent(mean, signed=True)} points (n = {mean.n} draws of teachers of either kind)."
        )
    reached = [spread(found).mean for cell in cells for found in cell.measured.values() if found]
    if reached and float(np.mean(reached)) < NEAR * (1 - 1 / classes) + 1 / classes:
        said += (
            f" At {100 * np.mean(reached):.1f}% students are close to chance: this size is too small to judge teachers."
        )
    if printed:
        said += (
            f" Printed for these settings: a gain in {sum(g > 0 for g in printed)} of {len(printed)} cells, mean "
            f"{np.mean(printed):+.2f} points."
        )
    return said + (f" {unfinished} of the runs ordered are not finished." if unfinished else "")


def gain_chart(cells: Sequence[Cell]) -> str:
    """Return the differences, measured with their intervals and printed, by method."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        gain, printed = cell.gain, cell.published_gain
        values = [("measured", 100 * gain.mean, 100 * gain.low, 100 * gain.high)] if gain else []
        values += [("published", printed, np.nan, np.nan)] if printed is not None else []
        for source, value, low, high in values:
            row = {"setting": cell.setting, "method": cell.method, "source": source}
            rows.append({**row, "gain": value, "low": low, "high": high})
    frame = pd.DataFrame(rows, columns=["setting", "method", "source", "gain", "low", "high"])
    y, color = channel("method:N", sort=None), channel("source:N", None)
    x = channel("gain:Q", "Brier - cross-entropy, points")
    layers = (zero(), intervals(y=y, color=color), points(x, y, color=color, tooltip=list(frame.columns)))
    return spec(chart(frame, *layers, size=(None, None), facet=Channel("setting:N"), columns=3))


def plain_cells(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return cells as plain data: printed percent, measured shares by seed."""
    return [
        {
            **{"setting": c.setting, "method": c.method, "published": list(c.published), "starred": c.starred},
            "measured": {str(o): {str(s): v for s, v in found.items()} for o, found in c.measured.items()},
        }
        for c in cells
    ]
