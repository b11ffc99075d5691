"""Train one cohort of planned runs: the composition root, where tables meet the loop."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from goodteacher.base.compose import Setting, build_parts, join
from goodteacher.base.errors import StoreError
from goodteacher.base.seeds import seeded
from goodteacher.base.types import FrozenTeacher, Loss
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.distill.labels import HardLabels
from goodteacher.distill.table import METHODS
from goodteacher.models.table import build_model
from goodteacher.study.machine import environment
from goodteacher.study.plan import RunSpec, Teaching
from goodteacher.study.store import Store
from goodteacher.teachers.table import OBJECTIVES
from goodteacher.teachers.targets import parse_map
from goodteacher.train.config import Recipe
from goodteacher.train.frozen import MappedTeacher, NetworkTeacher, TableTeacher
from goodteacher.train.infer import predict
from goodteacher.train.learner import Learner
from goodteacher.train.loop import fit
from goodteacher.train.precision import Precision, choose_precision, lay_out
from goodteacher.train.records import read_json, write_json


@dataclass(frozen=True)
class News:
    """What an execution says while it runs.

    Attributes:
        kind: ``steps`` (``done`` of ``total`` in ``label``), ``line`` (text worth a line), ``alarm`` (text worth shouting),
            ``finished`` or ``failed`` (run ids in ``runs``, the reason in ``text``).
    """

    kind: str
    label: str = ""
    text: str = ""
    done: int = 0
    total: int = 0
    runs: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What became of a cohort's runs: finished ids, and failed ids with the reason."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def train_cohort(
    specs: Sequence[RunSpec], labels: dict[str, str], problem: Problem, store: Store, device: str
) -> Generator[News, None, Outcome]:
    """Train runs that share their batches, and add them to the store.

    Runs that differ in nothing but the checkpoint they keep are one training. A checkpoint is picked up where there is one.

    Args:
        specs: with the same problem, seed, epochs, batch size and augmentation, and at the same step.
        labels: run id to a name for people.
        problem: the data.
        store: where teachers come from and runs go to.
        device: to train on.

    Yields:
        News.

    Returns:
        What became of them.
    """
    trainings: dict[str, list[RunSpec]] = {}
    for spec in specs:
        trainings.setdefault(spec.training_id, []).append(spec)
    with store.claim(list(trainings)), torch.random.fork_rng(devices=[]):
        learners, loader = _build(trainings, labels, problem, store, device)
        return (yield from _train(trainings, learners, loader, labels, problem, store))


def _build(
    trainings: dict[str, list[RunSpec]], labels: dict[str, str], problem: Problem, store: Store, device: str
) -> tuple[dict[str, Learner], Loader]:
    first = next(iter(trainings.values()))[0]
    recipe = Recipe.model_validate(first.recipe)
    losses: dict[str, Loss] = {}
    teachers: dict[Any, FrozenTeacher] = {}
    learners: dict[str, Learner] = {}
    plain = Loader(problem, batch_size=recipe.batch_size, seed=first.seed, augmentation=recipe.augment, device=device)
    sample = plain.batch(0).inputs
    for training, specs in trainings.items():
        spec = specs[0]
        ((name, options),) = spec.model.items()
        with seeded(spec.seed, "init"):
            model = build_model(name, classes=problem.classes, input_shape=problem.input_shape, **options)
        with seeded(spec.seed, "method"):
            losses[training] = _loss(spec, model, problem)
        own = Recipe.model_validate(spec.recipe)
        learner = Learner(
            labels[spec.id],
            model,
            losses[training],
            own,
            seed=spec.seed,
            keeps=tuple(s.keep for s in specs),
            teacher=_teacher(spec.teaching, problem, store, device, teachers) if spec.teaching else None,
            precision=_precision(store, spec, own, model, sample),
            folder=store.training_folder(training),
            device=device,
        )
        learner.resume()
        learners[training] = learner
    views = frozenset[str]().union(*(loss.needs.views for loss in losses.values()))
    loader = Loader(
        problem, batch_size=recipe.batch_size, seed=first.seed, augmentation=recipe.augment, views=views, device=device
    )
    return learners, loader


def _loss(spec: RunSpec, model: nn.Module, problem: Problem) -> Loss:
    setting = Setting(classes=problem.classes, examples=len(problem.train), student=model)
    table = OBJECTIVES if spec.kind == "teacher" else METHODS
    parts = {name: dict(options) for name, options in spec.loss.items()}
    if list(parts) == ["none"] and spec.kind == "student":
        return HardLabels(spec.gamma)
    losses = build_parts(parts, table, setting)
    return join([HardLabels(spec.gamma), *losses] if spec.gamma > 0 else losses)


def _teacher(
    teaching: Teaching, problem: Problem, store: Store, device: str, known: dict[Any, FrozenTeacher]
) -> FrozenTeacher:
    """Return the frozen teacher; learners with the same teacher get the same object, so that it runs once a batch."""
    base_key = ("base", teaching.run, teaching.table)
    if base_key not in known:
        if teaching.table is not None:
            split = problem.train
            rows = split.truth if teaching.table == "truth" else split.votes
            assert rows is not None, "the plan checks that the table exists"
            known[base_key] = TableTeacher(rows / rows.sum(dim=1, keepdim=True), device)
        else:
            assert teaching.run is not None
            run = store.run(teaching.run)
            known[base_key] = NetworkTeacher(run.model.to(device), precision=run.result["precision"])
    base = known[base_key]
    if list(teaching.target_map) == ["identity"]:
        return base
    key = (base_key, repr(teaching.target_map))
    if key not in known:
        if teaching.run is None:
            fitted = parse_map(teaching.target_map).fit(*_table_validation(teaching, problem))
        else:
            fitted = store.run(teaching.run).target_map(teaching.target_map)
        known[key] = MappedTeacher(base, fitted)
    return known[key]


def _table_validation(teaching: Teaching, problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    rows = problem.validation.truth if teaching.table == "truth" else problem.validation.votes
    assert rows is not None, "the plan checks that the table exists"
    return (rows.float().clamp_min(1e-30) / rows.sum(dim=1, keepdim=True)).log(), problem.validation.labels


def _precision(store: Store, spec: RunSpec, recipe: Recipe, model: nn.Module, sample: torch.Tensor) -> Precision:
    """Return the recipe's precision; ``auto`` is decided once for a network and kept, so that all arms and seeds share it."""
    if recipe.precision != "auto":
        return recipe.precision
    path = store.root / "precision.json"
    key = f"{spec.model} {tuple(sample.shape)} {sample.device.type}"
    known = read_json(path) if path.exists() else {}
    if key not in known:
        choice, seconds = choose_precision(model.to(sample.device), sample)
        known = (read_json(path) if path.exists() else {}) | {key: {"precision": choice, "seconds_a_step": seconds}}
        write_json(path, known)
    precision: Precision = known[key]["precision"]
    return precision


def _train(
    trainings: dict[str, list[RunSpec]],
    learners: dict[str, Learner],
    loader: Loader,
    labels: dict[str, str],
    problem: Problem,
    store: Store,
) -> Generator[News, None, Outcome]:
    outcome = Outcome()
    by_name = {learner.name: training for training, learner in learners.items()}
    epochs = int(next(iter(trainings.values()))[0].recipe["epochs"])
    label = _cohort_label(list(learners.values()))
    yield News("line", label, _opening(list(learners.values()), loader, epochs))
    training = fit(list(learners.values()), loader, problem, epochs=epochs)
    said = 0.0
    while True:
        try:
            tick = next(training)
        except StopIteration as stop:
            survivors: list[Learner] = stop.value
            break
        for name, error in tick.failures.items():
            runs = tuple(s.id for s in trainings[by_name[name]])
            outcome.failed |= dict.fromkeys(runs, str(error))
            yield News("failed", name, str(error), runs=runs)
        for event in tick.events.values():
            if "alarm" in event:
                yield News("alarm", text=event["alarm"])
        now = time.monotonic()
        if tick.events or now - said > 0.2:
            said = now
            yield News("steps", label, _scores_line(tick.events), tick.step, tick.steps)
    for learner in survivors:
        ids = _add_runs(trainings[by_name[learner.name]], learner, problem, store)
        outcome.finished += ids
        yield News("finished", learner.name, runs=tuple(ids))
    for training_id in trainings:
        store.finish_training(training_id)
    return outcome


def _opening(learners: list[Learner], loader: Loader, epochs: int) -> str:
    resumed = f", resumed at step {learners[0].step}" if learners[0].step else ""
    names = ", ".join(x.name for x in learners[:4]) + (f" and {len(learners) - 4} more" if len(learners) > 4 else "")
    precision = "/".join(sorted({x.precision for x in learners}))
    return f"{names}: {epochs} epochs of {loader.steps_per_epoch} steps, {precision}{resumed}"


def _cohort_label(learners: list[Learner]) -> str:
    first = learners[0].name
    return first if len(learners) == 1 else f"{first} +{len(learners) - 1}"


def _scores_line(events: dict[str, dict[str, Any]]) -> str:
    scored = [event for event in events.values() if "validation" in event]
    if not scored:
        return ""
    accuracy = [event["validation"]["accuracy"] for event in scored]
    low, high = min(accuracy), max(accuracy)
    return f"validation accuracy {low:.1%}" + (f" to {high:.1%}" if len(scored) > 1 else "")


def _add_runs(specs: list[RunSpec], learner: Learner, problem: Problem, store: Store) -> list[str]:
    """Evaluate each kept checkpoint, and the last, on validation and test, once; add a run for each rule."""
    folder = store.training_folder(specs[0].training_id)
    last = _logits(learner.final_model, learner, problem)
    for spec in specs:
        kept = learner.kept.get(spec.keep)
        if kept is None:
            raise StoreError(f"run {labels_of(spec)}", rule="kept no checkpoint", received=spec.keep)
        outputs = {"kept": last}
        if kept.epoch != int(spec.recipe["epochs"]):
            ((name, options),) = spec.model.items()
            chosen = build_model(name, classes=problem.classes, input_shape=problem.input_shape, **options)
            chosen.load_state_dict(kept.weights)
            outputs = {"kept": _logits(chosen.to(learner.device), learner, problem), "last": last}
        result = {
            "epoch": kept.epoch,
            "seconds": round(learner.seconds, 3),
            "precision": learner.precision,
            "alarms": learner.alarms,
            "parameters": sum(p.numel() for p in learner.model.parameters()),
            "environment": environment(),
            "device": str(learner.device),
        }
        store.add_run(spec, weights=kept.weights, outputs=outputs, result=result, records=folder / "records.jsonl")
    return [spec.id for spec in specs]


def labels_of(spec: RunSpec) -> str:
    """Return a run's description for a message."""
    return f"{spec.id} ({spec.kind} {spec.model_name}, seed {spec.seed})"


def _logits(model: nn.Module, learner: Learner, problem: Problem) -> dict[str, torch.Tensor]:
    lay_out(model)
    return {
        split: predict(model, problem, split, precision=learner.precision, device=learner.device)
        for split in ("validation", "test")
    }
