"""From a study to its runs, purely: countable, hashed by content, checked before anything trains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from goodteacher.base.compose import Setting, build_parts, option_defaults, parse
from goodteacher.base.errors import ConfigError
from goodteacher.methods.preparation import PREPARATIONS
from goodteacher.methods.table import METHODS, needs_teacher, parse_method
from goodteacher.models.table import build_model
from goodteacher.study.examine import FEW, Facts, examine
from goodteacher.study.spec import Named, StudySpec, arm_recipe
from goodteacher.teachers.table import OBJECTIVES
from goodteacher.teachers.targets import parse_map
from goodteacher.train.config import Recipe, validate

# Raised whenever a change of the code changes the numbers of a run with the same description.
NUMERICS = 1


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
        kind: ``teacher``, ``student``, or ``preparation`` of a teacher for a method that needs one.
        model: name to options.
        loss: name to options, defaults written out.
        gamma: weight of the label's cross-entropy in a method.
        recipe: all of it.
        keep: the checkpoint rule.
        seed: of everything random.
        problem: fingerprint.
        teaching: who teaches, for a student; who is prepared, for a preparation.
        initial_epochs: of initialisation, before the recipe's own.
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
    initial_epochs: int = 0

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
        for run, spec in self.runs.items():
            if spec.kind == "preparation" and spec.teaching is not None:
                (what,) = spec.loss
                names[run] = f"{what} of {names.get(spec.teaching.run or '', spec.teaching.run)}"
        return names


def plan_study(study: StudySpec, facts: Facts, finished: Mapping[str, Mapping[str, Any]] | None = None) -> Plan:
    """Plan a study.

    Args:
        study: as written.
        facts: of its problem.
        finished: specs of the finished runs that the study names as teachers, by id.

    Returns:
        The plan. Nothing is trained, read or written.

    Raises:
        ConfigError: for anything in the study that cannot be run: unknown names or options, models that do not take these
            inputs, methods that need a teacher where there is none, or that are undefined for a pair of models.
    """
    planner = _Planner(study, facts, finished or {})
    for name in study.teachers:
        planner.add_teacher(name)
    for name in study.students:
        planner.add_student(name)
    return Plan(study, facts, planner.runs, planner.teachers, tuple(planner.cells), planner.maps)


class _Planner:
    """Collects runs; lives for one call of `plan_study`."""

    def __init__(self, study: StudySpec, facts: Facts, finished: Mapping[str, Mapping[str, Any]]) -> None:
        self.study, self.facts, self.finished = study, facts, finished
        self.runs: dict[str, RunSpec] = {}
        self.teachers: dict[tuple[str, int], str] = {}
        self.cells: list[Cell] = []
        self.maps = {name: _canonical_map(spec.map) for name, spec in study.teachers.items()}

    def _add(self, run: RunSpec) -> str:
        self.runs[run.id] = run
        return run.id

    def add_teacher(self, name: str) -> None:
        spec = self.study.teachers[name]
        if spec.table is not None:
            _check_table(name, spec.table, self.facts)
            return
        if spec.run is not None:
            self.teachers |= {(name, seed): spec.run for seed in self.study.seed_list}
            return
        assert spec.model is not None
        recipe = arm_recipe(self.study, spec.recipe, f"teachers.{name}.recipe")
        _check_recipe(recipe, spec.keep, f"teachers.{name}", self.facts)
        model, loss = _canonical_model(spec.model, self.facts), _canonical_objective(spec.objective, self.facts)
        for seed in self.study.seed_list:
            run = RunSpec(
                "teacher", model, loss, 0.0, recipe.model_dump(mode="json"), spec.keep, seed, self.facts.fingerprint
            )
            self.teachers[name, seed] = self._add(run)

    def add_student(self, name: str) -> None:
        spec = self.study.students[name]
        recipe = arm_recipe(self.study, spec.recipe, f"students.{name}.recipe")
        _check_recipe(recipe, spec.keep, f"students.{name}", self.facts)
        model = _canonical_model(spec.model, self.facts)
        loss, gamma = _canonical_method(spec.method)
        arms: tuple[str | None, ...] = self.study.teachers_of(spec) if needs_teacher(spec.method) else (None,)
        if not arms:
            raise ConfigError(f"students.{name}", rule="needs a teacher for its method", received="no teacher")
        for arm in arms:
            teacher = self._teacher_model(arm)
            needs = examine(model, teacher, loss, self.facts, where=f"students.{name}, taught by {arm}")
            for seed in self.study.seed_list:
                teaching = self._teaching(arm, seed)
                for preparation in needs.preparation:
                    assert teaching is not None and teacher is not None, "examine refuses a preparation of a table"
                    prepared = self._preparation(preparation, spec.preparation, recipe, seed, teaching, teacher)
                    teaching = Teaching(prepared, None, teaching.target_map)
                run = RunSpec(
                    "student", model, loss, gamma, recipe.model_dump(mode="json"), spec.keep, seed,
                    self.facts.fingerprint, teaching, needs.initial_epochs,
                )  # fmt: skip
                self.cells.append(Cell(name, arm, seed, self._add(run)))

    def _teacher_model(self, arm: str | None) -> dict[str, dict[str, Any]] | None:
        """Return a teacher arm's model, or None for a table and for no teacher."""
        if arm is None:
            return None
        spec = self.study.teachers[arm]
        if spec.run is not None:
            known = self.finished.get(spec.run)
            if known is None:
                raise ConfigError(
                    f"teachers.{arm}.run", rule="must be a finished run of this store", received=repr(spec.run)
                )
            return dict(known["model"])
        return _canonical_model(spec.model, self.facts) if spec.model is not None else None

    def _teaching(self, arm: str | None, seed: int) -> Teaching | None:
        if arm is None:
            return None
        return Teaching(self.teachers.get((arm, seed)), self.study.teachers[arm].table, self.maps[arm])

    def _preparation(
        self,
        name: str,
        overrides: Mapping[str, Any],
        recipe: Recipe,
        seed: int,
        teaching: Teaching,
        model: dict[str, dict[str, Any]],
    ) -> str:
        """Add what is prepared once on a teacher and shared by all students that need it; return its run."""
        row = PREPARATIONS[name]
        # As many epochs as published for 240 of the student's, and as few as its own where those are fewer.
        epochs = max(1, round(row.epochs / 240 * recipe.epochs))
        own: dict[str, Any] = {"epochs": epochs, "schedule": "multistep", "milestones": row.milestones, "ema": None}
        if not row.milestones:
            own |= {"schedule": "constant", "milestones": ()}
        prepared = validate(Recipe, {**recipe.model_dump(), **own, **overrides}, "preparation")
        untouched = Teaching(teaching.run, None, {"identity": {}})
        run = RunSpec(
            "preparation", model, {name: {}}, 0.0, prepared.model_dump(mode="json"), "last", seed,
            self.facts.fingerprint, untouched,
        )  # fmt: skip
        return self._add(run)


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


def _canonical_objective(spec: Named, facts: Facts) -> dict[str, dict[str, Any]]:
    parts = _with_defaults(parse(spec, OBJECTIVES, "objective"), OBJECTIVES)
    build_parts(parts, OBJECTIVES, Setting(facts.classes, min(facts.examples, FEW)))  # for options out of range
    return parts


def _canonical_method(spec: Named) -> tuple[dict[str, dict[str, Any]], float]:
    parts, gamma = parse_method(spec)
    return _with_defaults(parts, METHODS), gamma


def _canonical_map(spec: Named | None) -> dict[str, Any]:
    fitted = parse_map(spec)
    name = "identity" if spec is None else next(iter(named(spec)))
    return {name: asdict(fitted)}
