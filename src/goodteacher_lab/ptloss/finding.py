"""The proxy teacher of perturbed distillation against simpler ways to the true label distribution."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from goodteacher.base.stats import Estimate, spearman
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.problem import Problem
from goodteacher.diagnose.distance import distance_to_truth, distance_to_votes
from goodteacher.diagnose.results import Results
from goodteacher.maps.table import parse_map
from goodteacher.report.charts import channel, chart, free, points, spec
from goodteacher.report.conclusion import ALPHA
from goodteacher.report.tables import Grid, each, ends, grid, percent
from goodteacher.study.spec import StudySpec
from goodteacher_lab import reading
from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.ptloss.study import BRIER, MAPS, TRUTH, arm_of, map_study
from goodteacher_lab.sizes import size_of


def search_seconds(results: Results, title: str) -> dict[int, float]:
    """Return how long a map's fit takes on the validation answers of each seed's teacher, in seconds."""
    seconds = {}
    labels = results.targets["validation.labels"]
    for (arm, seed), answers in results.answers.items():
        if arm == arm_of(title):
            logits = answers.plain("validation")
            start = time.perf_counter()
            parse_map(MAPS[title]).fit(logits, labels)
            seconds[seed] = time.perf_counter() - start
    return seconds


def in_sample(results: Results, arm: str) -> dict[int, float]:
    """Return the squared distance of what an arm teaches to the truth (or votes) on the training inputs, by seed.

    Empty where neither is known there.
    """
    truth, votes = results.targets.get("train.truth"), results.targets.get("train.votes")
    found: dict[int, float] = {}
    for (name, seed), answers in results.answers.items():
        saved = answers.runs[0].extra("train") if answers.runs else None
        if name != arm or saved is None:
            continue
        logits = answers.map(saved["logits"])
        if truth is not None:
            found[seed] = float(distance_to_truth(logits, truth)["mse"].mean())
        elif votes is not None and float(votes.sum(dim=1).min()) >= 2:
            found[seed] = float(distance_to_votes(logits, votes)["mse"].mean())
    return found


def toy(job: Job) -> Finding:
    """Run the comparison where the true label distribution is known."""
    size = size_of(job, "ptloss/toy")
    words = {"name": "gaussian", "train": size.examples, "validation": size.examples, "test": size.test}
    problem = gaussian_problem(train=size.examples or 0, validation=size.examples or 0, test=size.test)
    study = map_study("toy", size, words, knows_truth=True)
    said = (
        f"Data: {problem.describe()}; Ren et al. (2022) have 5,000 training examples and a rate of 5e-4 for 100 epochs, this run "
        f"{len(problem.train)}, {size.recipe['lr']:g} and {study.recipe.epochs}.",
    )
    return _compared("ptloss/toy", study, problem, job, said)


def images(job: Job) -> Finding:
    """Run the comparison on pictures, or on digits with noisy labels."""
    size = size_of(job, "ptloss/images" if job.images is not None else "ptloss/images, digits")
    words, problem = reading.problem_of(job, size.per_class)
    study = map_study("images", size, words, knows_truth=problem.train.truth is not None)
    said = (
        "The paper's experiments are on text; its networks and data are not used.",
        f"{reading.model_name(size.teacher)} -> {reading.model_name(size.student)}, {study.recipe.epochs} epochs.",
        *reading.problem_departures(job, problem),
    )
    return _compared("ptloss/images", study, problem, job, said)


def _compared(name: str, study: StudySpec, problem: Problem, job: Job, said: tuple[str, ...]) -> Finding:
    job.say(f"{name}: {len(study.teachers)} teachers, {len(study.seed_list)} seeds")
    results = job.run(study, problem)
    titles = [*MAPS, BRIER]
    known = "mse" in reading.held_out(results, arm_of(titles[0]))
    rows = {title: _measured(results, title) for title in titles}
    taught = {
        t: reading.values(results, "taught", arm_of(t)) for t in (*titles, *([TRUTH] if _has_truth(study) else []))
    }
    alone = reading.values(results, "alone", None)
    found = reading.differences([(f"{t} - plain KL", taught[t], taught["plain KL"]) for t in taught if t != "plain KL"])
    score = "mse" if known else "brier"
    nearer = reading.differences(
        [(f"{t} - plain KL", rows[t][score], rows["plain KL"][score]) for t in titles if t != "plain KL"]
    )
    unit = "squared distance" if known else "held-out Brier score"
    near = spearman(
        [-reading.spread(rows[t][score]).mean for t in titles],
        [round(reading.spread(taught[t]).mean, 12) for t in titles],
    )
    data = {
        "teachers": {t: {q: list(v.values()) for q, v in row.items()} for t, row in rows.items()},
        "students": {t: list(v.values()) for t, v in taught.items()} | {"alone": list(alone.values())},
        "correlation": {"of": score, "mean": near.mean, "low": near.low, "high": near.high, "n": near.n},
    }
    claim = claim_of("ptloss/toy")
    return Finding(
        name,
        claim.text,
        _verdict(nearer, found, unit),
        (
            *claim.departures,
            *said,
        ),
        (
            _distance_grid(rows, known),
            reading.difference_grid(f"Differences in {unit}", nearer, digits=4),
            _student_grid(taught, alone, near, unit),
            reading.difference_grid("Students' differences", found),
        ),
        {"distance and students": _chart(rows, taught, score)},
        data,
    )  # fmt: skip


def _has_truth(study: StudySpec) -> bool:
    return arm_of(TRUTH) in study.teachers


def _measured(results: Results, title: str) -> dict[str, dict[int, float]]:
    """Return what a way makes of its teacher: distances after and before, the score on validation, and its cost."""
    arm = arm_of(title)
    after, before = reading.held_out(results, arm), reading.held_out(results, arm, mapped=False)
    row = {f"{q} before": before[q] for q in ("mse", "kl", "brier") if q in before}
    row |= {q: after[q] for q in ("mse", "kl", "brier", "nll") if q in after}
    row["validation brier"] = reading.held_out(results, arm, "validation")["brier"]
    row["train mse"] = in_sample(results, arm)
    if MAPS.get(title) is not None:
        row["seconds"] = search_seconds(results, title)
    return {q: values for q, values in row.items() if values}


def _distance_grid(rows: Mapping[str, Mapping[str, Mapping[int, float]]], known: bool) -> Grid:
    names = {"mse before": "MSE before", "mse": "MSE after", "kl before": "KL before", "kl": "KL after"}
    names |= {"train mse": "MSE after, training inputs"}
    if not known:
        names = {"brier before": "Brier before", "brier": "Brier after", "nll": "NLL after"}
    headings = {heading: q for q, heading in names.items() if any(q in row for row in rows.values())}
    columns: dict[str, Callable[[tuple[str, Mapping[str, Mapping[int, float]]]], str]] = {
        "way": lambda row: row[0],
        **each(
            {**headings, "validation Brier": "validation brier"},
            lambda row, q: reading.decimal(row[1][q], 4) if q in row[1] else "-",
        ),
        "search, seconds": lambda row: reading.decimal(row[1]["seconds"], 2) if "seconds" in row[1] else "-",
        "n": lambda row: str(len(row[1]["validation brier"])),
    }
    note = (
        "On test, ± half a 95% t interval over seeds. MSE and KL (nats) are to the true label distribution, or to human votes "
        "with their own scatter taken off the MSE. Searches are fitted on validation, so its Brier score is no test of them. "
        "'a class': coefficients of its own for each class."
    )
    title = (
        "Distance to the true label distribution, before and after" if known else "Held-out scores, before and after"
    )
    return grid(title, rows.items(), columns, note)


def _student_grid(
    taught: Mapping[str, Mapping[int, float]], alone: Mapping[int, float], near: Estimate, unit: str
) -> Grid:
    order = sorted(taught, key=lambda t: -reading.spread(taught[t]).mean)
    rows = [(t, percent(reading.spread(taught[t])), str(len(taught[t]))) for t in order]
    rows.append(("(labels alone)", percent(reading.spread(alone)), str(len(alone))))
    told = "not known" if math.isnan(near.mean) else f"{near.mean:+.2f} {ends(near)}"
    return Grid(
        "Students",
        ("taught by", "test accuracy %", "n"),
        tuple(rows),
        "± is half a 95% t interval over seeds; T = 1, no label. Rank correlation of these accuracies with nearness by "
        f"{unit}, over the {near.n} ways but p* itself: {told}, interval over ways, all but one of the same networks.",
    )


def _verdict(nearer: list[reading.Difference], found: list[reading.Difference], unit: str) -> str:
    """Return which ways came nearer than plain KL, and what they did for students."""
    distance, by = {d.what: d for d in nearer}, {d.what: d for d in found}
    ways = [f"{t} - plain KL" for t in ("proxy, random", "proxy, gradient", "temperature", BRIER)]
    near = []
    for way in ways:
        d = distance[way]
        told = "not told apart" if not d.holm < ALPHA else "nearer" if d.estimate.mean < 0 else "farther"
        near.append(f"{way.removesuffix(' - plain KL')} {d.estimate.mean:+.4f} ({told}, n = {d.estimate.n})")
    words = [f"{way.removesuffix(' - plain KL')}: {by[way].words}" for way in ways]
    return f"{unit.capitalize()} less plain KL's: {'; '.join(near)}. Students against those of plain KL: {'; '.join(words)}."


def _chart(
    rows: Mapping[str, Mapping[str, Mapping[int, float]]], taught: Mapping[str, Mapping[int, float]], score: str
) -> str:
    """Return student accuracy against the distance of what they were taught, one point per way and seed."""
    rows_drawn = [
        {"way": t, "distance": row[score][seed], "accuracy": 100 * taught[t][seed], "seed": seed}
        for t, row in rows.items()
        for seed in sorted(set(row[score]) & set(taught[t]))
    ]
    title = "squared distance to the true label distribution" if score == "mse" else "held-out Brier score"
    tooltip = ["way", "distance", "accuracy", "seed"]
    x, y = free("distance", title), free("accuracy", "student accuracy %")
    return spec(chart(rows_drawn, points(x, y, color=channel("way:N", sort=None), tooltip=tooltip), size=(420, 280)))
