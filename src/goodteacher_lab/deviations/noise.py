"""Student-teacher deviations under wrong labels: networks teach their like, and right and wrong labels are looked at apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from goodteacher.base.stats import mean_interval
from goodteacher.data.problem import Problem
from goodteacher.data.sources import load
from goodteacher.diagnose.explain import Part
from goodteacher.report.tables import Grid, percent
from goodteacher_lab.claims import claim_of
from goodteacher_lab.deviations import settings as setting
from goodteacher_lab.deviations.runs import EVERY, loaded, measured, problems_of, sized, written
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.published import published

PAPER = published("nagarajan2023")
RATES = (0.0, 0.2, 0.4)


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
    size = sized(job, images=job.images is not None)
    chosen = tuple(float(r) for r in job.choices.get("rate", ())) or RATES
    found, departures, rows = {}, [], []
    for rate in chosen:
        words, problem = loaded(job, name, size, noise=rate)
        title = f"{rate:.0%} wrong labels"
        job.say(f"{title}: {size.seeds} seeds")
        (found[rate],) = setting.trained(job, f"deviations-noise-{rate:g}", words, problem, size, ["self-large"])
        departures += setting.departures_of(problem, size)
        rows += [(title, *cells) for cells in _apart(found[rate], mislabelled(words, problem))]
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
    claim = claim_of("deviations/noise")
    return Finding(
        "deviations/noise",
        claim.text,
        verdict,
        (*EVERY, *claim.departures, *dict.fromkeys(departures)),
        (
            setting.accuracy_grid(settings, "CIFAR-100 with noisy labels, rate not known here", PAPER["noisy"]),
            setting.deviation_grid(settings, "test"),
            setting.deviation_grid(settings, "train"),
            Grid("Right and wrong labels apart, on train", columns, tuple(rows), note),
        ),
        {f"confidence: {s.name}": setting.confidence_chart(s) for s in settings},
        {s.name: setting.plain_setting(s) for s in settings},
    )


def _apart(s: setting.Condition, wrong: Tensor) -> list[tuple[str, ...]]:
    """Return deviations on training examples of right and of wrong labels, written out."""
    found: list[tuple[str, ...]] = []
    for which, rows in (("right labels", ~wrong), ("wrong labels", wrong)):
        taught = measured([Part("train", p.teacher[rows], p.student[rows], p.labels[rows]) for p in s.parts["train"]])
        if taught is not None:
            to_label = [float((p.student.argmax(dim=1) == p.labels)[rows].double().mean()) for p in s.parts["train"]]
            cells = (written(taught.estimate("slope")), written(taught.estimate("underfit")))
            found.append((which, str(int(rows.sum())), *cells, percent(mean_interval(to_label))))
    return found
