"""What recipes read off a finished study: arms by seed, held-out scores, paired differences; and the pictures of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from goodteacher.base.probability import kl, log_soften
from goodteacher.base.stats import Estimate, holm, mean_interval, paired_difference, t_test_p
from goodteacher.data.problem import Problem
from goodteacher.data.sources import load
from goodteacher.diagnose.calibration import expected_calibration_error
from goodteacher.diagnose.distance import distance_to_truth, distance_to_votes
from goodteacher.diagnose.results import Results
from goodteacher.report.conclusion import ALPHA
from goodteacher.report.tables import Grid, number, percent
from goodteacher.train.infer import quick_scores
from goodteacher_lab.job import Job

BySeed = Mapping[int, float]


def problem_of(job: Job, per_class: int | None) -> tuple[dict[str, Any], Problem]:
    """Return the problem in a study's words, and loaded: the job's pictures, or digits with noisy labels.

    Args:
        job: whose ``images`` count.
        per_class: training pictures per class, at most; None for all.
    """
    words: dict[str, Any] = {"name": "digits", "noise": 0.3}
    if job.images is not None:
        words = job.pictures
    options = dict(words)
    problem = load(options.pop("name"), **options)
    return (words, problem) if job.images is None or per_class is None else reduced(words, problem, per_class)


def reduced(words: Mapping[str, Any], problem: Problem, per_class: int) -> tuple[dict[str, Any], Problem]:
    """Return a problem with fewer training examples per class, as many at most as each class has, in words and loaded."""
    few = int(torch.bincount(problem.train.labels, minlength=problem.classes).min())
    fewer = {**words, "subset": min(per_class, few)}
    return fewer, load(**fewer)


def problem_departures(job: Job, problem: Problem, *, lipschitz: bool = False) -> tuple[str, ...]:
    """Return what must be said of the problem in place of CIFAR-100 with all its training labels, and of a Lipschitz term."""
    said = [f"Data: {problem.describe()}; validation examples are taken from the training examples."]
    said += [f"Data: {note}." for note in problem.notes]
    if job.images is None:
        said.append(
            "Digits whose training and validation labels are wrong by 30% symmetric noise, and MLPs, in place of pictures."
        )
        if lipschitz:
            said.append(
                "On an MLP the Lipschitz term at its published weight of 1e-5 is next to nothing: it lives on convolutions."
            )
    return tuple(said)


def values(results: Results, student: str, teacher: str | None) -> dict[int, float]:
    """Return a student arm's test accuracy under a teacher arm, by seed."""
    return {seed: scores["accuracy"] for seed, scores in results.student_values[student, teacher].items()}


def spread(by_seed: BySeed) -> Estimate:
    """Return the mean over seeds with its interval."""
    return mean_interval([by_seed[seed] for seed in sorted(by_seed)])


def held_out(results: Results, arm: str, split: str = "test", *, mapped: bool = True) -> dict[str, dict[int, float]]:
    """Return what a teacher arm is worth on a held-out split: quantity to seed to value.

    Args:
        results: of the study.
        arm: of teachers.
        split: ``validation`` or ``test``.
        mapped: after its target map, or before.

    Returns:
        ``accuracy``, ``nll``, ``brier``, ``ece``, and ``mse`` and ``kl`` to the truth, or to votes where each example has two.
    """
    labels = results.targets[f"{split}.labels"]
    truth, votes = results.targets.get(f"{split}.truth"), results.targets.get(f"{split}.votes")
    found: dict[str, dict[int, float]] = {}
    for (name, seed), answers in results.answers.items():
        if name != arm:
            continue
        logits = answers.mapped(split) if mapped else answers.plain(split)
        scores = quick_scores(logits, labels)
        scores["ece"] = expected_calibration_error(log_soften(logits.double()).exp(), labels)
        distances = {}
        if truth is not None:
            distances = distance_to_truth(logits, truth)
        elif votes is not None and float(votes.sum(dim=1).min()) >= 2:
            distances = distance_to_votes(logits, votes)
        scores |= {key: float(distances[key].mean()) for key in ("mse", "kl") if key in distances}
        for key, value in scores.items():
            found.setdefault(key, {})[seed] = value
    return found


def fidelity(results: Results, student: str, teacher: str) -> tuple[dict[int, float], dict[int, float]]:
    """Return how a student follows its teacher on test, by seed: share of equal first classes, and KL in nats at T = 1."""
    agreement, divergence = {}, {}
    for cell in results.plan.cells:
        if (cell.student, cell.teacher) == (student, teacher) and cell.run not in results.missing:
            own = results.run(cell.run).outputs("test")
            other = results.answers[teacher, cell.seed].mapped("test")
            agreement[cell.seed] = float((own.argmax(dim=1) == other.argmax(dim=1)).double().mean())
            divergence[cell.seed] = float(kl(log_soften(other.double()), log_soften(own.double())).mean())
    return agreement, divergence


@dataclass(frozen=True)
class Difference:
    """A paired difference among several: what less what, its interval over seeds, and p corrected for all of them."""

    what: str
    estimate: Estimate
    holm: float

    @property
    def words(self) -> str:
        """The difference in points, and whether it is shown: by the same rule as a study's conclusion."""
        told = "a difference" if self.holm < ALPHA else "not told apart"
        return f"{percent(self.estimate, signed=True)} points ({told}, n = {self.estimate.n})"


def differences(pairs: Sequence[tuple[str, BySeed, BySeed]]) -> list[Difference]:
    """Return paired differences over common seeds, corrected by Holm for how many there are."""
    found, p = [], []
    for what, a, b in pairs:
        common = sorted(set(a) & set(b))
        estimate = paired_difference([a[s] for s in common], [b[s] for s in common])
        found.append((what, estimate))
        p.append(t_test_p([a[s] - b[s] for s in common]))
    return [Difference(what, e, corrected) for (what, e), corrected in zip(found, holm(p), strict=True)]


def difference_grid(title: str, found: Sequence[Difference], *, digits: int | None = None) -> Grid:
    """Return differences as a table: of accuracy in points, or of a score with so many digits."""
    rows = [
        (d.what, _difference(d.estimate, digits), number(d.estimate.p), number(d.holm), str(d.estimate.n))
        for d in found
    ]
    what = "In points of test accuracy" if digits is None else "On test"
    note = (
        f"{what}, paired by seed, ± half a 95% t interval. p exact: sign flips; Holm: paired t test corrected for all rows of "
        "this table."
    )
    columns = ("difference", "points" if digits is None else "score", "p exact", "p Holm", "n")
    return Grid(title, columns, tuple(rows), note)


def _difference(e: Estimate, digits: int | None) -> str:
    if digits is None:
        return percent(e, signed=True)
    return f"{e.mean:+.{digits}f}" + ("" if e.n == 1 else f" ± {e.half:.{digits}f}")


def decimal(by_seed: BySeed, digits: int) -> str:
    """Return the mean over seeds in plain digits, with half its interval."""
    e = spread(by_seed)
    return f"{e.mean:.{digits}f}" if e.n == 1 else f"{e.mean:.{digits}f} ± {e.half:.{digits}f}"


def model_name(model: Any) -> str:
    """Return a model of a study in a few words."""
    if isinstance(model, str):
        return model
    ((name, options),) = model.items()
    return f"{name} {options['widths']}"
