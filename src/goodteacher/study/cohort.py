"""Train one cohort of planned runs and add them to the store."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from goodteacher.base.errors import GoodteacherError, StoreError
from goodteacher.base.events import Event, Sink
from goodteacher.base.seeds import seeded
from goodteacher.base.types import Batch
from goodteacher.data.balance import class_weights
from goodteacher.data.facts import Facts
from goodteacher.data.folds import without_fold
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.models.adapt import seen_by
from goodteacher.models.custom import check_trainable
from goodteacher.study.build import loss_in_training, network_in_training
from goodteacher.study.machine import environment
from goodteacher.study.outputs import further_outputs
from goodteacher.study.result import RunResult
from goodteacher.study.runspec import RunSpec
from goodteacher.study.store import Store
from goodteacher.study.teacher_source import TeacherSource
from goodteacher.train.checkpoint import load_weights
from goodteacher.train.frozen import views_of
from goodteacher.train.learner import Learner
from goodteacher.train.loop import fit
from goodteacher.train.precision import Precision, autocast, choose_precision, lay_out
from goodteacher.train.recipe import Recipe
from goodteacher.train.records import read_json, write_json

# Between two looks at a bar: a sink may be a queue to another process.
STEP_SECONDS = 0.2


@dataclass
class Outcome:
    """What became of a cohort's runs: finished ids, and failed ids with the reason."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def train_cohort(
    specs: Sequence[RunSpec],
    names: Mapping[str, str],
    *,
    facts: Facts,
    problem: Problem,
    store: Store,
    device: str,
    tell: Sink,
) -> Outcome:
    """Train runs that share their batches, and add them to the store.

    Runs that differ in nothing but the checkpoint they keep are one training. A checkpoint is picked up where there is one. An
    error that is nobody's bug fails these runs and not the study.

    Args:
        specs: with the same problem, seed, epochs, batch size and augmentation, and at the same step.
        names: run id to a name for people.
        facts: of the problem.
        problem: the data.
        store: where teachers come from and runs go to.
        device: to train on.
        tell: receives what happens.

    Returns:
        What became of them.
    """
    trainings: dict[str, list[RunSpec]] = {}
    for spec in specs:
        trainings.setdefault(spec.training_id, []).append(spec)
    outcome = Outcome()
    try:
        with store.claim(list(trainings)):
            learners, loader = assemble(trainings, names, facts, problem, store, device)
            epochs = int(specs[0].recipe["epochs"])
            tell(Event("line", text=_opening(list(learners.values()), loader, epochs)))
            watch = _Watch(
                tell, {learners[t].name: _ids(trainings[t]) for t in learners}, _label(list(learners.values()))
            )
            fit(list(learners.values()), loader, problem, epochs=epochs, tell=watch)
            for training, learner in learners.items():
                ids = _ids(trainings[training])
                if learner.failure is not None:
                    outcome.failed |= dict.fromkeys(ids, str(learner.failure))
                    continue
                _add_runs(trainings[training], learner, problem, store)
                outcome.finished += ids
                tell(Event("finished", learner.name, runs=ids))
            # Only now: a kill between two runs of one training finds its checkpoint, and adds what is missing.
            for training in trainings:
                store.finish_training(training)
    except GoodteacherError as error:
        # Runs that are in the store stay there; those that failed by themselves keep their own reason.
        lost = [spec for spec in specs if spec.id not in outcome.finished and spec.id not in outcome.failed]
        for spec in lost:
            tell(Event("failed", names[spec.id], str(error), runs=(spec.id,)))
        outcome.failed |= {spec.id: str(error) for spec in lost}
    return outcome


def _ids(specs: Sequence[RunSpec]) -> tuple[str, ...]:
    return tuple(spec.id for spec in specs)


class _Watch:
    """Tells of a cohort what its loop tells of learners: bars now and then, failures with the runs they end."""

    def __init__(self, tell: Sink, runs: Mapping[str, tuple[str, ...]], label: str) -> None:
        self.tell, self.runs, self.label = tell, runs, label
        self._said, self._accuracy = 0.0, list[float]()

    def __call__(self, event: Event) -> None:
        if event.kind == "failed":
            event = replace(event, runs=self.runs[event.name])
        if event.kind == "epoch" and "validation" in event.record:
            self._accuracy.append(event.record["validation"]["accuracy"])
        if event.kind != "step":
            self.tell(event)
            return
        now = time.monotonic()
        if self._accuracy or event.done == event.total or now - self._said > STEP_SECONDS:
            self._said = now
            self.tell(replace(event, name=self.label, text=_accuracy_line(self._accuracy)))
            self._accuracy.clear()


def assemble(
    trainings: Mapping[str, Sequence[RunSpec]],
    names: Mapping[str, str],
    facts: Facts,
    problem: Problem,
    store: Store,
    device: str,
) -> tuple[dict[str, Learner], Loader]:
    """Build the learners of a cohort, resumed where there are checkpoints, and the loader they share.

    Args:
        trainings: training id to runs that differ in the checkpoint they keep.
        names: run id to a name for people.
        facts: of the problem.
        problem: the data.
        store: of teachers and working folders.
        device: to train on.

    Returns:
        Training id to learner, and the loader with every view that somebody needs.

    Raises:
        ConfigError: if a model does not fit the problem, or a method the pair of models.
    """
    first = next(iter(trainings.values()))[0]
    recipe = Recipe.model_validate(first.recipe)
    own = without_fold(problem, *first.fold, first.seed) if first.fold else problem
    source = TeacherSource(problem, facts.fingerprint, store, torch.device(device))
    # A fold's networks train on fewer examples, which sizes a memory with one row per example.
    seen = replace(facts, examples=len(own.train))
    load = partial(
        Loader, own, batch_size=recipe.batch_size, seed=first.seed, augmentation=recipe.augment, device=device
    )
    # One batch before there are learners: precision is decided on what a network will see, and views are known only afterwards.
    sample = load().batch(0)
    learners = {t: _learner(specs, names, seen, own, source, sample) for t, specs in trainings.items()}
    views = frozenset[str]().union(*(x.needs.views | views_of(x.teacher) for x in learners.values()))
    loader = load(views=views, balanced=recipe.sampling == "balanced", mixup=recipe.mixup, cutmix=recipe.cutmix)
    for learner in learners.values():
        _prepare(learner, loader)
    return learners, loader


def _prepare(learner: Learner, loader: Loader) -> None:
    """Show a fresh learner's network one epoch, for the parts of its loss that must see it first (MCMI's class centres)."""
    # A resumed learner has what it was shown in its checkpoint; its network is no longer the one it started from.
    if learner.step or not learner.needs.prepares:
        return
    with autocast(learner.device, learner.precision):
        batches = (learner.sees(loader.batch(step)) for step in range(loader.steps_per_epoch))
        learner.task.loss.prepare(learner.network, batches)


def _learner(
    specs: Sequence[RunSpec],
    names: Mapping[str, str],
    facts: Facts,
    own: Problem,
    source: TeacherSource,
    sample: Batch,
) -> Learner:
    """Return a run's learner; ``own`` is the problem without the fold that it must not see."""
    spec, store = specs[0], source.store
    teacher = source.teacher(spec.teaching) if spec.teaching else None
    taught_by = source.network(spec.teaching)
    # Network and loss draw from streams of their own, so that a method with parameters leaves the student's start as it is.
    if spec.kind != "preparation":
        check_trainable(spec.model_name)
    with seeded(spec.seed, "init"):
        network = network_in_training(spec, facts, taught_by)
    if spec.start is not None:
        load_weights(network, store.run(spec.start).weights, f"the start from run {spec.start}")
    with seeded(spec.seed, "method"):
        loss = loss_in_training(spec, network, facts, taught_by, own.train.labels)
    recipe = Recipe.model_validate(spec.recipe)
    wanted, labels = recipe.class_weights, own.train.labels
    learner = Learner(
        names[spec.id],
        network,
        loss,
        recipe,
        seed=spec.seed,
        keeps=tuple(s.keep for s in specs),
        teacher=teacher,
        precision=_precision(store, spec, recipe, network, seen_by(sample, spec.input_spec(facts)).inputs),
        spec=spec.input_spec(facts),
        class_weights=None if wanted is None else class_weights(labels, facts.classes, wanted),
        folder=store.training_folder(spec.training_id),
        device=source.device,
        examples=facts.examples,
    )
    learner.resume()
    return learner


def _precision(store: Store, spec: RunSpec, recipe: Recipe, network: nn.Module, sample: Tensor) -> Precision:
    """Return the recipe's precision; ``auto`` is decided once for a network and kept, so that all arms and seeds share it."""
    if recipe.precision != "auto":
        return recipe.precision
    path = store.root / "precision.json"
    key = f"{spec.kind == 'preparation'} {spec.model} {tuple(sample.shape)} {sample.device.type}"
    known = read_json(path) if path.exists() else {}
    if key not in known:
        choice, seconds = choose_precision(network.to(sample.device), sample)
        # Read again: another worker may have decided on another network while this one was timed.
        known = (read_json(path) if path.exists() else {}) | {key: {"precision": choice, "seconds_a_step": seconds}}
        write_json(path, known)
    precision: Precision = known[key]["precision"]
    return precision


def _opening(learners: Sequence[Learner], loader: Loader, epochs: int) -> str:
    resumed = f", resumed at step {learners[0].step}" if learners[0].step else ""
    names = ", ".join(x.name for x in learners[:4]) + (f" and {len(learners) - 4} more" if len(learners) > 4 else "")
    precision = "/".join(sorted({x.precision for x in learners}))
    return f"{names}: {epochs} epochs of {loader.steps_per_epoch} steps, {precision}{resumed}"


def _label(learners: Sequence[Learner]) -> str:
    first = learners[0].name
    return first if len(learners) == 1 else f"{first} +{len(learners) - 1}"


def _accuracy_line(accuracy: Sequence[float]) -> str:
    if not accuracy:
        return ""
    low, high = min(accuracy), max(accuracy)
    return f"validation accuracy {low:.1%}" + (f" to {high:.1%}" if len(accuracy) > 1 else "")


def _add_runs(specs: Sequence[RunSpec], learner: Learner, problem: Problem, store: Store) -> None:
    """Evaluate each kept checkpoint, and the last, on validation and test, once; add a run for each rule."""
    folder = store.training_folder(specs[0].training_id)
    last = _held_out(learner.final_model, learner, problem)
    for spec in specs:
        kept = learner.kept.get(spec.keep)
        if kept is None:
            raise StoreError(f"run {spec.describe()}", rule="kept no checkpoint", received=spec.keep)
        # The checkpoint that is kept is often the last: then its outputs are computed once.
        outputs, model = {"kept": last}, learner.final_model
        if kept.epoch != int(spec.recipe["epochs"]):
            model = copy.deepcopy(learner.final_model)
            model.load_state_dict(kept.weights)
            outputs = {"kept": _held_out(model, learner, problem), "last": last}
        lay_out(model)
        outputs |= further_outputs(
            spec, model, problem,
            precision=learner.precision, device=learner.device, table=learner.table, inputs=learner.spec,
        )  # fmt: skip
        result = RunResult(
            epoch=kept.epoch,
            seconds=round(learner.seconds, 3),
            precision=learner.precision,
            alarms=tuple(learner.alarms),
            parameters=sum(p.numel() for p in learner.network.parameters()),
            environment=environment(),
            device=str(learner.device),
        )
        store.add_run(
            spec, weights=kept.weights, outputs=outputs, result=result,
            inputs=learner.spec, records=folder / "records.jsonl",
        )  # fmt: skip


def _held_out(model: nn.Module, learner: Learner, problem: Problem) -> dict[str, Tensor]:
    lay_out(model)
    return {split: learner.predict(model, problem, split) for split in ("validation", "test")}
