"""What a plan would cost: time from a few steps of each network on this machine, disk from the sizes of what is kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from goodteacher.base.seeds import undisturbed
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.models.adapt import seen_by
from goodteacher.study.build import Parts, bare, build_network
from goodteacher.study.planned import Plan
from goodteacher.study.runspec import RunSpec
from goodteacher.study.store import Store
from goodteacher.study.trial import Trial
from goodteacher.train.precision import Precision, choose_precision, step_seconds
from goodteacher.train.recipe import Recipe


@dataclass(frozen=True)
class Cost:
    """What is left to do.

    Attributes:
        runs: to be trained.
        reused: finished already.
        seconds: of training on one worker, teachers' forward passes counted; good to a factor of two.
        bytes: on disk.
    """

    runs: int
    reused: int
    seconds: float
    bytes: int


def estimate_cost(plan: Plan, problem: Problem, store: Store, device: str = "cpu") -> Cost:
    """Estimate what a plan would cost, without training anything.

    Args:
        plan: the study's.
        problem: its data.
        store: says what is finished.
        device: to time a step on.

    Returns:
        The estimate.
    """
    timed: dict[str, tuple[float, int]] = {}
    seconds, size, left, trainings = 0.0, 0, 0, set()
    taught: dict[tuple[str | None, int], float] = {}
    for run, spec in plan.runs.items():
        recipe = Recipe.model_validate(spec.recipe)
        key = _timed_as(spec, recipe)
        if key not in timed:
            loader = Loader(problem, batch_size=recipe.batch_size, seed=0, augmentation=recipe.augment, device=device)
            with undisturbed():
                model = build_network(bare(spec.model), problem.classes, spec.input_shape(plan.facts)).to(device)
            sample = seen_by(loader.batch(0), spec.input_spec(plan.facts)).inputs
            precision = choose_precision(model, sample)[0] if recipe.precision == "auto" else recipe.precision
            parameters = sum(p.numel() for p in model.parameters())
            timed[key] = (step_seconds(model, sample, precision), parameters)
        if store.has(run):
            continue
        left += 1
        step, parameters = timed[key]
        steps = recipe.epochs * max(1, len(problem.train) // recipe.batch_size)
        held_out = recipe.epochs * len(problem.validation) / recipe.batch_size / recipe.evaluate_every
        if spec.training_id not in trainings:
            # A forward pass is a third of a step.
            seconds += steps * step + held_out * step / 3
            for teacher in spec.teaching.runs if spec.teaching else ():
                if teacher not in plan.runs:
                    continue
                # Shared by all students of this teacher and seed: counted once.
                other = plan.runs[teacher]
                other_step = timed.get(_timed_as(other, recipe), (step, 0))[0]
                taught[teacher, recipe.epochs] = steps * other_step / 3
        trainings.add(spec.training_id)
        outputs = (len(problem.validation) + len(problem.test)) * problem.classes * 4
        size += 4 * parameters + outputs * (2 if spec.keep != "last" else 1)
    return Cost(left, len(plan.runs) - left, seconds + sum(taught.values()), size)


def _timed_as(spec: RunSpec, recipe: Recipe) -> str:
    """Return what the time of a step hangs on: the network, what it sees, how many at a time, and in which precision."""
    return f"{spec.model} {spec.inputs} {recipe.batch_size} {recipe.precision}"


def time_model(
    model: Parts, classes: int, shape: tuple[int, ...], device: str, examples: int = 64
) -> tuple[Precision, dict[str, float], int]:
    """Return the precision that trains a model fastest on this machine, seconds per step in each, and the examples in a step."""
    network = build_network(bare(model), classes, shape).to(device)
    return (*choose_precision(network, torch.zeros(examples, *shape, device=device)), examples)


def memories(plan: Plan) -> dict[str, int]:
    """Return the bytes of methods' memories with one row per example, which go into checkpoints, by student and teacher arm."""
    found, trial = {}, Trial(plan.facts)
    for cell in plan.cells:
        spec = plan.runs[cell.run]
        teacher = plan.runs.get(spec.teaching.network or "") if spec.teaching else None
        if teacher is None:
            continue
        own, other = ((run.model, run.input_shape(plan.facts)) for run in (spec, teacher))
        size = trial.memory_bytes(own, other, spec.loss)
        if size:
            found[f"{cell.student} < {cell.teacher}"] = size
    return found
