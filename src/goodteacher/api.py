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
from goodteacher.base.file_names import told_apart
from goodteacher.data.problem import Problem
from goodteacher.data.sources import load
from goodteacher.diagnose.candidates import candidate_name, candidates
from goodteacher.diagnose.ranking import DEFAULT, Ranked, rank_candidates
from goodteacher.diagnose.results import Results
from goodteacher.models.custom import hand_over
from goodteacher.report.page import write_page
from goodteacher.report.progress import shown
from goodteacher.report.tracking import tracked
from goodteacher.study.execute import Summary, execute
from goodteacher.study.footprint import measure_footprint
from goodteacher.study.import_weights import Teacher
from goodteacher.study.kept_networks import keep_networks, network_files, recall_network
from goodteacher.study.plan import plan_study
from goodteacher.study.planned import Given, Plan
from goodteacher.study.run import Run
from goodteacher.study.seen import seen_notes
from goodteacher.study.spec import Named, StudySpec, parse_study
from goodteacher.study.store import Store

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


def finished_teachers(study: StudySpec, store: Store) -> tuple[StudySpec, dict[str, Given]]:
    """Return a study that names finished runs by their whole ids, and those runs.

    Raises:
        StoreError: if one is not finished.
    """
    arms, given = {}, {}
    for name, arm in study.teachers.items():
        full: dict[str, Any] = {}
        for key, run in (("run", arm.run), ("start", arm.start)):
            if run is not None and (key == "run" or run not in study.teachers):
                found = store.run(run)
                recall_network(found.spec.model_name, found.spec.input_shape(found.facts), store.root)
                full[key], given[found.id] = found.id, Given(found.spec, found.facts)
        arms[name] = arm.model_copy(update=full)
    return study.model_copy(update={"teachers": arms}), given


def run_study(
    study: StudySpec | Mapping[str, Any],
    problem: Problem | None = None,
    *,
    out: str | Path = DEFAULT_OUT,
    device: str = "auto",
    engine: str = "local",
    workers: int = 2,
    page: bool = False,
    console: Console | None = None,
    quiet: bool | None = None,
    track: Sequence[str] = (),
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
        console: where progress is shown; standard error if none is given.
        quiet: show alarms and failures only; by default unless a console is given.
        track: trackers that are told of every epoch: ``tensorboard``, ``mlflow``, ``wandb``; none by default.

    Returns:
        What was done; ``.results`` has the tables.

    Raises:
        ConfigError: for a mistake in the study, before anything trains.
    """
    spec = study if isinstance(study, StudySpec) else parse_study(study)
    data = problem if problem is not None else load_problem(spec)
    store = Store(out)
    spec, given = finished_teachers(spec, store)
    # Said in the study itself, so that whoever reads its page without the data is told as well.
    said = seen_notes([store.run(run) for run in given], data)
    plan = plan_study(spec.model_copy(update={"notes": (*spec.notes, *said)}), data.facts, given)
    place = pick_device(device)
    silent = console is None if quiet is None else quiet
    screen = console or Console(stderr=True)
    with shown(screen, quiet=silent) as shout, tracked(track, spec.name, store.root, shout) as tell:
        keep_networks(plan, store.root, tell)
        summary = execute(plan, data, store, device=place, engine=engine, workers=workers, tell=tell)
    finished = Finished(plan, summary, store.study_folder(spec.name))
    if page and len(summary.failed) < len(plan.runs):
        _measure_costs(finished.results, screen)
        write_page(finished.results)
    return finished


def _measure_costs(results: Results, screen: Console) -> None:
    """Measure what a study's networks cost to run; one that cannot be run here leaves its place in the table empty."""
    for run in dict.fromkeys(results.cost_runs.values()):
        try:
            measure_footprint(results.run(run))
        except (
            Exception
        ) as error:  # whatever a network of somebody else's may raise: a finished study is not lost over a table
            said = f"  run {run}: what it costs to run is not known: {type(error).__name__}: {error}"
            screen.print(said, markup=False, highlight=False)


def teach(
    model: Named | nn.Module,
    problem: Problem,
    *,
    objective: Named = "cross_entropy",
    keep: str = "last",
    start: Run | None = None,
    seed: int = 0,
    out: str | Path = DEFAULT_OUT,
    device: str = "auto",
    quiet: bool = True,
    **recipe: Any,
) -> Run:
    """Train a teacher, or return the finished run of the same description.

    Teachers of several networks (snapshots, folds, ensembles) are arms of a study: see `run_study`.

    Args:
        model: a name of the table, ``{name: options}``, ``module:function``, or a network to start from.
        problem: the data.
        objective: what to minimise, a name or ``{name: options}``.
        keep: checkpoint rule, on validation.
        start: a finished run of the same model to train on from.
        seed: of everything random.
        out: folder of the store.
        device: ``auto``, ``cpu`` or ``cuda``.
        quiet: show alarms and failures only.
        recipe: fields of `Recipe`: ``epochs``, ``lr``, ``swa``, ``mixup``, ...

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
    if start is not None:
        adopt(start, Store(out))
    arm = {"model": _named(model), "objective": objective, "keep": keep, "start": start.id if start else None}
    spec = _spec(problem, recipe, seed, teachers={"teacher": arm})
    return _only_run(spec, problem, out, device, quiet)


def distill(
    student: Named | nn.Module,
    problem: Problem,
    teacher: Run | Teacher | Sequence[Run | Teacher] | None,
    *,
    method: Named = "kd",
    map: Named | None = None,  # noqa: A002 - the field's word, as in a study file
    average: str = "probabilities",
    weights: str = "equal",
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
        teacher: a run from `teach`; several, whose mean teaches; None with ``method="none"``.
        method: what to minimise given the teacher: a name, a sum such as ``"dkd + at"``, or ``{name: options}``.
        map: target map around the teacher, fitted on validation.
        average: of several teachers' ``probabilities`` or ``logits``.
        weights: of several teachers: ``equal``, or fitted on ``validation``.
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
    taught_by: tuple[str, ...] = ()
    if teacher is not None:
        given = [teacher] if isinstance(teacher, Run | Teacher) else list(teacher)
        runs = [
            who if isinstance(who, Run) else who.register(problem, out, device=pick_device(device)) for who in given
        ]
        for run in runs:
            adopt(run, Store(out))
        teachers = {f"teacher{i + 1}": {"run": run.id} for i, run in enumerate(runs)}
        if len(runs) == 1:
            teachers = {"teacher": {**teachers["teacher1"], "map": map}}
        else:
            joined = {"of": list(teachers), "average": average, "weights": weights}
            teachers["teacher"] = {"ensemble": joined, "map": map}
        taught_by = ("teacher",)
    arm = {"model": _named(student), "method": method, "keep": keep, "taught_by": taught_by}
    spec = _spec(problem, recipe, seed, teachers=teachers, students={"student": arm})
    return _only_run(spec, problem, out, device, quiet)


def rank(
    teachers: Sequence[Run] | Mapping[str, Run | Sequence[Run]],
    problem: Problem | None = None,
    *,
    maps: Sequence[Named] = (),
    by: str = DEFAULT,
    device: str = "auto",
) -> list[Ranked]:
    """Order candidate teachers by a held-out score, before any student is trained.

    Args:
        teachers: runs; or names to runs, where several runs under a name are seeds of one candidate.
        problem: score on its validation split; by default on the outputs saved with each run.
        maps: target maps; each candidate is ranked with each of them too.
        by: a quantity of the scorecard, see `goodteacher.diagnose.scorecard.QUANTITIES`.
        device: for outputs that have to be computed.

    Returns:
        Best first, each with its whole scorecard and the paired interval of its difference to the best.

    Raises:
        ConfigError: if the candidates were not scored on the same examples.
    """
    if isinstance(teachers, Mapping):
        groups = {name: [runs] if isinstance(runs, Run) else list(runs) for name, runs in teachers.items()}
    else:
        groups = {candidate_name(run): [run] for run in teachers}
    return rank_candidates(candidates(groups, problem, maps=maps, device=pick_device(device)), by=by)


def adopt(run: Run, store: Store) -> None:
    """Copy a run, and what is known of its problem, from another store into this one."""
    source, target = run.path.parent.parent, store.root
    if source.resolve() == target.resolve():
        return
    problem = run.spec.problem
    for part in (Path("runs") / run.id, Path("problems") / problem):
        if not (target / part).exists():
            shutil.copytree(source / part, target / part)
    for file in network_files(run.spec.model_name, run.spec.input_shape(run.facts), source):
        if file.exists():
            (target / "networks").mkdir(exist_ok=True)
            shutil.copyfile(file, target / "networks" / file.name)


def _named(model: Named | nn.Module) -> Named:
    return hand_over(model) if isinstance(model, nn.Module) else model


def _spec(problem: Problem, recipe: dict[str, Any], seed: int, **arms: dict[str, Any]) -> StudySpec:
    name = f"single-{told_apart(problem.name, problem.facts.fingerprint)}"
    return parse_study({"name": name, "problem": {"name": problem.name}, "recipe": recipe, "seeds": [seed], **arms}, "")


def _only_run(spec: StudySpec, problem: Problem, out: str | Path, device: str, quiet: bool) -> Run:
    finished = run_study(spec, problem, out=out, device=device, quiet=quiet)
    plan, failed = finished.plan, finished.summary.failed
    # The plan may hold more than the run that was asked for: what a method prepares on the teacher first.
    (run,) = [cell.run for cell in plan.cells] or [run for who in plan.teachers.values() for run in who.runs]
    if run in failed:
        raise TrainingError("training", rule="failed", received=next(iter(failed.values())))
    return Store(out).run(run)
