"""From a study to its runs, purely: countable, hashed by content, checked before anything trains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from goodteacher.base.compose import option_defaults, parse
from goodteacher.base.errors import ConfigError
from goodteacher.distill.table import METHODS, needs_teacher, parse_method
from goodteacher.models.table import build_model
from goodteacher.study.spec import Named, StudySpec, arm_recipe
from goodteacher.teachers.table import OBJECTIVES
from goodteacher.teachers.targets import parse_map
from goodteacher.train.config import Recipe

# Raised whenever a change of the code changes the numbers of a run with the same description.
NUMERICS = 1


@dataclass(frozen=True)
class Facts:
    """What a plan must know of a problem."""

    fingerprint: str
    classes: int
    input_shape: tuple[int, ...]
    examples: int
    is_image: bool
    knows_truth: bool
    has_votes: bool


@dataclass(frozen=True)
class Teaching:
    """Who teaches a student run: a teacher's run or a table, and the target map around it."""

    run: str | None
    table: str | None
    target_map: dict[str, Any]


@dataclass(frozen=True)
class RunSpec:
    """One network to be trained: everything that decides its numbers.

    Attributes:
        kind: ``teacher`` or ``student``.
        model: name to options.
        loss: name to options, defaults written out.
        gamma: weight of the label's cross-entropy in a method.
        recipe: all of it.
        keep: the checkpoint rule.
        seed: of everything random.
        problem: fingerprint.
        teaching: who teaches, for a student.
    """

    kind: str
    model: dict[str, dict[str, Any]]
    loss: dict[str, dict[str, Any]]
    gamma: float
    recipe: dict[str, Any]
    keep: str
    seed: int
    problem: str
    teaching: Teaching | None = None

    @property
    def id(self) -> str:
        """Content hash: two runs with one id are the same run."""
        return _digest(asdict(self))

    @property
    def training_id(self) -> str:
        """Content hash without the checkpoint rule: runs that share it are one training with several rules."""
        return _digest({**asdict(self), "keep": None})

    @property
    def model_name(self) -> str:
        """The model's name."""
        return next(iter(self.model))


def _digest(value: dict[str, Any]) -> str:
    text = json.dumps({**value, "numerics": NUMERICS}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cell:
    """A student arm taught by a teacher arm (or by none), at one seed."""

    student: str
    teacher: str | None
    seed: int
    run: str


@dataclass(frozen=True)
class Plan:
    """A study's runs.

    Attributes:
        study: as written.
        runs: by id; teachers before the students that need them.
        teachers: (arm, seed) to run id; arms that are tables have none.
        cells: of the result table.
        maps: teacher arm to its target map, name to options.
    """

    study: StudySpec
    facts: Facts
    runs: dict[str, RunSpec]
    teachers: dict[tuple[str, int], str]
    cells: tuple[Cell, ...]
    maps: dict[str, dict[str, Any]]

    def labels(self) -> dict[str, str]:
        """Return each run's name for people: arm, teacher and seed."""
        names = {run: f"{arm}/{seed}" for (arm, seed), run in self.teachers.items()}
        for cell in self.cells:
            taught = f" < {cell.teacher}" if cell.teacher else ""
            names[cell.run] = f"{cell.student}{taught}/{cell.seed}"
        return names


def plan_study(study: StudySpec, facts: Facts) -> Plan:
    """Plan a study.

    Args:
        study: as written.
        facts: of its problem.

    Returns:
        The plan. Nothing is trained, read or written.

    Raises:
        ConfigError: for anything in the study that cannot be run: unknown names or options, models that do not take these
            inputs, methods that need a teacher where there is none.
    """
    runs: dict[str, RunSpec] = {}
    teachers: dict[tuple[str, int], str] = {}
    maps = {name: _canonical_map(spec.map) for name, spec in study.teachers.items()}
    for name, spec in study.teachers.items():
        if spec.table is not None:
            _check_table(name, spec.table, facts)
            continue
        if spec.run is not None:
            teachers |= {(name, seed): spec.run for seed in study.seed_list}
            continue
        assert spec.model is not None
        recipe = arm_recipe(study, spec.recipe, f"teachers.{name}.recipe")
        _check_recipe(recipe, spec.keep, f"teachers.{name}", facts)
        model, loss = _canonical_model(spec.model, facts), _canonical_objective(spec.objective)
        for seed in study.seed_list:
            run = RunSpec(
                "teacher", model, loss, 0.0, recipe.model_dump(mode="json"), spec.keep, seed, facts.fingerprint
            )
            runs[run.id] = run
            teachers[name, seed] = run.id
    cells: list[Cell] = []
    for name, student in study.students.items():
        recipe = arm_recipe(study, student.recipe, f"students.{name}.recipe")
        _check_recipe(recipe, student.keep, f"students.{name}", facts)
        model = _canonical_model(student.model, facts)
        loss, gamma = _canonical_method(student.method)
        arms: tuple[str | None, ...] = study.teachers_of(student) if needs_teacher(student.method) else (None,)
        if not arms:
            raise ConfigError(
                f"students.{name}", rule="needs a teacher for its method", received="no teacher in the study"
            )
        for arm in arms:
            for seed in study.seed_list:
                teaching = _teaching(study, arm, seed, teachers, maps)
                run = RunSpec(
                    "student",
                    model,
                    loss,
                    gamma,
                    recipe.model_dump(mode="json"),
                    student.keep,
                    seed,
                    facts.fingerprint,
                    teaching,
                )
                runs[run.id] = run
                cells.append(Cell(name, arm, seed, run.id))
    return Plan(study, facts, runs, teachers, tuple(cells), maps)


def _teaching(
    study: StudySpec,
    arm: str | None,
    seed: int,
    teachers: Mapping[tuple[str, int], str],
    maps: Mapping[str, dict[str, Any]],
) -> Teaching | None:
    if arm is None:
        return None
    return Teaching(teachers.get((arm, seed)), study.teachers[arm].table, maps[arm])


def _check_table(arm: str, table: str, facts: Facts) -> None:
    known = facts.knows_truth if table == "truth" else facts.has_votes
    if not known:
        raise ConfigError(
            f"teachers.{arm}.table", rule=f"needs a problem whose {table} is known in training", received=repr(table)
        )


def _check_recipe(recipe: Recipe, keep: str, where: str, facts: Facts) -> None:
    if keep.startswith("epoch=") and int(keep.removeprefix("epoch=")) > recipe.epochs:
        raise ConfigError(
            f"{where}.keep", rule=f"must be within the {recipe.epochs} epochs of its recipe", received=repr(keep)
        )
    if recipe.augment not in ("auto", "none") and not facts.is_image:
        raise ConfigError(
            f"{where}.recipe.augment",
            rule="needs image inputs",
            received=repr(recipe.augment),
            remedy="use none or auto",
        )


def named(spec: Named) -> dict[str, dict[str, Any]]:
    """Return a name with options as a mapping from one to the other."""
    return {spec: {}} if isinstance(spec, str) else {k: dict(v or {}) for k, v in spec.items()}


def _canonical_model(spec: Named, facts: Facts) -> dict[str, dict[str, Any]]:
    model = named(spec)
    if len(model) != 1:
        raise ConfigError("model", rule="must be one name", received=repr(spec))
    ((name, options),) = model.items()
    with torch.device("meta"):  # checks name and options at no cost
        build_model(name, classes=facts.classes, input_shape=facts.input_shape, **options)
    return model


def _with_defaults(parts: dict[str, dict[str, Any]], table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    joined = len(parts) > 1
    return {
        name: {**option_defaults(table[name].build), **(table[name].joined if joined else {}), **options}
        for name, options in parts.items()
    }


def _canonical_objective(spec: Named) -> dict[str, dict[str, Any]]:
    return _with_defaults(parse(spec, OBJECTIVES, "objective"), OBJECTIVES)


def _canonical_method(spec: Named) -> tuple[dict[str, dict[str, Any]], float]:
    parts, gamma = parse_method(spec)
    return _with_defaults(parts, METHODS), gamma


def _canonical_map(spec: Named | None) -> dict[str, Any]:
    fitted = parse_map(spec)
    name = "identity" if spec is None else next(iter(named(spec)))
    return {name: asdict(fitted)}
