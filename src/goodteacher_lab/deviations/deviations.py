"""Student-teacher deviations again: confidence against confidence in many settings, and under wrong labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from goodteacher.base.stats import Estimate, mean_interval
from goodteacher.data.problem import Problem
from goodteacher.data.sources import load
from goodteacher.diagnose.explain import Part
from goodteacher.report.tables import Grid, percent
from goodteacher_lab.deviations.eigenspace import ROWS as EIGENSPACE
from goodteacher_lab.deviations.runs import (
    PROBLEMS,
    UNKNOWN,
    loaded,
    measured,
    problems_of,
    size_of,
    written,
)
from goodteacher_lab.deviations.settings import (
    ALONE,
    PAIRS,
    SPLITS,
    Setting,
    accuracy_grid,
    confidence_chart,
    departures_of,
    deviation_grid,
    pairs_of,
    plain_setting,
    trained,
)
from goodteacher_lab.deviations.switching import switching
from goodteacher_lab.job import Finding, Job, Reproduction
from goodteacher_lab.published import published

PAPER = published("nagarajan2023")
RATES = (0.0, 0.2, 0.4)


def scatter(job: Job) -> Finding:
    """Draw student against teacher confidence in every setting, with slopes, and count the settings that exaggerate."""
    settings, departures = [], []
    for name in problems_of(job):
        size = size_of(job, images=name == "images")
        pairs, said = pairs_of(job, size)
        words, problem = loaded(job, name, size)
        job.say(f"{name}: {len(pairs)} pairs, {size.seeds} seeds")
        settings += trained(job, f"deviations-{name}", words, problem, size, pairs)
        departures += [*departures_of(problem, size), said]
    counts = {
        split: {
            kind: sum(s.seen[split, kind].exceeds("underfit", 0.5) for s in settings)
            for kind in ("taught", "alone", "exchanged")
        }
        for split in SPLITS
    }
    beyond = {split: sum(_positive(s.beyond_chance(split)) for s in settings) for split in SPLITS}
    n = len(settings)
    both = " and ".join(f"{counts[split]['taught']} of {n} settings on {split}" for split in ("test", "train"))
    verdict = (
        f"Students underfit their teachers' low-confidence points in {both} (published: {PAPER['counts']['test']} on test, "
        f"{PAPER['counts']['train']} on train). Of the same models without a teacher, held against the same teachers, "
        f"{counts['test']['alone']} and {counts['train']['alone']} do too; the taught ones do so more often than these, by an "
        f"interval that excludes zero, in {beyond['test']} and {beyond['train']}. With the roles exchanged, "
        f"{counts['test']['exchanged']} teachers on test and {counts['train']['exchanged']} on train underfit their students."
    )
    return Finding(
        "deviations/scatter",
        "Students systematically exaggerate their teachers' confidence: they are less sure where the teacher is unsure.",
        verdict,
        (*UNKNOWN, *ALONE, *dict.fromkeys(departures)),
        (
            _count_grid(settings, counts, beyond),
            *(deviation_grid(settings, split) for split in ("test", "train")),
            accuracy_grid(settings, "CIFAR-100, ResNet-56 by itself", PAPER["self"]),
        ),
        {f"confidence: {s.name}": confidence_chart(s) for s in settings},
        {s.name: plain_setting(s) for s in settings},
    )


def _positive(e: Estimate) -> bool:
    return e.low > 0


def _count_grid(
    settings: Sequence[Setting], counts: Mapping[str, Mapping[str, int]], beyond: Mapping[str, int]
) -> Grid:
    n = len(settings)
    rows = []
    for split in ("test", "train"):
        own = counts[split]
        cells = (f"{own[kind]} of {n}" for kind in ("taught", "alone", "exchanged"))
        rows.append(
            (f"underfit low-confidence points, {split}", PAPER["counts"][split], *cells, f"{beyond[split]} of {n}")
        )
    slopes = [
        sum(s.seen["test", kind].exceeds("slope", 1.0) for s in settings) for kind in ("taught", "alone", "exchanged")
    ]
    rows.append(("slope above 1, test", PAPER["slopes"], *(f"{k} of {n}" for k in slopes), "-"))
    columns = ("what", "published", "taught", "without a teacher", "roles exchanged", "taught more than without")
    note = "Settings whose 95% interval over seeds lies above one half (shares) or above 1 (least-squares slopes)."
    return Grid(f"Settings that exaggerate (n = {n} settings)", columns, tuple(rows), note)


def mislabelled(words: Mapping[str, Any], problem: Problem) -> Tensor:
    """Return which training examples carry a wrong label, ``(N,)`` bool, from the same problem without noise."""
    plain = load(**{key: value for key, value in words.items() if key not in ("noise", "subset")})
    truth = torch.full((int(max(s.indices.max() for s in (plain.train, problem.train))) + 1,), -1)
    truth[plain.train.indices] = plain.train.labels
    return truth[problem.train.indices] != problem.train.labels


def noise(job: Job) -> Finding:
    """Let networks teach their like under wrong labels, and look at right and wrong labels apart."""
    name = "images" if job.images is not None else "noisy_digits"
    problems_of(job)
    size = size_of(job, images=job.images is not None)
    chosen = tuple(float(r) for r in job.choices.get("rate", ())) or RATES
    found, departures, apart, rows = {}, [], {}, []
    for rate in chosen:
        words, problem = loaded(job, name, size, noise=rate)
        title = f"{rate:.0%} wrong labels"
        job.say(f"{title}: {size.seeds} seeds")
        (found[rate],) = trained(job, f"deviations-noise-{rate:g}", words, problem, size, ["self-large"])
        departures += departures_of(problem, size)
        wrong = mislabelled(words, problem)
        apart[rate] = _apart(found[rate], wrong)
        rows += [(title, which, str(n), *cells) for which, n, cells in apart[rate]]
    settings = [replace(s, name=f"{rate:.0%} wrong labels") for rate, s in found.items()]
    said = [f"{s.name}: {percent(s.difference('student', 'teacher'), signed=True)}" for s in settings]
    under = [f"{s.name}: {written(s.seen['test', 'taught'].estimate('underfit'))}" for s in settings]
    gain = PAPER["noisy"][1] - PAPER["noisy"][0]
    verdict = (
        f"Student minus teacher of the same model, in points of test accuracy: {'; '.join(said)} (published, noisy CIFAR-100: "
        f"{gain:+.1f}). Share of v < u where the teacher is least sure, on test: {'; '.join(under)}."
    )
    columns = ("labels", "training examples", "n", "slope", "v < u, lowest third", "as labelled %")
    note = (
        "Mean over seeds [95% t interval]. As labelled: share of these examples that the student answers with their label in "
        "training; n: examples."
    )
    return Finding(
        "deviations/noise",
        "Under wrong labels students deviate from their teachers by the same exaggeration, and are more accurate.",
        verdict,
        (*UNKNOWN, *ALONE, *dict.fromkeys(departures)),
        (
            accuracy_grid(settings, "CIFAR-100 with noisy labels, rate not known here", PAPER["noisy"]),
            deviation_grid(settings, "test"),
            deviation_grid(settings, "train"),
            Grid("Right and wrong labels apart, on train", columns, tuple(rows), note),
        ),
        {f"confidence: {s.name}": confidence_chart(s) for s in settings},
        {s.name: plain_setting(s) for s in settings},
    )


def _apart(s: Setting, wrong: Tensor) -> list[tuple[str, int, tuple[str, ...]]]:
    """Return deviations on training examples of right and of wrong labels."""
    found: list[tuple[str, int, tuple[str, ...]]] = []
    for which, rows in (("right labels", ~wrong), ("wrong labels", wrong)):
        taught = measured([Part("train", p.teacher[rows], p.student[rows], p.labels[rows]) for p in s.parts["train"]])
        if taught is None:
            continue
        to_label = [float((p.student.argmax(dim=1) == p.labels)[rows].double().mean()) for p in s.parts["train"]]
        cells = (written(taught.estimate("slope")), written(taught.estimate("underfit")))
        found.append((which, int(rows.sum()), (*cells, percent(mean_interval(to_label)))))
    return found


SOURCE = "Nagarajan et al. (2023), student-teacher deviations"
ROWS: dict[str, Reproduction] = {
    "deviations/scatter": Reproduction(
        scatter,
        f"{SOURCE}: student against teacher confidence",
        {
            "minutes": "3 minutes, 15 with --images",
            "hours": "10 minutes, 6 hours with --images",
            "paper": "days, --images",
        },
        {"problem": PROBLEMS, "pair": tuple(PAIRS)},
    ),
    "deviations/noise": Reproduction(
        noise,
        f"{SOURCE}: noisy labels",
        {
            "minutes": "3 minutes, 15 with --images",
            "hours": "10 minutes, 6 hours with --images",
            "paper": "days, --images",
        },
        {"rate": tuple(f"{rate:g}" for rate in RATES)},
    ),
    "deviations/switching": Reproduction(
        switching,
        f"{SOURCE}: early-stopped and loss-switching students",
        {
            "minutes": "2 minutes, 15 with --images",
            "hours": "10 minutes, 6 hours with --images",
            "paper": "days, --images",
        },
        {"problem": PROBLEMS},
    ),
    **EIGENSPACE,
}
