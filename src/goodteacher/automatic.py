"""The teacher picked before any student: candidates trained, their checkpoints and target maps scored, one chosen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from goodteacher.api import DEFAULT_OUT, load_problem, run_study
from goodteacher.base.seeds import numpy_stream
from goodteacher.data.problem import Problem
from goodteacher.diagnose.cross_fitted import cross_fitted_map
from goodteacher.diagnose.ranking import DEFAULT, Candidate, Ranked, rank_candidates
from goodteacher.diagnose.results import Results
from goodteacher.diagnose.scorecard import QUANTITIES
from goodteacher.study.cost import estimate_cost
from goodteacher.study.names import named
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import Named, StudySpec, expanded_teachers, parse_study
from goodteacher.study.store import Store

# What is tried, in this order, as far as the budget goes; docs/predictors.md has how each taught.
OBJECTIVES_TRIED = (
    "cross_entropy",
    "brier",
    "label_smoothing",
    "soteacher",
    "confidence_penalty",
    "tolerant",
    "focal",
)
MAPS_TRIED = ("identity", "temperature", "vector_temperature", "pt_proxy")
# Checkpoints of each training that are candidates too, beside the last.
CHECKPOINTS = 5
RESAMPLES = 1000
# Candidates tied with the pick that a sentence names.
NAMED = 5


@dataclass(frozen=True)
class Choice:
    """A teacher picked before any student.

    Attributes:
        arm: its name in the study of candidates.
        map: its target map, by the cross-fitted Brier score.
        ranked: all candidates, best first.
        sure: share of resamples of validation examples in which the pick has the best score.
        maps: each map tried to the pick's Brier score with it, fitted and scored on different examples.
        study: the distillation's study, with the picked teacher in it.
        folder: of the candidates' study, whose results rank them.
    """

    arm: str
    map: str
    ranked: list[Ranked]
    sure: float
    maps: dict[str, float]
    study: dict[str, Any]
    folder: Path


def candidate_arms(models: Sequence[Named], budget: int, epochs: int) -> dict[str, dict[str, Any]]:
    """Return so many teacher arms, their checkpoints included: each objective in turn, on each model.

    Args:
        models: architectures to try.
        budget: trainings.
        epochs: of each.

    Returns:
        Arms by name; fewer than the budget if that is more than there is to try.

    Example:
        >>> list(candidate_arms(["resnet8"], 2, 60))
        ['cross_entropy', 'brier']
    """
    every = max(1, math.ceil(epochs / (CHECKPOINTS + 1)))
    arms = {}
    for objective, model in itertools.islice(itertools.product(OBJECTIVES_TRIED, models), budget):
        name = objective if len(models) == 1 else f"{objective}_{next(iter(named(model)))}".replace(":", "_")
        arms[name] = {"model": model, "objective": objective, "checkpoints": every}
    return arms


def choose_teacher(
    models: Named | Sequence[Named],
    study: Mapping[str, Any],
    problem: Problem | None = None,
    *,
    budget: int = 4,
    by: str = DEFAULT,
    out: str | Path = DEFAULT_OUT,
    device: str = "auto",
    engine: str = "local",
    workers: int = 2,
    page: bool = False,
    console: Console | None = None,
    quiet: bool | None = None,
    track: Sequence[str] = (),
) -> Choice:
    """Train candidate teachers, and pick one with its checkpoint and its target map from validation alone.

    Two questions are asked in turn. Which network: by the score that predicts students best. Which map around it: by its
    Brier score under each map, fitted and scored on different examples.

    Args:
        models: the teachers' architecture, or several to choose among.
        study: of the distillation, without teachers, as in a study file.
        problem: the data; loaded by the study's own words if not given.
        budget: teachers to train.
        by: a quantity of the scorecard.
        out: folder of the store.
        device: as in `run_study`.
        engine: as in `run_study`.
        workers: as in `run_study`.
        page: whether to write the page of the candidates' study.
        console: as in `run_study`.
        quiet: as in `run_study`.
        track: as in `run_study`.

    Returns:
        The choice; ``run_study(choice.study)`` distils.

    Raises:
        ConfigError: for a mistake, before anything trains.
    """
    given = [models] if isinstance(models, str | dict) else list(models)
    plain = {key: value for key, value in study.items() if key not in ("students", "teachers")}
    epochs = parse_study({**plain, "teachers": {"x": {"model": given[0]}}}).recipe.epochs
    arms = candidate_arms(given, budget, epochs)
    candidates = parse_study({**plain, "name": f"candidates-{study.get('name', 'study')}", "teachers": arms})
    data = problem if problem is not None else load_problem(candidates)
    finished = run_study(
        candidates, data, out=out, device=device, engine=engine, workers=workers, page=page, console=console,
        quiet=quiet, track=track,
    )  # fmt: skip
    results = finished.results
    ranked = rank_candidates(results.candidates, by=by)
    pick = ranked[0].name
    maps = map_scores(results, pick)
    best_map = min(maps, key=lambda name: maps[name])
    arm = expanded_teachers(candidates.teachers, candidates.recipe)[pick].model_dump(mode="json", exclude_unset=True)
    sure = how_sure(results.candidates, by)[pick]
    distillation = {**study, "teachers": {"picked": {**arm, "checkpoints": None, "map": best_map}}}
    choice = Choice(pick, best_map, ranked, sure, maps, distillation, finished.folder)
    notes = [
        *study.get("notes", ()),
        *_notes(choice, len(arms), by),
        _cost(candidates, study, data, Store(out), device),
    ]
    distillation["notes"] = notes
    return choice


def map_scores(results: Results, arm: str) -> dict[str, float]:
    """Return an arm's mean Brier score under each map tried, fitted and scored on different validation examples."""
    labels = results.targets["validation.labels"]
    tables = [results.answers[arm, seed].plain("validation") for seed in results.teachings[arm]]
    return {
        name: float(np.mean([float(cross_fitted_map(name, z, labels)[0].mean()) for z in tables]))
        for name in MAPS_TRIED
    }


def how_sure(candidates: Sequence[Candidate], by: str) -> dict[str, float]:
    """Return, for each candidate, the share of resamples of the validation examples in which it has the best score.

    Candidates that tie share a resample. NaN for all where the quantity is not a mean over examples of validation.
    """
    quantity = QUANTITIES[by]
    rows = []
    for candidate in candidates:
        values = [quantity.of(known) for known in candidate.known()]
        tables = [v for v in values if isinstance(v, Tensor) and len(v) == len(candidate.labels)]
        if len(tables) < len(values):
            return {c.name: math.nan for c in candidates}
        rows.append(quantity.sign * torch.stack(tables).double().mean(dim=0))
    scores = torch.stack(rows).numpy()
    n = scores.shape[1]
    draws = numpy_stream(0, "how sure").multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    totals = (scores @ draws.T).round(9)
    best = totals == totals.max(axis=0)
    shares = (best / best.sum(axis=0)).mean(axis=1)
    return {c.name: float(share) for c, share in zip(candidates, shares, strict=True)}


def _notes(choice: Choice, trainings: int, by: str) -> list[str]:
    best = choice.ranked[0]
    tied = [r.name for r in choice.ranked[1:] if r.tied]
    named = ", ".join(tied[:NAMED]) + (f" and {len(tied) - NAMED} more" if len(tied) > NAMED else "")
    several = f"; not to be told apart from it: {named}" if tied else "; ahead of every other candidate"
    maps = ", ".join(f"{name} {value:.4f}" for name, value in sorted(choice.maps.items(), key=lambda item: item[1]))
    return [
        f"The teacher was picked before any student: {len(choice.ranked)} candidates from {trainings} trainings, by {by} on "
        f"{best.examples} validation examples (n = {best.seeds} networks each): {choice.arm}{several}. In {choice.sure:.0%} of "
        f"{RESAMPLES} resamples of those examples it is the best.",
        f"Its target map by cross-fitted Brier score, lower is better: {maps}.",
    ]


def _cost(candidates: StudySpec, study: Mapping[str, Any], problem: Problem, store: Store, device: str) -> str:
    """Say what distilling from every candidate would have cost, beside what the pick costs."""
    every = parse_study({
        **study, "teachers": {k: v.model_dump(exclude_unset=True) for k, v in candidates.teachers.items()}, "name": "x"
    })  # fmt: skip
    plan = plan_study(every, problem.facts)
    count = len({c.teacher for c in plan.cells if c.teacher})
    cost = estimate_cost(plan, problem, store, "cpu" if device == "auto" else device)
    return (
        f"Distilling from all {count} candidates instead would have been {cost.runs} more trainings, about "
        f"{cost.seconds:.0f} seconds of one worker on this machine (within a factor of two)."
    )
