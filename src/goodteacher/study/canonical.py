"""What a study names, written out in full and checked: models, objectives, methods, maps, checkpoint rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from goodteacher.base.compose import LossRow, build_parts, parse, row_of, written_options
from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Loss, Setting
from goodteacher.maps.table import written_out
from goodteacher.methods.table import METHODS, parse_method
from goodteacher.models.table import build_model
from goodteacher.models.taps import tap_shapes
from goodteacher.objectives.student_friendly import student_named
from goodteacher.objectives.table import OBJECTIVES, check_objective
from goodteacher.study.examine import FEW, Facts
from goodteacher.study.spec import Named, StudySpec, TeacherSpec, arm_recipe
from goodteacher.train.mixing import check_mixing
from goodteacher.train.optim import cycle_ends
from goodteacher.train.recipe import Recipe

Parts = dict[str, dict[str, Any]]


def named(spec: Named) -> Parts:
    """Return a name with options as a mapping from one to the other."""
    return {spec: {}} if isinstance(spec, str) else {k: dict(v or {}) for k, v in spec.items()}


def canonical_model(spec: Named, facts: Facts) -> Parts:
    """Return a model's name and options, tried out at no cost.

    Raises:
        ConfigError: for an unknown name or option, or more than one name.
    """
    model = named(spec)
    if len(model) != 1:
        raise ConfigError("model", rule="must be one name", received=repr(spec))
    ((name, options),) = model.items()
    with torch.device("meta"):
        build_model(name, classes=facts.classes, input_shape=facts.input_shape, **options)
    return model


def _with_defaults(parts: Parts, table: Mapping[str, LossRow]) -> Parts:
    joined = len(parts) > 1
    return {
        name: written_options(f"'{name}'", row.build, {**(row.joined if joined else {}), **options})
        for name, options in parts.items()
        for row in [row_of(name, table, "loss")]
    }


def canonical_objective(
    spec: Named, model: Parts, facts: Facts, recipe: Recipe, *, where: str, fine_tunes: bool
) -> Parts:
    """Return an objective's parts with all their options, tried out on the untrained model.

    Args:
        spec: what the user wrote.
        model: it is for.
        facts: of the problem.
        recipe: it is trained with.
        where: the place in the study, for the message.
        fine_tunes: whether training starts from a finished run.

    Raises:
        ConfigError: for unknown names, options out of range, a sum without a score, or a part that only fine-tunes.
    """
    parts = parse(spec, OBJECTIVES, "objective")
    check_objective(parts)
    parts = _with_defaults(parts, OBJECTIVES)
    for loss in built_objective(parts, model, facts):
        check_mixing(recipe, loss)
        if loss.needs.prepares and not fine_tunes:
            raise ConfigError(
                f"{where}.objective",
                rule="fine-tunes a finished teacher",
                received=" + ".join(parts),
                remedy="say which: start: ARM or RUN in a study, --from RUN on the command line",
            )
    return parts


def built_objective(parts: Parts, model: Parts, facts: Facts) -> list[Loss]:
    """Return an objective's losses on the untrained model, with memories of few rows."""
    with torch.random.fork_rng(devices=[]):
        ((name, options),) = model.items()
        network = build_model(name, classes=facts.classes, input_shape=facts.input_shape, **options)
        sample = torch.zeros(2, *facts.input_shape)
        setting = Setting(
            facts.classes,
            min(facts.examples, FEW),
            network_shapes=tap_shapes(network, sample)[1],
            network=network,
            **student_setting(parts, facts.classes, facts.input_shape),
        )
        return build_parts(parts, OBJECTIVES, setting)


def student_setting(objective: Parts, classes: int, input_shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the fields of a `Setting` that hold the student an objective makes its teacher for; none for most."""
    student = student_named(objective)
    if student is None:
        return {}
    name, options = student
    network = build_model(name, classes=classes, input_shape=input_shape, **options)
    return {"student": network, "student_shapes": tap_shapes(network, torch.zeros(2, *input_shape))[1]}


def canonical_method(spec: Named) -> tuple[Parts, float]:
    """Return a method's parts with all their options, and the weight of the label's cross-entropy."""
    parts, gamma = parse_method(spec)
    return _with_defaults(parts, METHODS), gamma


def canonical_map(spec: Named | None) -> dict[str, Any]:
    """Return a target map's name with all its options."""
    return written_out(spec)


def canonical_keep(keep: str, recipe: Recipe, where: str) -> str:
    """Return a checkpoint rule with ``half`` written out as an epoch.

    Raises:
        ConfigError: for an epoch beyond the recipe's.
    """
    if keep == "half":
        return f"epoch={math.ceil(recipe.epochs / 2)}"
    if keep.startswith("epoch=") and int(keep.removeprefix("epoch=")) > recipe.epochs:
        raise ConfigError(
            f"{where}.keep", rule=f"must be within the {recipe.epochs} epochs of its recipe", received=repr(keep)
        )
    return keep


def check_recipe(recipe: Recipe, where: str, facts: Facts) -> None:
    """Raise `ConfigError` if a recipe asks of vectors what only images can have."""
    if recipe.cutmix is not None and not facts.is_image:
        raise ConfigError(f"{where}.recipe.cutmix", rule="needs image inputs", received=recipe.cutmix)
    if recipe.augment not in ("auto", "none") and not facts.is_image:
        raise ConfigError(
            f"{where}.recipe.augment",
            rule="needs image inputs",
            received=repr(recipe.augment),
            remedy="use none or auto",
        )


def teacher_recipe(study: StudySpec, arm: str, spec: TeacherSpec) -> tuple[Recipe, tuple[str, ...]]:
    """Return an arm's recipe and checkpoint rules with its procedures written into them."""
    overrides = dict(spec.recipe)
    where = f"teachers.{arm}"
    if spec.early_stop is not None and spec.early_stop.form == "compress":
        overrides["epochs"] = spec.early_stop.epochs
    if spec.filter_table is not None:
        overrides["filter_table"] = spec.filter_table
    if spec.snapshots is not None:
        overrides |= {"schedule": "cyclic", "cycles": spec.snapshots.cycles}
    recipe = arm_recipe(study, overrides, f"{where}.recipe")
    if spec.snapshots is not None:
        return recipe, tuple(f"epoch={k}" for k in cycle_ends(recipe.epochs, spec.snapshots.cycles))
    keep: str = spec.keep
    if spec.early_stop is not None and spec.early_stop.form == "truncate":
        keep = f"epoch={spec.early_stop.epochs}"
    return recipe, (canonical_keep(keep, recipe, where),)


def check_table(arm: str, table: str, facts: Facts) -> None:
    """Raise `ConfigError` if a problem lacks the table that is to teach."""
    known = facts.knows_truth if table == "truth" else facts.has_votes
    if not known:
        raise ConfigError(
            f"teachers.{arm}.table", rule=f"needs a problem whose {table} is known in training", received=repr(table)
        )
