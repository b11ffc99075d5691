"""A pair of models on a problem, trained and measured: what every reproduction of student-teacher deviations shows of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from goodteacher.base.errors import ConfigError
from goodteacher.base.stats import Estimate, mean_interval, paired_difference
from goodteacher.data.problem import Problem
from goodteacher.diagnose.explain import Part
from goodteacher.report.charts import spec
from goodteacher.report.explain_figures import scatter_chart
from goodteacher.report.tables import Grid, each, grid, percent
from goodteacher.study.run import Run
from goodteacher_lab.deviations.runs import (
    TAUGHT,
    Compared,
    Measured,
    measured,
    recipe_of,
    train_students,
    train_teachers,
    written,
)
from goodteacher_lab.job import Job
from goodteacher_lab.reading import model_name
from goodteacher_lab.sizes import Size

# Teacher's and student's model.
PAIRS = {
    "self-small": ("small", "small"),
    "self-large": ("large", "large"),
    "large-to-small": ("large", "small"),
    "large-to-other": ("large", "other"),
}
SPLITS = ("train", "test")
# Points per panel of the figure.
DRAWN = 300


@dataclass(frozen=True)
class Condition:
    """A pair of models on a problem: runs by role, one per seed, and what their confidences show.

    Attributes:
        name: for people.
        runs: ``teacher``, ``student`` and ``alone``, the student's model without a teacher, one run per seed.
        accuracy: of each role on test, one per seed.
        parts: split to answers of teacher and student, one per seed.
        seen: (split, kind) to deviations; kinds are ``taught``, ``alone`` and ``exchanged``, the taught pair's other way round.
    """

    name: str
    runs: Mapping[str, Sequence[Run]]
    accuracy: Mapping[str, Sequence[float]]
    parts: Mapping[str, Sequence[Part]] = field(repr=False)
    seen: Mapping[tuple[str, str], Measured]

    def difference(self, a: str, b: str) -> Estimate:
        """Return the paired difference of two roles' test accuracies."""
        return paired_difference(self.accuracy[a], self.accuracy[b])

    def beyond_chance(self, split: str) -> Estimate:
        """Return the share of v < u of the taught student minus that of the same model that never met this teacher."""
        return paired_difference(*(self.seen[split, kind].of("underfit") for kind in ("taught", "alone")))


def pairs_of(job: Job, size: Size) -> tuple[tuple[str, ...], str]:
    """Return the pairs that a job chooses and a size has models for, and what must be said of the other family.

    Raises:
        ConfigError: if none is left.
    """
    chosen = tuple(job.choices.get("pair", PAIRS))
    fit = tuple(pair for pair in chosen if size.other is not None or PAIRS[pair][1] != "other")
    if not fit:
        raise ConfigError("pair", rule="needs --images: vectors have MLPs alone", received=", ".join(chosen))
    if size.other is not None:
        return fit, f"The other family's student is {model_name(size.other)}."
    return fit, "Vectors have MLPs alone: the pair of another family, large-to-other, is left out."


def trained(
    job: Job, title: str, words: Mapping[str, Any], problem: Problem, size: Size, pairs: Sequence[str]
) -> list[Condition]:
    """Train the pairs on a problem, teachers and students with seeds of their own, and measure them."""
    models = {"small": size.student, "large": size.teacher, "other": size.other}
    needed = sorted({PAIRS[pair][0] for pair in pairs})
    teachers = train_teachers(job, title, words, problem, size, {name: models[name] for name in needed})
    students: dict[str, Any] = {
        pair: {"model": models[PAIRS[pair][1]], "method": TAUGHT, "taught_by": [PAIRS[pair][0]]} for pair in pairs
    }
    for name in sorted({PAIRS[pair][1] for pair in pairs}):
        students[f"alone-{name}"] = {"model": models[name], "method": "none"}
    by_seed = []
    for seed in range(size.seeds):
        given = {name: {"run": teachers[name][seed].id} for name in needed}
        by_seed.append(train_students(job, title, words, problem, recipe_of(size), seed, given, students))
    answers = Compared(problem, job)
    settings = []
    for pair in pairs:
        of, to = PAIRS[pair]
        runs = {
            "teacher": teachers[of],
            "student": [arms[pair] for arms in by_seed],
            "alone": [arms[f"alone-{to}"] for arms in by_seed],
        }
        settings.append(_setting(f"{title.removeprefix('deviations-')}, {pair}", runs, answers))
    return settings


def _setting(name: str, runs: Mapping[str, Sequence[Run]], answers: Compared) -> Condition:
    parts, seen = {}, {}
    for split in SPLITS:
        of = {
            role: [answers.part(t, s, split) for t, s in zip(runs["teacher"], runs[role], strict=True)]
            for role in ("student", "alone")
        }
        parts[split] = of["student"]
        for kind, found in (
            ("taught", measured(of["student"])),
            ("alone", measured(of["alone"])),
            ("exchanged", measured(of["student"], exchanged=True)),
        ):
            assert found is not None, "a split of a problem holds enough examples"
            seen[split, kind] = found
    accuracy = {role: [answers.accuracy(run) for run in those] for role, those in runs.items()}
    return Condition(name, runs, accuracy, parts, seen)


def departures_of(problem: Problem, size: Size) -> list[str]:
    """Return what must be said of a problem and a size in place of the paper's."""
    models = f"{model_name(size.teacher)} and {model_name(size.student)}, {size.epochs} epochs, {size.seeds} seeds"
    said = [f"{problem.describe()}: {models}; pure distillation at T = 4."]
    return said + [f"{problem.name}: {note}." for note in problem.notes]


def deviation_grid(settings: Sequence[Condition], split: str) -> Grid:
    """Return slopes and shares of every setting on a split."""
    kinds = {"v < u, lowest third": "taught", "without a teacher": "alone", "roles exchanged": "exchanged"}
    lines = {"slope": "slope", "below median": "below", "above median": "above", "orthogonal": "orthogonal"}

    def cell(s: Condition, quantity: str, kind: str = "taught") -> str:
        return written(s.seen[split, kind].estimate(quantity))

    columns: dict[str, Callable[[Condition], str]] = {
        "setting": lambda s: s.name,
        **each(lines, cell),
        **each(kinds, lambda s, kind: cell(s, "underfit", kind)),
        "taught - without": lambda s: written(s.beyond_chance(split)),
        "v > u, highest third": lambda s: cell(s, "overfit"),
        "n": lambda s: str(len(s.seen[split, "taught"].seen)),
    }
    note = (
        "Log odds of the teacher's first class, the student's on the teacher's; [95% t interval over n seeds; over examples for "
        "one seed]. taught - without: paired by seed."
    )
    return grid(f"Deviations on {split}", settings, columns, note)


def accuracy_grid(settings: Sequence[Condition], source: str, published: Sequence[float]) -> Grid:
    """Return test accuracies of teacher, student and the student alone, beside the published ones."""
    gain = f"{published[1] - published[0]:+.2f}"
    rows = [(f"published: {source}", *(f"{x:.2f}" for x in published), "-", gain, "-", "-")]
    for s in settings:
        cells = (percent(mean_interval(s.accuracy[role])) for role in ("teacher", "student", "alone"))
        gains = (percent(s.difference("student", other), signed=True) for other in ("teacher", "alone"))
        rows.append((s.name, *cells, *gains, str(len(s.accuracy["teacher"]))))
    columns = ("setting", "teacher %", "student %", "alone %", "student - teacher", "student - alone", "n")
    note = "± half a 95% t interval over seeds; differences are in points and paired by seed."
    return Grid("Test accuracy", columns, tuple(rows), note)


def plain_setting(s: Condition) -> dict[str, Any]:
    """Return a setting as plain data."""
    return {
        "accuracy": {role: list(values) for role, values in s.accuracy.items()},
        "deviations": {f"{split}, {kind}": m.plain for (split, kind), m in s.seen.items()},
        "runs": {role: [run.id for run in those] for role, those in s.runs.items()},
    }


def confidence_chart(s: Condition) -> str:
    """Return the first seed's confidences, one panel per split."""
    panels = [
        Part(f"{s.name}, {split}", p.teacher, p.student, p.labels) for split in SPLITS for p in s.parts[split][:1]
    ]
    return spec(scatter_chart(panels, most=DRAWN))
