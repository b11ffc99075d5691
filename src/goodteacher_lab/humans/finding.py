"""Scores on labels against distances to people: published networks, and our own teachers with their students."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from goodteacher.base.errors import ConfigError
from goodteacher.base.stats import Estimate, spearman
from goodteacher.diagnose.results import Results
from goodteacher.report.charts import chart, free, points, spec
from goodteacher.report.tables import Grid, correlation, each, grid, percent
from goodteacher_lab import reading
from goodteacher_lab.claims import claim_of
from goodteacher_lab.humans import networks
from goodteacher_lab.humans.study import people_study
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.judging import correlation_difference
from goodteacher_lab.sizes import size_of

PARTS = ("published", "teachers")
NEARNESS = {"mse": "MSE to people", "kl": "KL to people", "brier": "Brier to labels", "nll": "NLL to labels"}


@dataclass(frozen=True)
class Part:
    """What one part found: its verdict, departures, tables, charts and data, as in `Finding`."""

    verdict: str
    said: tuple[str, ...]
    grids: tuple[Grid, ...]
    charts: Mapping[str, str]
    data: Mapping[str, Any]


def arm_table(results: Results, epochs: int) -> pd.DataFrame:
    """Return one row per teacher arm and seed: factors, scores on labels, distances to people on test, student accuracy."""
    rows = []
    for name in results.study.teachers:
        head, _, epoch = name.partition("_epoch")
        objective, title = head.rsplit("-", 1)
        test = reading.held_out(results, name)
        taught = reading.values(results, "taught", name)
        validation = {f"validation {q}": v for q, v in reading.held_out(results, name, "validation").items()}
        for seed in sorted(taught):
            factors = {"arm": name, "objective": objective, "epoch": int(epoch or epochs), "map": title, "seed": seed}
            scores = {q: v[seed] for q, v in {**test, **validation}.items() if seed in v}
            rows.append({**factors, **scores, "student": taught[seed]})
    return pd.DataFrame(rows)


def predicts(frame: pd.DataFrame) -> dict[str, Estimate]:
    """Return how each kind of nearness ranks the students: Spearman over teacher arms, positive where nearer is better."""
    means = frame.drop(columns=["objective", "epoch", "map", "seed"]).groupby("arm", sort=False).mean()
    trainings = trainings_of(frame)
    level = means["student"].round(12).tolist()  # what is tied on paper stays tied
    found = {}
    for place, prefix in (("test", ""), ("validation", "validation ")):
        for q, title in {**NEARNESS, "accuracy": "accuracy"}.items():
            if prefix + q in means:
                sign = 1 if q == "accuracy" else -1
                found[f"{title}, {place}"] = spearman((sign * means[prefix + q]).tolist(), level, groups=trainings)
    return found


def trainings_of(frame: pd.DataFrame) -> list[str]:
    """Return each arm's training: its checkpoints and maps share one for an objective."""
    return [str(objective) for objective in frame.groupby("arm", sort=False)["objective"].first()]


def advantage(frame: pd.DataFrame, a: str, b: str) -> Estimate:
    """Return how much better ``a`` ranks the students than ``b``: the difference of Spearman's correlations over teacher arms.

    Args:
        frame: of `arm_table`.
        a: a column in which less is nearer.
        b: another.

    Returns:
        The difference, with a 95% bootstrap interval over trainings; without one for fewer than 4.
    """
    means = frame[["arm", a, b, "student"]].groupby("arm", sort=False).mean()
    near, other, student = (np.asarray(v) for v in (-means[a], -means[b], means["student"].round(12)))
    return correlation_difference(other, near, student, groups=trainings_of(frame))


# What varies, its level, and means of the level by quantity and seed.
Level = tuple[str, str, dict[str, dict[int, float]]]


def factor_grid(frame: pd.DataFrame) -> Grid:
    """Return each objective, stopping epoch and map, averaged over the other two."""
    shown = [q for q in NEARNESS if q in frame]
    levels: list[Level] = []
    for factor in ("objective", "epoch", "map"):
        for level, part in frame.groupby(factor, sort=False):
            means = part.groupby("seed")[[*shown, "student"]].mean()
            levels.append((factor, str(level), {str(q): dict(enumerate(map(float, means[q]))) for q in means}))
    columns: dict[str, Callable[[Level], str]] = {
        "what varies": lambda row: row[0],
        "level": lambda row: row[1],
        **each({NEARNESS[q]: q for q in shown}, lambda row, q: reading.decimal(row[2][q], 4)),
        "student accuracy %": lambda row: percent(reading.spread(row[2]["student"])),
        "n": lambda row: str(len(row[2]["student"])),
    }
    note = (
        "Means over all teachers of that level, on test; ± half a 95% t interval over seeds. MSE without the votes' own scatter. "
        "raw: as trained; calibrated: at the temperature of least Brier score on validation; T4: at T = 4."
    )
    return grid("Which objective, stopping time and map come nearest to people", levels, columns, note)


def nearest_grid(frame: pd.DataFrame, most: int = 10) -> Grid:
    """Return the teacher arms nearest to people, with their places by labels."""
    means = frame.drop(columns=["objective", "map"]).groupby("arm", sort=False).mean()
    means["place"] = means["brier"].rank()
    headings = {"MSE to people": "mse", "KL to people": "kl", "Brier to labels": "brier"}
    columns: dict[str, Callable[[tuple[Any, pd.Series]], str]] = {
        "teacher": lambda row: str(row[0]),
        **each(headings, lambda row, q: f"{row[1][q]:.4f}"),
        "place by Brier": lambda row: f"{row[1]['place']:.0f}",
        "student accuracy %": lambda row: f"{100 * row[1]['student']:.2f}",
    }
    title = f"The teachers nearest to people, of {len(means)} (n = {frame['seed'].nunique()} seeds)"
    return grid(title, means.sort_values("mse").head(most).iterrows(), columns, "Means over seeds, on test.")


def teacher_chart(frame: pd.DataFrame) -> str:
    """Return student accuracy against the teacher's squared distance to people, one point per arm."""
    means = frame.groupby(["arm", "objective", "map", "epoch"], sort=False)[["mse", "student"]].mean().reset_index()
    means["student"] *= 100
    x, y = free("mse", "squared distance of the teacher to people"), free("student", "student accuracy %")
    dots = points(x, y, color="map:N", shape="objective:N", tooltip=["arm", "mse", "student"])
    return spec(chart(means, dots, size=(420, 280)))


def teacher_part(job: Job) -> Part:
    """Train teachers and students on voted pictures, and judge the teachers by people and by labels.

    Raises:
        ConfigError: if no pictures are given, or they have no votes on test.
    """
    if job.images is None:
        raise ConfigError("--images", rule="must say where pictures with votes are", received="nothing")
    size = size_of(job, "humans")
    words, problem = reading.problem_of(job, size.per_class)
    votes = problem.test.votes
    if votes is None or float(votes.sum(dim=1).min()) < 2:
        raise ConfigError("--images", rule="must have two votes or more for each test picture", received=job.images)
    study = people_study(size, words)
    job.say(f"humans: {len(study.known_arms)} teachers, {len(study.seed_list)} seeds")
    frame = arm_table(job.run(study, problem), study.recipe.epochs)
    found = predicts(frame)
    gain = {q: advantage(frame, *q) for q in (("mse", "brier"), ("kl", "nll"))}
    rows = {**found, **{f"{NEARNESS[a]} less {NEARNESS[b]}, test": e for (a, b), e in gain.items()}}
    note = (
        "Spearman's correlation with student accuracy on test over teacher arms [95% bootstrap interval over trainings]; "
        "positive: the nearer, the better the student. On test, labels share their pictures with the students' accuracy; "
        "validation shares none, and may have few votes a picture. The last rows: differences of two correlations."
    )
    title = "Does nearness to people predict students better than nearness to labels?"
    judge = networks.correlation_grid(title, rows, ("nearness", "n arms"), note)
    data = {
        "arms": frame.to_dict(orient="list"),
        "predicts": {title: [e.mean, e.low, e.high] for title, e in found.items()},
        "advantage": {f"{a} - {b}": [e.mean, e.low, e.high] for (a, b), e in gain.items()},
    }
    said = (
        f"Our own teachers: {size.teacher} -> {size.student}, {study.recipe.epochs} epochs at a constant rate, "
        f"{len(study.seed_list)} seeds; students learn from the mapped answers alone at T = 1.",
        *reading.problem_departures(job, problem),
    )
    return Part(
        _teacher_verdict(frame, found, gain),
        said,
        (factor_grid(frame), nearest_grid(frame), judge),
        {"teachers": teacher_chart(frame)},
        data,
    )


def _teacher_verdict(
    frame: pd.DataFrame, found: Mapping[str, Estimate], gain: Mapping[tuple[str, str], Estimate]
) -> str:
    means = frame.groupby("arm", sort=False)[["mse", "brier"]].mean()
    best = {f: frame.groupby(f, sort=False)["mse"].mean().idxmin() for f in ("objective", "epoch", "map")}
    agree = spearman(means["brier"].tolist(), means["mse"].tolist(), groups=trainings_of(frame))
    by_people, by_labels = gain["mse", "brier"], found["Brier to labels, test"]
    told = "their interval excludes zero" if by_people.excludes_zero else "not told apart"
    trainings = len(set(trainings_of(frame)))
    return (
        f"Our own teachers are {len(means)} arms of {trainings} trainings a seed, {frame['seed'].nunique()} seeds. Least mean "
        f"squared distance to people: {means['mse'].idxmin()}; least Brier score on labels: {means['brier'].idxmin()}; on "
        f"average over the rest least distance: {best['objective']}, stopping at epoch {best['epoch']}, and the map "
        f"{best['map']} (means with their intervals in the table; no pair of them is tested). Brier on labels orders the arms as "
        f"squared distance to people does: {correlation(agree)}. Student accuracy follows squared distance to "
        f"people with {correlation(found['MSE to people, test'])} and Brier on labels with "
        f"{correlation(by_labels)}: a difference of {correlation(by_people)} ({told})."
    )


def network_part(job: Job) -> Part:
    """Judge the published networks in the job's folder."""
    rows, pictures = networks.published_networks(job.root)
    found = networks.agreement(rows)
    brier, nll, error = (
        found[f"{a} ~ {b} to humans, raw"] for a, b in (("brier", "mse"), ("nll", "kl"), ("error", "mse"))
    )
    verdict = (
        f"{len(rows)} published networks, {pictures} pictures: held-out Brier orders them as their squared distance to people "
        f"does with Spearman {correlation(brier)}, error with {correlation(error)}; NLL follows "
        f"KL to people with {correlation(nll)}."
    )
    data = {
        "networks": rows,
        "agreement": {name: {"spearman": e.mean, "low": e.low, "high": e.high, "n": e.n} for name, e in found.items()},
        "pictures": pictures,
    }
    said = ("Published networks answer for the original pixels; only labels and votes are read from cifar10.npz.",)
    grids = networks.network_grids(rows, found, pictures)
    return Part(verdict, said, grids, {"published networks": networks.network_chart(rows)}, data)


def humans(job: Job) -> Finding:
    """Hold the theory against people: published networks where their answers are at hand, our own teachers on voted pictures.

    Raises:
        ConfigError: if there is nothing to judge, or a part that was asked for lacks its data.
    """
    asked = job.choices.get("part", ())
    parts, left_out = [], []
    missing = [name for name in (networks.VOTED, networks.LOGITS) if not (job.root / name).is_file()]
    if "published" in asked or (not asked and not missing):
        parts.append(network_part(job))
    else:
        why = f"no {' and no '.join(missing)} in {job.root}" if missing else "not asked for"
        left_out.append(f"Published networks are left out: {why}.")
    if "teachers" in asked or (not asked and job.images is not None):
        parts.append(teacher_part(job))
    else:
        why = "not asked for" if asked else "--images names no pictures with votes"
        left_out.append(f"Our own teachers are left out: {why}.")
    if not parts:
        raise ConfigError(
            "reproduce humans",
            rule=f"needs {networks.VOTED} and {networks.LOGITS} in --root, or --images",
            received=f"neither in {job.root}",
        )
    return Finding(
        "humans",
        claim_of("humans").text,
        " ".join(part.verdict for part in parts),
        (*left_out, *(line for part in parts for line in part.said)),
        tuple(grid for part in parts for grid in part.grids),
        {name: chart for part in parts for name, chart in part.charts.items()},
        {key: value for part in parts for key, value in part.data.items()},
    )
