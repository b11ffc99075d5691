"""Train one cohort of planned runs and add them to the store."""

from __future__ import annotations

import copy
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from goodteacher.base.errors import StoreError
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.study.assemble import assemble
from goodteacher.study.machine import environment
from goodteacher.study.outputs import teacher_evidence
from goodteacher.study.result import RunResult
from goodteacher.study.runspec import RunSpec
from goodteacher.study.store import Store
from goodteacher.train.infer import predict
from goodteacher.train.learner import Learner
from goodteacher.train.loop import fit
from goodteacher.train.precision import lay_out


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
        learners, loader = assemble(trainings, labels, problem, store, device)
        return (yield from _train(trainings, learners, loader, labels, problem, store))


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
        outputs, model = {"kept": last}, learner.final_model
        if kept.epoch != int(spec.recipe["epochs"]):
            model = copy.deepcopy(learner.final_model)
            model.load_state_dict(kept.weights)
            outputs = {"kept": _logits(model, learner, problem), "last": last}
        lay_out(model)
        outputs |= teacher_evidence(
            spec, model, problem, precision=learner.precision, device=learner.device, table=learner.table
        )
        result = RunResult(
            epoch=kept.epoch,
            seconds=round(learner.seconds, 3),
            precision=learner.precision,
            alarms=tuple(learner.alarms),
            parameters=sum(p.numel() for p in learner.model.parameters()),
            environment=environment(),
            device=str(learner.device),
        )
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
