"""What the reproductions of student-teacher deviations share: sizes, problems, pairs of independent networks, measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from goodteacher.base.stats import Estimate, mean_interval
from goodteacher.data.problem import Problem
from goodteacher.data.sources import load
from goodteacher.diagnose.deviation import LEAST, Deviation, deviation
from goodteacher.diagnose.explain import Part
from goodteacher.diagnose.results import Results
from goodteacher.report.tables import number
from goodteacher.study.run import Run
from goodteacher.study.spec import parse_study
from goodteacher.train.infer import predict
from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import Job
from goodteacher_lab.reading import reduced
from goodteacher_lab.sizes import Size, size_of

# Nothing but the teacher, as softened in Hinton et al.: what is left is a deviation of the student, not of its label.
TAUGHT: dict[str, Any] = {"kd": {"alpha": 1.0, "gamma": 0.0, "temperature": 4.0}}
# Students have seeds of their own: one that shared its teacher's would start from its very weights and see its batches.
STUDENT_SEEDS = 1000
WORDS: dict[str, dict[str, Any]] = {
    "noisy_digits": {"name": "digits", "noise": 0.3},
    "few_digits": {"name": "digits", "subset": 15},
    "gaussian": {"name": "gaussian", "classes": 10, "train": 2000, "validation": 500, "test": 4000},
}
PROBLEMS = (*WORDS, "images")
EVERY = claim_of("deviations/every study").departures


def problems_of(job: Job) -> tuple[str, ...]:
    """Return the problems of a job: those chosen, or the pictures it brings, or all that need none.

    Raises:
        ConfigError: if pictures are needed and there are none.
    """
    chosen = job.choices.get("problem") or (("images",) if job.images is not None else tuple(WORDS))
    if job.images is None and ("images" in chosen or job.budget == "paper"):
        job.need_pictures()
    return chosen


def sized(job: Job, *, images: bool) -> Size:
    """Return the size of a job on pictures or on vectors."""
    return size_of(job, "deviations" if images else "deviations, vectors")


def loaded(job: Job, name: str, size: Size, noise: float | None = None) -> tuple[dict[str, Any], Problem]:
    """Return a problem in a study's words, and loaded.

    Args:
        job: whose pictures count.
        name: one of `PROBLEMS`.
        size: how many pictures a class.
        noise: rate of wrong labels, in place of the problem's own.
    """
    words = dict(WORDS[name]) if name in WORDS else job.pictures
    if noise is not None:
        words = {key: value for key, value in words.items() if key != "noise"} | ({"noise": noise} if noise else {})
    problem = load(**words)
    return (
        reduced(words, problem, size.per_class) if name == "images" and size.per_class is not None else (words, problem)
    )


def train_teachers(
    job: Job, name: str, words: Mapping[str, Any], problem: Problem, size: Size, models: Mapping[str, Any]
) -> dict[str, list[Run]]:
    """Train teachers on labels, once per seed; return them by name."""
    study = parse_study({
        "name": f"{name}-teachers", "problem": dict(words), "recipe": recipe_of(size),
        "teachers": {title: {"model": model} for title, model in models.items()}, "seeds": size.seeds,
    })  # fmt: skip
    results = job.run(study, problem)
    return {title: [results.run(who.runs[0]) for who in results.teachings[title].values()] for title in models}


def train_students(
    job: Job,
    name: str,
    words: Mapping[str, Any],
    problem: Problem,
    recipe: Mapping[str, Any],
    seed: int,
    teachers: Mapping[str, Any],
    students: Mapping[str, Any],
) -> dict[str, Run]:
    """Train the arms of one seed, with a seed of their own; return the run of every arm by name."""
    study = parse_study({
        "name": f"{name}-students-{seed}", "problem": dict(words), "recipe": dict(recipe), "teachers": dict(teachers),
        "students": dict(students), "seeds": [STUDENT_SEEDS + seed],
    })  # fmt: skip
    results = job.run(study, problem)
    return runs_of(results)


def runs_of(results: Results) -> dict[str, Run]:
    """Return the runs of a study of one seed by arm, where each student arm has one teacher at most."""
    found = {arm: results.run(who.runs[0]) for (arm, _), who in results.plan.teachers.items()}
    return found | {cell.student: results.run(cell.run) for cell in results.plan.cells}


def recipe_of(size: Size) -> dict[str, Any]:
    """Return a size's recipe, with one look at validation."""
    return {**size.recipe, "epochs": size.epochs, "evaluate_every": size.epochs}


class Compared:
    """Answers of networks on train and test, each computed once.

    Args:
        problem: the data.
        job: the device.
    """

    def __init__(self, problem: Problem, job: Job) -> None:
        self.problem, self.job = problem, job
        self._train: dict[str, Tensor] = {}

    def logits(self, run: Run, split: str) -> Tensor:
        """Return a run's logits ``(N, C)`` on ``train``, without augmentation, or on ``test``."""
        if split == "test":
            return run.outputs("test")
        if run.id not in self._train:
            place = self.job.device
            self._train[run.id] = predict(run.model.to(place), self.problem, "train", device=place)
        return self._train[run.id]

    def part(self, teacher: Run, student: Run, split: str) -> Part:
        """Return the answers of two networks on a split."""
        labels = self.problem.split("train" if split == "train" else "test").labels
        return Part(split, self.logits(teacher, split), self.logits(student, split), labels)

    def accuracy(self, run: Run) -> float:
        """Return a run's test accuracy."""
        return float((run.outputs("test").argmax(dim=1) == self.problem.test.labels).double().mean())


QUANTITIES: dict[str, Callable[[Deviation], Estimate]] = {
    "underfit": lambda d: d.underfit,
    "overfit": lambda d: d.overfit,
    "slope": lambda d: d.whole.slope,
    "below": lambda d: d.below.slope,
    "above": lambda d: d.above.slope,
    "orthogonal": lambda d: d.whole.orthogonal,
}


@dataclass(frozen=True)
class Measured:
    """Deviations of a kind in one setting and split, one per seed."""

    seen: tuple[Deviation, ...]

    def of(self, quantity: str) -> list[float]:
        """Return one of `QUANTITIES`, one per seed."""
        return [QUANTITIES[quantity](d).mean for d in self.seen]

    def estimate(self, quantity: str) -> Estimate:
        """Return the mean over seeds, or with one seed its own interval over examples, where it has one."""
        if len(self.seen) > 1:
            return mean_interval(self.of(quantity))
        return QUANTITIES[quantity](self.seen[0])

    def exceeds(self, quantity: str, level: float) -> bool:
        """Whether the interval of a quantity lies above a level."""
        return self.estimate(quantity).low > level

    @property
    def plain(self) -> dict[str, list[float | None]]:
        """Everything by seed."""
        return {name: [None if math.isnan(v) else v for v in self.of(name)] for name in QUANTITIES}


def measured(parts: Sequence[Part], *, exchanged: bool = False) -> Measured | None:
    """Return the deviations of students from teachers, or of teachers from students; None for too few examples."""
    if any(len(part.labels) < LEAST for part in parts):
        return None
    pairs = [(p.student, p.teacher) if exchanged else (p.teacher, p.student) for p in parts]
    return Measured(tuple(deviation(*pair) for pair in pairs))


def written(e: Estimate, digits: int = 2) -> str:
    """Return a mean with its interval."""
    mean = number(e.mean, digits)
    return mean if math.isnan(e.low) else f"{mean} [{e.low:.{digits}f}, {e.high:.{digits}f}]"
