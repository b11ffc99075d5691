"""From a study to its runs: countable, hashed by content, checked before anything trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Needs
from goodteacher.data.facts import Facts
from goodteacher.methods.preparation import PREPARATIONS
from goodteacher.methods.table import needs_teacher
from goodteacher.study.canonical import (
    Parts,
    canonical_keep,
    canonical_map,
    canonical_method,
    canonical_model,
    canonical_objective,
    check_recipe,
    check_table,
    teacher_recipe,
)
from goodteacher.study.examine import examine
from goodteacher.study.planned import Cell, Plan
from goodteacher.study.runspec import RunSpec
from goodteacher.study.spec import StudentSpec, StudySpec, TeacherSpec, arm_recipe, expanded_teachers
from goodteacher.study.teaching import BY_EXAMPLE, Teaching
from goodteacher.train.recipe import Recipe, validate


def plan_study(study: StudySpec, facts: Facts, finished: Mapping[str, RunSpec] | None = None) -> Plan:
    """Plan a study.

    Args:
        study: as written.
        facts: of its problem.
        finished: specs of the finished runs that the study names, by id.

    Returns:
        The plan. Nothing is trained, read or written.

    Raises:
        ConfigError: for anything in the study that cannot be run: unknown names or options, models that do not take these
            inputs, methods that need a teacher where there is none, or that are undefined for a pair of models, arms that
            need each other in a circle.
    """
    study = study.model_copy(update={"teachers": expanded_teachers(study.teachers, study.recipe)})
    planner = _Planner(study, facts, finished or {})
    for name in study.teachers:
        for seed in study.seed_list:
            planner.teacher(name, seed)
    for name in study.students:
        planner.add_student(name)
    return Plan(study, facts, planner.runs, planner.teachers, tuple(planner.cells), planner.names)


class _Planner:
    """Collects runs; lives for one call of `plan_study`."""

    def __init__(self, study: StudySpec, facts: Facts, finished: Mapping[str, RunSpec]) -> None:
        self.study, self.facts, self.finished = study, facts, finished
        self.runs: dict[str, RunSpec] = {}
        self.teachers: dict[tuple[str, int], Teaching] = {}
        self.cells: list[Cell] = []
        self.names: dict[str, str] = {}
        self._under_way: list[str] = []
        self._losses: dict[str, tuple[Parts, float]] = {}

    def _add(self, run: RunSpec, name: str) -> str:
        self.runs[run.id] = run
        self.names.setdefault(run.id, name)
        return run.id

    def teacher(self, arm: str, seed: int) -> Teaching:
        """Return who teaches in an arm at a seed; what it needs is planned before it."""
        if (arm, seed) in self.teachers:
            return self.teachers[arm, seed]
        if arm in self._under_way:
            circle = " -> ".join((*self._under_way[self._under_way.index(arm) :], arm))
            raise ConfigError("teachers", rule="may not need each other in a circle", received=circle)
        self._under_way.append(arm)
        spec = self.study.teachers[arm]
        teaching = self._trained(arm, spec, seed) if spec.model is not None else self._given(arm, spec, seed)
        self._under_way.pop()
        self.teachers[arm, seed] = replace(teaching, target_map=canonical_map(spec.map))
        return self.teachers[arm, seed]

    def _given(self, arm: str, spec: TeacherSpec, seed: int) -> Teaching:
        """Return a teacher that needs no training of its own: a table, a finished run, an ensemble."""
        if spec.table is not None:
            check_table(arm, spec.table, self.facts)
            return Teaching(spec.table)
        if spec.run is not None:
            self._finished(spec.run, f"teachers.{arm}.run")
            return Teaching("network", (spec.run,))
        assert spec.ensemble is not None
        members = [self.teacher(name, seed) for name in spec.ensemble.of]
        for name, member in zip(spec.ensemble.of, members, strict=True):
            if member.network is None:
                raise ConfigError(
                    f"teachers.{arm}.ensemble", rule="joins arms of one network each", received=f"{name} ({member.how})"
                )
            if list(member.target_map) != ["identity"]:
                raise ConfigError(
                    f"teachers.{arm}.ensemble",
                    rule="joins networks as they are",
                    received=f"{name} with a map",
                    remedy="give the ensemble the map",
                )
        runs = tuple(run for member in members for run in member.runs)
        return Teaching(spec.ensemble.average, runs, spec.ensemble.weights)

    def _trained(self, arm: str, spec: TeacherSpec, seed: int) -> Teaching:
        """Plan an arm's networks and return how they teach."""
        recipe, keeps = teacher_recipe(self.study, arm, spec)
        check_recipe(recipe, f"teachers.{arm}", self.facts)
        assert spec.model is not None
        model = canonical_model(spec.model, self.facts)
        start = self._start(arm, spec, model, seed)
        teaching, kind, epochs = None, "teacher", 0
        if spec.taught_by is not None:
            teaching, kind = self.teacher(spec.taught_by, seed), "student"
        loss, gamma = self._loss(arm, spec, model, recipe)
        if teaching is not None:
            needs = self._examined(model, spec.taught_by, teaching, loss, f"teachers.{arm}")
            epochs = needs.initial_epochs
            teaching = self._prepared(needs.preparation, {}, recipe, seed, teaching, arm)
        plain = RunSpec(
            kind, model, loss, gamma, recipe.model_dump(mode="json"), keeps[0], seed, self.facts.fingerprint,
            teaching, epochs, start,
        )  # fmt: skip
        if spec.cross_fit is not None:
            if teaching is not None and teaching.how in BY_EXAMPLE:
                raise ConfigError(
                    f"teachers.{arm}",
                    rule="of folds cannot be taught by what answers by example",
                    received=teaching.how,
                )
            folds = [replace(plain, fold=(k, spec.cross_fit)) for k in range(spec.cross_fit)]
            return Teaching("folds", tuple(self._add(run, f"{arm} fold {k}/{seed}") for k, run in enumerate(folds)))
        runs = tuple(
            self._add(replace(plain, keep=keep), f"{arm}/{seed}" if len(keeps) == 1 else f"{arm} {keep}/{seed}")
            for keep in keeps
        )
        if spec.snapshots is not None:
            return Teaching(spec.snapshots.average, runs, spec.snapshots.weights)
        return Teaching("filter" if spec.filter_table is not None else "network", runs)

    def _loss(self, arm: str, spec: TeacherSpec, model: Parts, recipe: Recipe) -> tuple[Parts, float]:
        if arm not in self._losses:
            if spec.method is not None:
                self._losses[arm] = canonical_method(spec.method)
            else:
                where, tuned = f"teachers.{arm}", spec.start is not None
                parts = canonical_objective(spec.objective, model, self.facts, recipe, where=where, fine_tunes=tuned)
                self._losses[arm] = (parts, 0.0)
        return self._losses[arm]

    def _start(self, arm: str, spec: TeacherSpec, model: Parts, seed: int) -> str | None:
        """Return the run whose weights an arm starts from."""
        if spec.start is None:
            return None
        where = f"teachers.{arm}.start"
        if spec.start in self.study.teachers:
            run = self.teacher(spec.start, seed).network
            if run is None:
                raise ConfigError(where, rule="must be an arm of one network", received=repr(spec.start))
        else:
            run = spec.start
        other = self.runs[run].model if run in self.runs else self._finished(run, where).model
        if other != model:
            raise ConfigError(where, rule=f"must be of the same model, {model}", received=other)
        return run

    def _finished(self, run: str, where: str) -> RunSpec:
        if run not in self.finished:
            rule = (
                "must be a finished run of this store" if where.endswith("run") else "must be an arm or a finished run"
            )
            raise ConfigError(where, rule=rule, received=repr(run))
        return self.finished[run]

    def _examined(self, model: Parts, arm: str | None, teaching: Teaching | None, loss: Parts, where: str) -> Needs:
        """Return what a method needs on this pair of models."""
        network = teaching.network if teaching else None
        teacher = None
        if network is not None:
            teacher = self.runs[network].model if network in self.runs else self.finished[network].model
        return examine(model, teacher, loss, self.facts, where=f"{where}, taught by {arm}")

    def add_student(self, name: str) -> None:
        """Plan a student arm under each of its teachers, once a seed."""
        spec = self.study.students[name]
        recipe = arm_recipe(self.study, spec.recipe, f"students.{name}.recipe")
        keep = canonical_keep(spec.keep, recipe, f"students.{name}")
        check_recipe(recipe, f"students.{name}", self.facts)
        model = canonical_model(spec.model, self.facts)
        loss, gamma = canonical_method(spec.method)
        arms: tuple[str | None, ...] = self.study.teachers_of(spec) if needs_teacher(spec.method) else (None,)
        if not arms:
            raise ConfigError(f"students.{name}", rule="needs a teacher for its method", received="no teacher")
        for arm in arms:
            for seed in self.study.seed_list:
                label = f"{name} < {arm}/{seed}" if arm else f"{name}/{seed}"
                fixed = RunSpec(
                    "student", model, loss, gamma, recipe.model_dump(mode="json"), keep, seed, self.facts.fingerprint
                )
                way: list[Teaching | None] = [self.teacher(arm, seed)] if arm else [None]
                if arm and spec.route is not None:
                    way = self._anchors(name, spec.route, arm, seed)
                run = self._along(way, fixed, spec, arm, label)
                self.cells.append(Cell(name, arm, seed, run))

    def _along(
        self, way: Sequence[Teaching | None], fixed: RunSpec, spec: StudentSpec, arm: str | None, label: str
    ) -> str:
        """Plan a student along its teachers, each stage starting from the last one's weights; return the last run."""
        recipe = Recipe.model_validate(fixed.recipe)
        where = f"students.{label.partition('/')[0].partition(' ')[0]}"
        if recipe.epochs < len(way):
            raise ConfigError(f"{where}.route", rule="needs an epoch an anchor", received=f"{recipe.epochs} epochs")
        run = None
        for stage, teaching in enumerate(way):
            # The epochs are shared out; a rest goes to the first stages.
            epochs = recipe.epochs // len(way) + (stage < recipe.epochs % len(way))
            own = validate(Recipe, {**recipe.model_dump(), "epochs": epochs}, f"{where}.route")
            needs = self._examined(fixed.model, arm, teaching, fixed.loss, where)
            taught = teaching and self._prepared(
                needs.preparation, spec.preparation, own, fixed.seed, teaching, str(arm)
            )
            last = stage == len(way) - 1
            stage_run = replace(
                fixed,
                recipe=own.model_dump(mode="json"),
                keep=fixed.keep if last else "last",
                teaching=taught,
                initial_epochs=needs.initial_epochs,
                start=run,
            )
            run = self._add(stage_run, label if last else f"{label} stage {stage + 1}")
        assert run is not None
        return run

    def _anchors(self, student: str, route: int | tuple[int, ...], arm: str, seed: int) -> list[Teaching | None]:
        """Return a teacher's checkpoints on its way, the teacher itself last."""
        teaching = self.teacher(arm, seed)
        where = f"students.{student}.route"
        if teaching.network is None or teaching.network not in self.runs:
            raise ConfigError(where, rule="needs a teacher of one network that this study trains", received=arm)
        whole = self.runs[teaching.network]
        last = int(whole.keep.removeprefix("epoch=")) if whole.keep.startswith("epoch=") else whole.recipe["epochs"]
        if isinstance(route, int):
            epochs = sorted({max(1, round(last * i / route)) for i in range(1, route)})
        else:
            epochs = sorted(set(route))
        if not epochs or epochs[-1] >= last:
            raise ConfigError(where, rule=f"must lie before epoch {last}, the teacher's own", received=list(epochs))
        anchors: list[Teaching | None] = []
        for epoch in epochs:
            run = self._add(replace(whole, keep=f"epoch={epoch}"), f"{arm} epoch={epoch}/{seed}")
            anchors.append(replace(teaching, runs=(run,)))
        return [*anchors, teaching]

    def _prepared(
        self,
        preparations: Iterable[str],
        overrides: Mapping[str, Any],
        recipe: Recipe,
        seed: int,
        teaching: Teaching,
        arm: str,
    ) -> Teaching:
        """Add what is prepared once on a teacher and shared by all students that need it; return the prepared teacher."""
        for name in preparations:
            assert teaching.network is not None, "examine refuses a preparation of what has no features"
            row = PREPARATIONS[name]
            # As many epochs as published for 240 of the student's, and as few as its own where those are fewer.
            epochs = max(1, round(row.epochs / 240 * recipe.epochs))
            own: dict[str, Any] = {"epochs": epochs, "schedule": "multistep", "milestones": row.milestones} | PLAIN
            if not row.milestones:
                own |= {"schedule": "constant", "milestones": ()}
            prepared = validate(Recipe, {**recipe.model_dump(), **own, **overrides}, "preparation")
            network = teaching.network
            model = self.runs[network].model if network in self.runs else self.finished[network].model
            run = RunSpec(
                "preparation", model, {name: {}}, 0.0, prepared.model_dump(mode="json"), "last", seed,
                self.facts.fingerprint, Teaching("network", (network,)),
            )  # fmt: skip
            teaching = replace(teaching, runs=(self._add(run, f"{name} of {arm}/{seed}"),))
        return teaching


# What a preparation does not take over from its student's recipe: what changes the weights kept, or the batches.
PLAIN: dict[str, Any] = {
    "ema": None, "swa": None, "swa_lr": None, "mixup": None, "cutmix": None, "filter_table": None,
}  # fmt: skip
