"""What a study names, written out in full and checked as far as words go; it imports no torch."""

from __future__ import annotations

import math
from typing import Any

from goodteacher.base.errors import ConfigError
from goodteacher.base.input_spec import InputSpec, check_adaptable
from goodteacher.data.facts import Facts
from goodteacher.study.arm_options import ArmInputs
from goodteacher.study.planned import Given
from goodteacher.study.spec import Named, StudySpec, TeacherSpec, arm_recipe
from goodteacher.train.recipe import Recipe, broken_cycle_rule, cycle_ends

Parts = dict[str, dict[str, Any]]


def named(spec: Named) -> Parts:
    """Return a name with options as a mapping from one to the other."""
    return {spec: {}} if isinstance(spec, str) else {k: dict(v or {}) for k, v in spec.items()}


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
    """Raise `ConfigError` if a recipe asks of a problem what it cannot have."""
    weights = recipe.class_weights
    if isinstance(weights, tuple) and len(weights) != facts.classes:
        rule = f"must have one number for each of {facts.classes} classes"
        raise ConfigError(f"{where}.recipe.class_weights", rule=rule, received=len(weights))
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
    recipe = arm_recipe(study, overrides, f"{where}.recipe", spec.model)
    if spec.snapshots is not None:
        # Checked here, for the arm says nothing of cycles that a recipe's message could name.
        broken = broken_cycle_rule(spec.snapshots.cycles, recipe.epochs)
        if broken:
            raise ConfigError(f"key '{where}.snapshots'", rule=broken, received=spec.snapshots.cycles)
        cyclic = {**overrides, "schedule": "cyclic", "cycles": spec.snapshots.cycles}
        recipe = arm_recipe(study, cyclic, f"{where}.recipe", spec.model)
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


def arm_inputs(given: ArmInputs | None, facts: Facts, where: str, own: InputSpec | None = None) -> InputSpec | None:
    """Return what an arm's network expects to see, or None where that is what the problem makes.

    Args:
        given: what the arm says of it.
        facts: of the problem.
        where: the place in the study, for the message.
        own: what the network itself expects, which the arm may change; None for one made for the problem.

    Raises:
        ConfigError: if it is not defined for this problem.
    """
    if given is None and own is None:
        return None
    made = facts.inputs
    if made is None or not made.is_image:
        raise ConfigError(f"{where}.inputs", rule="needs image inputs", received="vectors")
    base, given = own or made, given or ArmInputs()
    size = base.size if given.size is None else (given.size, given.size) if isinstance(given.size, int) else given.size
    wanted = InputSpec("image", (base.shape[0], *size), given.mean or base.mean, given.std or base.std)
    if own is not None:
        check_adaptable(made, wanted, where)
    return None if wanted == made else wanted


def check_given(given: Given, run: str, facts: Facts, where: str) -> None:
    """Raise `ConfigError` unless a finished run fits a problem: by the names of its classes, and by what its network sees.

    Args:
        given: the run's spec and the facts of its problem.
        run: its id.
        facts: of the problem it is to teach on.
        where: the place in the study, for the message.
    """
    own, names = given.facts.class_names, facts.class_names
    if given.facts.classes != facts.classes or (own and names and own != names):
        raise ConfigError(
            f"{where}, run {run}",
            rule=f"must know the problem's {facts.classes} classes by the same names in the same order: {_few(names)}",
            received=f"{given.facts.classes}: {_few(own)}",
        )
    if given.facts.fingerprint == facts.fingerprint:
        return
    sees = given.spec.input_spec(given.facts)
    if sees is None:
        raise ConfigError(
            f"{where}, run {run}",
            rule="must say what its network expects to see",
            received="a run of an earlier version on other data",
            remedy="run any study on its own data with this store once: that writes it down",
        )
    if facts.inputs is not None:
        check_adaptable(facts.inputs, sees, f"{where}, run {run}")


def _few(names: tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") if names else "no names"
