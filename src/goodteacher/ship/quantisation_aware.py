"""Train a finished network on for a file of 8 bits: the same loss under the same teacher, rounded while training."""

from __future__ import annotations

from dataclasses import replace

from goodteacher.base.errors import ConfigError, ExportError
from goodteacher.base.events import Sink, nobody
from goodteacher.data.problem import Problem
from goodteacher.study.execute import execute
from goodteacher.study.planned import Cell, Plan
from goodteacher.study.run import Run
from goodteacher.study.runspec import RunSpec
from goodteacher.study.spec import parse_study
from goodteacher.study.store import Store
from goodteacher.train.recipe import Recipe

# Of the run's own epochs and rate: enough to settle on the grid, too little to wander off.
EPOCHS, RATE = 0.2, 0.1


def quantisation_aware_spec(run: Run) -> RunSpec:
    """Return the description of a run's training for 8 bits: a fifth of its epochs at a tenth of its rate, from its weights."""
    own = Recipe.model_validate(run.spec.recipe)
    changed = {
        "quantise": "int8", "epochs": max(1, round(EPOCHS * own.epochs)), "lr": RATE * own.lr,
        "schedule": "cosine", "warmup": 0.0, "ema": None, "swa": None, "swa_lr": None, "filter_table": None,
    }  # fmt: skip
    recipe = Recipe.model_validate({**own.model_dump(), **changed})
    return replace(run.spec, recipe=recipe.model_dump(mode="json"), start=run.id, keep="last")


def trained_for_int8(run: Run, problem: Problem, *, device: str = "cpu", tell: Sink = nobody) -> Run:
    """Return the run that goes on from another for 8 bits; it is trained in the same store unless it is finished there.

    Args:
        run: finished, on this problem.
        problem: its data.
        device: to train on.
        tell: receives what happens.

    Raises:
        ConfigError: if the problem is another than the run was trained on.
        ExportError: if training failed.
    """
    if problem.fingerprint != run.spec.problem:
        raise ConfigError("--qat", rule="needs the data the run was trained on", received=problem.name)
    spec, store = quantisation_aware_spec(run), Store(run.root)
    arm = {"model": spec.model, "method": "none", "taught_by": []}
    study = parse_study({"name": f"int8-{run.id}", "problem": {"name": problem.name}, "students": {"int8": arm}})
    plan = Plan(
        study,
        problem.facts,
        {spec.id: spec},
        {},
        (Cell("int8", None, spec.seed, spec.id),),
        {spec.id: f"int8 {run.id}"},
    )
    summary = execute(plan, problem, store, device=device, tell=tell)
    if summary.failed:
        raise ExportError(f"--qat of run {run.id}", rule="must train", received=summary.failed[spec.id])
    return store.run(spec.id)
