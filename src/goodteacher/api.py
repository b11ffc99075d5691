"""The library's own calls: a study with one arm is a study too."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from goodteacher.base.errors import ConfigError, TrainingError
from goodteacher.data.problem import Problem
from goodteacher.data.sources import load
from goodteacher.diagnose.ranking import Candidate, Ranked, rank_candidates
from goodteacher.diagnose.results import Results
from goodteacher.models.custom import hand_over
from goodteacher.report.page import write_page
from goodteacher.report.progress import follow
from goodteacher.study.execute import Summary, execute, facts_of
from goodteacher.study.plan import Plan, plan_study
from goodteacher.study.run import Run
from goodteacher.study.spec import Named, StudySpec, parse_study
from goodteacher.study.store import Store
from goodteacher.train.infer import predict

DEFAULT_OUT = "goodteacher-runs"


def pick_device(device: str = "auto") -> str:
    """Return the device to train on: ``auto`` is an accelerator where there is one.

    Raises:
        ConfigError: if the device asked for is not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.split(":", maxsplit=1)[0]
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise ConfigError("device", rule="must be auto, cpu or an accelerator that is here", received=repr(device))
    return device


@dataclass(frozen=True)
class Finished:
    """An executed study: its plan, what was done, and where it lies."""

    plan: Plan
    summary: Summary
    folder: Path

    @property
    def results(self) -> Results:
        """Tables and statistics of the study."""
        return Results(self.folder)


def load_problem(study: StudySpec) -> Problem:
    """Load the problem a study names."""
    options = dict(study.problem)
    return load(options.pop("name"), **options)


def finished_teachers(study: StudySpec, store: Store) -> dict[str, Mapping[str, Any]]:
    """Return the specs of the finished runs that a study names as teachers.

    Raises:
        StoreError: if one is not finished.
    """
    return {arm.run: store.run(arm.run).spec for arm in study.teachers.values() if arm.run is not None}


def run_study(
    study: StudySpec | Mapping[str, Any],
    problem: Problem | None = None,
    *,
    out: str | Path = DEFAULT_OUT,
    device: str = "auto",
    engine: str = "local",
    workers: int = 2,
    page: bool = True,
    console: Console | None = None,
    quiet: bool = False,
) -> Finished:
    """Run a study: plan it, train what is not finished, write its page.

    Args:
        study: a `StudySpec`, or a mapping of the same shape as a study file.
        problem: the data; loaded by the study's own words if not given.
        out: folder of the store.
        device: ``auto``, ``cpu`` or ``cuda``.
        engine: ``local``, ``processes`` or ``ray``.
        workers: of the engines that have any.
        page: whether to write ``report.html``.
        console: where progress is shown.
        quiet: show alarms and failures only.

    Returns:
        What was done; ``.results`` has the tables.

    Raises:
        ConfigError: for a mistake in the study, before anything trains.
    """
    spec = study if isinstance(study, StudySpec) else parse_study(study)
    data = problem if problem is not None else load_problem(spec)
    store = Store(out)
    plan = plan_study(spec, facts_of(data), finished_teachers(spec, store))
    news = execute(plan, data, store, device=pick_device(device), engine=engine, workers=workers)
    summary = follow(news, console or Console(stderr=True), quiet=quiet)
    finished = Finished(plan, summary, store.study_folder(spec.name))
    if page and len(summary.failed) < len(plan.runs):
        write_page(finished.results)
    return finished


def teach(
    model: Named | nn.Module,
    problem: Problem,
    *,
    objective: Named = "cross_entropy",
    keep: str = "last",
    seed: int = 0,
    out: str | Path = DEFAULT_OUT,
    device: str = "auto",
    quiet: bool = True,
    **recipe: Any,
) -> Run:
    """Train a teacher, or return the finished run of the same description.

    Args:
        model: a name of the table, ``{name: options}``, ``module:function``, or a network to start from.
        problem: the data.
        objective: what to minimise, a name or ``{name: options}``.
        keep: checkpoint rule, on validation.
        seed: of everything random.
        out: folder of the store.
        device: ``auto``, ``cpu`` or ``cuda``.
        quiet: show alarms and failures only.
        recipe: fields of `Recipe`: ``epochs``, ``lr``, ...

    Returns:
        The run; ``run.model`` is the network.

    Raises:
        ConfigError: for a mistake, before anything trains.
        TrainingError: if training failed.

    Example:
        >>> import tempfile, goodteacher as gt
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = gt.teach("mlp", gt.load("digits"), objective="brier", epochs=1, out=folder)
        ...     type(run.model).__name__
        'MLP'
    """
    arm = {"model": _named(model), "objective": objective, "keep": keep}
    spec = _spec(problem, recipe, seed, teachers={"teacher": arm})
    return _only_run(spec, problem, out, device, quiet)


def distill(
    student: Named | nn.Module,
    problem: Problem,
    teacher: Run | None,
    *,
    method: Named = "kd",
    map: Named | None = None,  # noqa: A002 - the field's word, as in a study file
    keep: str = "last",
    seed: int = 0,
    out: str | Path = DEFAULT_OUT,
    device: str = "auto",
    quiet: bool = True,
    **recipe: Any,
) -> Run:
    """Train a student from a teacher, or return the finished run of the same description.

    Args:
        student: as ``model`` of `teach`.
        problem: the data.
        teacher: a run from `teach`; None with ``method="none"``.
        method: what to minimise given the teacher: a name, a sum such as ``"dkd + at"``, or ``{name: options}``.
        map: target map around the teacher, fitted on validation.
        keep: checkpoint rule, on validation.
        seed: of everything random.
        out: folder of the store.
        device: ``auto``, ``cpu`` or ``cuda``.
        quiet: show alarms and failures only.
        recipe: fields of `Recipe`.

    Returns:
        The run; ``run.model`` is a plain `torch.nn.Module`.

    Raises:
        ConfigError: for a mistake, before anything trains.
        TrainingError: if training failed.
    """
    teachers: dict[str, Any] = {}
    if teacher is not None:
        adopt(teacher, Store(out))
        teachers["teacher"] = {"run": teacher.id, "map": map}
    arm = {"model": _named(student), "method": method, "keep": keep}
    spec = _spec(problem, recipe, seed, teachers=teachers, students={"student": arm})
    return _only_run(spec, problem, out, device, quiet)


def rank(
    teachers: Sequence[Run] | Mapping[str, Run | Sequence[Run]],
    problem: Problem | None = None,
    *,
    by: str = "calibrated_brier",
    device: str = "auto",
) -> list[Ranked]:
    """Order candidate teachers by a held-out score, before any student is trained.

    Args:
        teachers: runs; or names to runs, where several runs under a name are seeds of one candidate.
        problem: score on its validation split; by default on the outputs saved with each run.
        by: a predictor, see `goodteacher.diagnose.ranking.PREDICTORS`.
        device: for outputs that have to be computed.

    Returns:
        Best first, with paired intervals of the difference to the best.

    Raises:
        ConfigError: if the candidates were not scored on the same examples.
    """
    if isinstance(teachers, Mapping):
        groups = {name: [runs] if isinstance(runs, Run) else list(runs) for name, runs in teachers.items()}
    else:
        groups = {candidate_name(run): [run] for run in teachers}
    candidates = []
    for name, runs in groups.items():
        if problem is None or all(r.spec["problem"] == problem.fingerprint for r in runs):
            logits, labels = tuple(r.outputs("validation") for r in runs), runs[0].targets["validation.labels"]
        else:
            place = pick_device(device)
            logits = tuple(predict(r.model.to(place), problem, "validation", device=place) for r in runs)
            labels = problem.validation.labels
        candidates.append(Candidate(name, logits, labels))
    return rank_candidates(candidates, by=by)


def candidate_name(run: Run) -> str:
    """Return a short name of a run for a ranking."""
    loss = " + ".join(run.spec["loss"])
    keep = "" if run.spec["keep"] == "last" else f", {run.spec['keep']}"
    return f"{next(iter(run.spec['model']))} {loss}{keep} [{run.id[:8]}]"


def adopt(run: Run, store: Store) -> None:
    """Copy a run, and what is known of its problem, from another store into this one."""
    source, target = run.path.parent.parent, store.root
    if source.resolve() == target.resolve():
        return
    problem = run.spec["problem"]
    for part in (Path("runs") / run.id, Path("problems") / problem):
        if not (target / part).exists():
            shutil.copytree(source / part, target / part)


def _named(model: Named | nn.Module) -> Named:
    return hand_over(model) if isinstance(model, nn.Module) else model


def _spec(problem: Problem, recipe: dict[str, Any], seed: int, **arms: dict[str, Any]) -> StudySpec:
    name = f"single-{problem.name}".replace(" ", "-")
    return parse_study({"name": name, "problem": {"name": problem.name}, "recipe": recipe, "seeds": [seed], **arms}, "")


def _only_run(spec: StudySpec, problem: Problem, out: str | Path, device: str, quiet: bool) -> Run:
    finished = run_study(spec, problem, out=out, device=device, page=False, quiet=quiet)
    (run,) = finished.plan.runs
    if run in finished.summary.failed:
        raise TrainingError("training", rule="failed", received=finished.summary.failed[run])
    return Store(out).run(run)
