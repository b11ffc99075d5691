"""From planned runs to learners: the composition root, where the tables of models, objectives and methods meet the loop."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from goodteacher.base.compose import build_parts, join, row_of
from goodteacher.base.errors import ConfigError
from goodteacher.base.seeds import seeded
from goodteacher.base.types import FrozenTeacher, Loss, Setting
from goodteacher.data.folds import assign_folds, without_fold
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.methods.labels import HardLabels
from goodteacher.methods.preparation import PREPARATIONS, Prepared
from goodteacher.methods.table import METHODS
from goodteacher.models.table import build_model
from goodteacher.models.taps import tap_shapes
from goodteacher.objectives.table import OBJECTIVES
from goodteacher.study.answers import Answers
from goodteacher.study.canonical import student_setting
from goodteacher.study.prepare import PreparationLoss, PreparedTeacher
from goodteacher.study.run import Run
from goodteacher.study.runspec import RunSpec
from goodteacher.study.store import Store
from goodteacher.study.teaching import TABLES, Teaching
from goodteacher.train.checkpoint import load_weights
from goodteacher.train.frozen import EnsembleTeacher, FoldTeacher, MappedTeacher, NetworkTeacher, TableTeacher, views_of
from goodteacher.train.learner import Learner
from goodteacher.train.precision import Precision, autocast, choose_precision
from goodteacher.train.recipe import Recipe
from goodteacher.train.records import read_json, write_json


def assemble(
    trainings: dict[str, list[RunSpec]], labels: dict[str, str], problem: Problem, store: Store, device: str
) -> tuple[dict[str, Learner], Loader]:
    """Build the learners of a cohort, resumed where there are checkpoints, and the loader they share.

    Args:
        trainings: training id to runs that differ in the checkpoint they keep.
        labels: run id to a name for people.
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
    load = partial(
        Loader, own, batch_size=recipe.batch_size, seed=first.seed, augmentation=recipe.augment, device=device
    )
    sample = load().batch(0).inputs
    teachers: dict[Any, FrozenTeacher] = {}
    learners = {}
    for training, specs in trainings.items():
        learners[training] = _learner(specs, labels, problem, own, store, sample, teachers)
    views = frozenset[str]().union(*(x.needs.views | views_of(x.teacher) for x in learners.values()))
    loader = load(views=views, mixup=recipe.mixup, cutmix=recipe.cutmix)
    for learner in learners.values():
        _prepare(learner, loader)
    return learners, loader


def _prepare(learner: Learner, loader: Loader) -> None:
    """Show a fresh learner's network one epoch, for the parts of its loss that must see it first (MCMI's class centres)."""
    if learner.step:
        return
    if learner.needs.prepares:
        with autocast(learner.device, learner.precision):
            learner.loss.prepare(learner.model, (loader.batch(step) for step in range(loader.steps_per_epoch)))


def _learner(
    specs: list[RunSpec],
    labels: dict[str, str],
    problem: Problem,
    own: Problem,
    store: Store,
    sample: Tensor,
    teachers: dict[Any, FrozenTeacher],
) -> Learner:
    """Return a run's learner; ``own`` is the problem without the fold that it must not see."""
    spec = specs[0]
    device = sample.device
    teacher = frozen_teacher(spec.teaching, problem, store, str(device), teachers) if spec.teaching else None
    network = teacher_network(teacher)
    with seeded(spec.seed, "init"):
        model = _network(spec, network, problem, sample)
    if spec.start is not None:
        load_weights(model, store.run(spec.start).weights, f"the start from run {spec.start}")
    with seeded(spec.seed, "method"):
        loss = build_loss(spec, model, network, own, sample)
    recipe = Recipe.model_validate(spec.recipe)
    learner = Learner(
        labels[spec.id],
        model,
        loss,
        recipe,
        seed=spec.seed,
        keeps=tuple(s.keep for s in specs),
        teacher=teacher,
        precision=_precision(store, spec, recipe, model, sample),
        folder=store.training_folder(spec.training_id),
        device=device,
        examples=len(own.train),
    )
    learner.resume()
    return learner


def _network(spec: RunSpec, teacher: nn.Module | None, problem: Problem, sample: Tensor) -> nn.Module:
    """Return the network to be trained: a model of the table, or a teacher with what is added to it in a preparation."""
    if spec.kind == "preparation":
        assert teacher is not None, "a preparation always has its teacher"
        return prepared_network(spec.loss, teacher, problem.classes, sample)
    ((name, options),) = spec.model.items()
    return build_model(name, classes=problem.classes, input_shape=problem.input_shape, **options)


def prepared_network(
    loss: Mapping[str, Mapping[str, Any]], teacher: nn.Module, classes: int, sample: Tensor
) -> Prepared:
    """Return a teacher with the untrained addition of a preparation around it."""
    ((name, options),) = loss.items()
    _, shapes = tap_shapes(teacher, sample[:2])
    setting = Setting(classes=classes, teacher_shapes=shapes, teacher=teacher)
    return PREPARATIONS[name].build(teacher, setting, **options)


def build_loss(spec: RunSpec, model: nn.Module, teacher: nn.Module | None, problem: Problem, sample: Tensor) -> Loss:
    """Return a run's objective, method or preparation.

    Raises:
        ConfigError: if the model does not answer the problem's classes, or the method is undefined for this pair.
    """
    if isinstance(model, Prepared):
        return PreparationLoss(model)
    answered, shapes = tap_shapes(model, sample[:2].to(next(model.parameters()).device))
    if answered != problem.classes:
        raise ConfigError(
            f"model '{spec.model_name}'", rule=f"must answer the problem's {problem.classes} classes", received=answered
        )
    taught = tap_shapes(teacher, sample[:2])[1] if teacher is not None else {}
    setting = Setting(
        classes=problem.classes,
        examples=len(problem.train),
        network_shapes=shapes,
        teacher_shapes=taught,
        network=model,
        teacher=teacher,
        labels=problem.train.labels,
        **(student_setting(spec.loss, problem.classes, problem.input_shape) if spec.kind == "teacher" else {}),
    )
    return loss_from_parts(spec.kind, spec.loss, spec.gamma, setting)


def loss_from_parts(kind: str, parts: Mapping[str, Mapping[str, Any]], gamma: float, setting: Setting) -> Loss:
    """Return the sum of a run's parts, with the label's cross-entropy where γ > 0."""
    if kind == "teacher":
        return join(build_parts(parts, OBJECTIVES, setting))
    if list(parts) == ["none"]:
        return HardLabels(gamma)
    losses = build_parts(parts, METHODS, setting)
    return join([HardLabels(gamma), *losses] if gamma > 0 else losses)


def teacher_network(teacher: FrozenTeacher | None) -> nn.Module | None:
    """Return the network behind a frozen teacher, or None for a table or several networks."""
    base = teacher.base if isinstance(teacher, MappedTeacher) else teacher
    if isinstance(base, PreparedTeacher):
        return base.prepared.teacher
    return base.model if isinstance(base, NetworkTeacher) else None


def frozen_teacher(
    teaching: Teaching, problem: Problem, store: Store, device: str, known: dict[Any, FrozenTeacher]
) -> FrozenTeacher:
    """Return the frozen teacher; learners with the same teacher get the same object, so that it runs once a batch.

    Args:
        teaching: who teaches.
        problem: whose tables may teach.
        store: of finished runs.
        device: of the networks.
        known: teachers built before, added to.

    Returns:
        The teacher, with its target map.
    """
    base_key = ("base", teaching.how, teaching.runs, teaching.weights)
    if base_key not in known:
        known[base_key] = _base_teacher(teaching, problem, store, device, known)
    base = known[base_key]
    if list(teaching.target_map) == ["identity"]:
        return base
    key = (base_key, repr(teaching.target_map))
    if key not in known:
        known[key] = MappedTeacher(base, Answers(teaching, store, _targets(problem)).map)
    return known[key]


def _targets(problem: Problem) -> dict[str, Tensor]:
    part = problem.validation
    found = {"labels": part.labels, "truth": part.truth, "votes": part.votes}
    return {f"validation.{name}": value for name, value in found.items() if value is not None}


def _base_teacher(
    teaching: Teaching, problem: Problem, store: Store, device: str, known: dict[Any, FrozenTeacher]
) -> FrozenTeacher:
    if teaching.how in TABLES:
        rows = problem.train.truth if teaching.how == "truth" else problem.train.votes
        assert rows is not None, "the plan checks that the table exists"
        return TableTeacher(rows / rows.sum(dim=1, keepdim=True), device)
    if teaching.how == "filter":
        table = store.run(teaching.runs[0]).extra("table")
        assert table is not None, "the plan gives the run a filter table"
        return TableTeacher(table["probabilities"], device)
    if teaching.how == "network":
        return _network_teacher(store.run(teaching.runs[0]), device)
    members = tuple(frozen_teacher(Teaching("network", (run,)), problem, store, device, known) for run in teaching.runs)
    if teaching.how == "folds":
        folds = len(members)
        seed = int(store.run(teaching.runs[0]).spec["seed"])
        return FoldTeacher(members, assign_folds(problem.train.labels, folds, seed), device)
    weights = Answers(teaching, store, _targets(problem)).weights
    return EnsembleTeacher(members, tuple(weights.tolist()), teaching.space)


def _network_teacher(run: Run, device: str) -> FrozenTeacher:
    model = run.model.to(device)
    precision = run.result["precision"]
    return (
        PreparedTeacher(model, precision) if isinstance(model, Prepared) else NetworkTeacher(model, precision=precision)
    )


def _precision(store: Store, spec: RunSpec, recipe: Recipe, model: nn.Module, sample: Tensor) -> Precision:
    """Return the recipe's precision; ``auto`` is decided once for a network and kept, so that all arms and seeds share it."""
    if recipe.precision != "auto":
        return recipe.precision
    path = store.root / "precision.json"
    key = f"{spec.kind == 'preparation'} {spec.model} {tuple(sample.shape)} {sample.device.type}"
    known = read_json(path) if path.exists() else {}
    if key not in known:
        choice, seconds = choose_precision(model.to(sample.device), sample)
        known = (read_json(path) if path.exists() else {}) | {key: {"precision": choice, "seconds_a_step": seconds}}
        write_json(path, known)
    precision: Precision = known[key]["precision"]
    return precision


def rebuild(run: Run) -> nn.Module:
    """Return a finished run's network, untrained: its model, or what its method hands over instead.

    Args:
        run: the run.

    Returns:
        A network whose state dict has the names of the run's weights.
    """
    spec, facts = run.spec, run.facts
    ((name, options),) = spec["model"].items()
    shape = tuple(facts["input_shape"])
    classes = facts["classes"]
    teaching = spec["teaching"]
    sample = torch.zeros(2, *shape)
    if spec["kind"] == "preparation":
        return prepared_network(spec["loss"], run.sibling(teaching["runs"][0]).model, classes, sample)
    model = build_model(name, classes=classes, input_shape=shape, **options)
    if spec["kind"] == "student" and any(row_of(part, METHODS, "method").deploys for part in spec["loss"]):
        teacher = run.sibling(teaching["runs"][0]).model
        teacher = teacher.teacher if isinstance(teacher, Prepared) else teacher
        setting = Setting(
            classes=classes,
            examples=facts["train"],
            network_shapes=tap_shapes(model, sample)[1],
            teacher_shapes=tap_shapes(teacher, sample)[1],
            network=model,
            teacher=teacher,
        )
        return loss_from_parts("student", spec["loss"], spec["gamma"], setting).deployed(model)
    return model
