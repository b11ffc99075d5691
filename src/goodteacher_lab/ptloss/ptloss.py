"""The proxy teacher of perturbed distillation against simpler ways to the true label distribution."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from goodteacher.base.stats import Estimate, spearman
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.problem import Problem
from goodteacher.diagnose.distance import distance_to_truth, distance_to_votes
from goodteacher.diagnose.results import Results
from goodteacher.maps.table import parse_map
from goodteacher.report.charts import channel, chart, free, points, spec
from goodteacher.report.conclusion import ALPHA
from goodteacher.report.tables import Grid, ends, percent
from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab import reading
from goodteacher_lab.job import Budget, Finding, Job, Reproduction

# The series of the paper has five perturbed coefficients in its main experiments; its search is random.
ORDER = 5
MAPS: dict[str, Any] = {
    "plain KL": None,
    "temperature": "temperature",
    "vector temperature": "vector_temperature",
    "proxy, random": {"pt_proxy": {"order": ORDER, "search": "random"}},
    "proxy, random, a class": {"pt_proxy": {"order": ORDER, "search": "random", "per_class": True}},
    "proxy, gradient": {"pt_proxy": {"order": ORDER, "search": "gradient"}},
    "proxy, gradient, a class": {"pt_proxy": {"order": ORDER, "search": "gradient", "per_class": True}},
}
BRIER, TRUTH = "Brier teacher", "the truth itself"
# A divergence of the targets as they are, without the label: nothing but the targets differs between students.
TAUGHT: dict[str, Any] = {"kd": {"alpha": 1.0, "gamma": 0.0, "temperature": 1.0}}


@dataclass(frozen=True)
class Size:
    """What a budget buys: models, the recipe of both, seeds, and training examples (a class, where they are pictures)."""

    teacher: Any
    student: Any
    recipe: Mapping[str, Any]
    seeds: int
    examples: int | None = None
    test: int = 0


def _wide(width: int) -> dict[str, Any]:
    return {"mlp": {"widths": [width, width]}}


def _recipe(epochs: int, lr: float, **other: Any) -> dict[str, Any]:
    plain = {"batch_size": 32, "schedule": "constant", "weight_decay": 0.0, "evaluate_every": epochs}
    return {"epochs": epochs, "lr": lr, **plain, **other}


# Ren et al. (2022), at `paper`: 5,000 of 100,000 examples, MLP 30-128-128-3, SGD 5e-4 constant, batch 32, 100 epochs.
TOY: dict[Budget, Size] = {
    "minutes": Size(_wide(128), _wide(128), _recipe(40, 5e-3), 5, 1000, 20000),
    "hours": Size(_wide(128), _wide(128), _recipe(100, 5e-3), 10, 1000, 90000),
    "paper": Size(_wide(128), _wide(128), _recipe(100, 5e-4), 10, 5000, 90000),
}
PICTURE = {"batch_size": 64, "schedule": "cosine", "weight_decay": 5e-4}
PICTURES: dict[Budget, Size] = {
    "minutes": Size("resnet14", "resnet8", _recipe(6, 0.05, **PICTURE), 2, 100),
    "hours": Size("resnet20", "resnet8", _recipe(60, 0.05, **PICTURE), 3, 1000),
    "paper": Size("resnet56", "resnet20", _recipe(240, 0.05, **PICTURE), 5),
}
DIGITS = Size(_wide(128), _wide(128), _recipe(30, 0.05), 5)


def map_study(name: str, size: Size, words: Mapping[str, Any], *, knows_truth: bool, job: Job) -> StudySpec:
    """Return the study: one network with every map, a Brier teacher, and where it is known the truth."""
    teachers: dict[str, Any] = {_arm(title): {"model": size.teacher, "map": spec} for title, spec in MAPS.items()}
    teachers[_arm(BRIER)] = {"model": size.teacher, "objective": "brier"}
    if knows_truth:
        teachers[_arm(TRUTH)] = {"table": "truth"}
    recipe = {**size.recipe, **({"epochs": job.epochs, "evaluate_every": job.epochs} if job.epochs else {})}
    students = {
        "alone": {"model": size.student, "method": "none"},
        "taught": {"model": size.student, "method": TAUGHT},
    }
    return parse_study({
        "name": f"ptloss-{name}", "problem": dict(words), "recipe": recipe, "teachers": teachers, "students": students,
        "seeds": job.seeds or size.seeds,
    })  # fmt: skip


def _arm(title: str) -> str:
    return title.replace(",", "").replace(" ", "-")


def search_seconds(results: Results, title: str) -> dict[int, float]:
    """Return how long a map's fit takes on the validation answers of each seed's teacher, in seconds."""
    seconds = {}
    labels = results.targets["validation.labels"]
    for (arm, seed), answers in results.answers.items():
        if arm == _arm(title):
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
    size = TOY[job.budget]
    words = {"name": "gaussian", "train": size.examples, "validation": size.examples, "test": size.test}
    problem = gaussian_problem(train=size.examples or 0, validation=size.examples or 0, test=size.test)
    study = map_study("toy", size, words, knows_truth=True, job=job)
    said = (
        f"Data: {problem.describe()}; Ren et al. (2022) have 5,000 training examples and a rate of 5e-4 for 100 epochs, this run "
        f"{len(problem.train)}, {size.recipe['lr']:g} and {study.recipe.epochs}.",
    )
    return _compared("ptloss/toy", study, problem, job, said)


def images(job: Job) -> Finding:
    """Run the comparison on pictures, or on digits with noisy labels."""
    size = DIGITS if job.images is None else PICTURES[job.budget]
    words, problem = reading.problem_of(job, size.examples)
    study = map_study("images", size, words, knows_truth=problem.train.truth is not None, job=job)
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
    known = "mse" in reading.held_out(results, _arm(titles[0]))
    rows = {title: _measured(results, title) for title in titles}
    taught = {t: reading.values(results, "taught", _arm(t)) for t in (*titles, *([TRUTH] if _has_truth(study) else []))}
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
    return Finding(
        name,
        "A proxy teacher, whose coefficients are searched on held-out labels, is nearer to the true label distribution than the "
        "teacher, and its students are more accurate.",
        _verdict(nearer, found, unit),
        (
            "No code and no table of the paper can be had: nothing is compared with a published number, and none of its figures "
            "is redrawn.",
            "The random search draws 200 times uniformly from [-1, 1]; the paper's distribution and number are not known here.",
            "Students learn from the proxy by plain divergence, which has the same optimum as the perturbed loss.",
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
    return _arm(TRUTH) in study.teachers


def _measured(results: Results, title: str) -> dict[str, dict[int, float]]:
    """Return what a way makes of its teacher: distances after and before, the score on validation, and its cost."""
    arm = _arm(title)
    after, before = reading.held_out(results, arm), reading.held_out(results, arm, mapped=False)
    row = {f"{q} before": before[q] for q in ("mse", "kl", "brier") if q in before}
    row |= {q: after[q] for q in ("mse", "kl", "brier", "nll") if q in after}
    row["validation brier"] = reading.held_out(results, arm, "validation")["brier"]
    row["train mse"] = in_sample(results, arm)
    if MAPS.get(title) is not None:
        row["seconds"] = search_seconds(results, title)
    return {q: values for q, values in row.items() if values}


def _distance_grid(rows: Mapping[str, Mapping[str, Mapping[int, float]]], known: bool) -> Grid:
    quantities = ("mse before", "mse", "kl before", "kl", "train mse") if known else ("brier before", "brier", "nll")
    shown = [q for q in quantities if any(q in row for row in rows.values())]
    cells = []
    for title, row in rows.items():
        values = [reading.decimal(row[q], 4) if q in row else "-" for q in (*shown, "validation brier")]
        n = len(row["validation brier"])
        cells.append((title, *values, reading.decimal(row["seconds"], 2) if "seconds" in row else "-", str(n)))
    names = {"mse before": "MSE before", "mse": "MSE after", "kl before": "KL before", "kl": "KL after"}
    names |= {
        "train mse": "MSE after, training inputs",
        "brier before": "Brier before",
        "brier": "Brier after",
        "nll": "NLL after",
    }
    columns = ("way", *(names[q] for q in shown), "validation Brier", "search, seconds", "n")
    note = (
        "On test, ± half a 95% t interval over seeds. MSE and KL (nats) are to the true label distribution, or to human votes "
        "with their own scatter taken off the MSE. Searches are fitted on validation, so its Brier score is no test of them. "
        "'a class': coefficients of its own for each class."
    )
    title = (
        "Distance to the true label distribution, before and after" if known else "Held-out scores, before and after"
    )
    return Grid(title, columns, tuple(cells), note)


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
    """Return student accuracy against the distance of what they were taught, one point a way and seed."""
    rows_drawn = [
        {"way": t, "distance": row[score][seed], "accuracy": 100 * taught[t][seed], "seed": seed}
        for t, row in rows.items()
        for seed in sorted(set(row[score]) & set(taught[t]))
    ]
    title = "squared distance to the true label distribution" if score == "mse" else "held-out Brier score"
    tooltip = ["way", "distance", "accuracy", "seed"]
    x, y = free("distance", title), free("accuracy", "student accuracy %")
    return spec(chart(rows_drawn, points(x, y, color=channel("way:N", sort=None), tooltip=tooltip), size=(420, 280)))


ROWS: dict[str, Reproduction] = {
    "ptloss/toy": Reproduction(
        toy,
        "Zhang et al. (2023): proxy teachers on Gaussians whose true label distribution is known",
        {"minutes": "3 minutes", "hours": "20 minutes", "paper": "2 hours"},
    ),
    "ptloss/images": Reproduction(
        images,
        "Zhang et al. (2023): proxy teachers, on pictures in place of text",
        {"minutes": "3 minutes, 20 with --images", "hours": "6 hours", "paper": "days; a GPU"},
    ),
}
