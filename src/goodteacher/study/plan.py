"""From a study to its runs: countable, hashed by content, checked before anything trains.

Words are checked here; whether networks fit together is asked of a `Trial`, which is imported when there is something to plan, so
that this module needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from goodteacher.base.errors import ConfigError
from goodteacher.base.input_spec import InputSpec
from goodteacher.data.facts import Facts
from goodteacher.study.names import (
    Parts,
    canonical_keep,
    check_given,
    check_recipe,
    check_table,
    teacher_recipe,
)
from goodteacher.study.planned import Cell, Given, Plan
from goodteacher.study.runspec import RunSpec
from goodteacher.study.spec import StudentSpec, StudySpec, TeacherSpec, arm_recipe, expanded_teachers
from goodteacher.study.teaching import BY_EXAMPLE, Teaching
from goodteacher.train.recipe import Recipe, validate

if TYPE_CHECKING:
    from goodteacher.base.types import Needs
    from goodteacher.study.trial import Trial


def plan_study(study: StudySpec, facts: Facts, finished: Mapping[str, Given] | None = None) -> Plan:
    """Plan a study.

    Args:
        study: as written.
        facts: of its problem.
        finished: the finished runs that the study names, by id.

    Returns:
        The plan. Nothing is trained, read or written.

    Raises:
        ConfigError: for anything in the study that cannot be run: unknown names or options, models that do not take these
            inputs, methods that need a teacher where there is none, or that are undefined for a pair of models, arms that
            need each other in a circle.
    """
    study = study.model_copy(update={"teachers": expanded_teachers(study.teachers, study.recipe)})
    from goodteacher.study.trial import Trial

    planner = _Planner(study, facts, finished or {}, Trial(facts))
    # Teachers first, whether or not a student asks for them: an arm is a result of its own.
    for name in study.teachers:
        for seed in study.seed_list:
            planner.teacher(name, seed)
    for name in study.students:
        planner.add_student(name)
    return Plan(study, facts, planner.runs, planner.teachers, tuple(planner.cells), planner.names)


class _Planner:
    """Collects runs; lives for one call of `plan_study`."""

    def __init__(self, study: StudySpec, facts: Facts, finished: Mapping[str, Given], trial: Trial) -> None:
        self.study, self.facts, self.finished, self.trial = study, facts, finished, trial
        self.runs: dict[str, RunSpec] = {}
        self.teachers: dict[tuple[str, int], Teaching] = {}
        self.cells: list[Cell] = []
        self.names: dict[str, str] = {}
        self._under_way: list[str] = []
        self._losses: dict[str, tuple[Parts, float]] = {}

    def _add(self, run: RunSpec, name: str) -> str:
        run = self.trial.described(run)
        # Two arms may describe the same run: it is trained once, and keeps the first name it was given.
        made = run.id  # hashed at each call
        self.runs[made] = run
        self.names.setdefault(made, name)
        return made

    def teacher(self, arm: str, seed: int) -> Teaching:
        """Return who teaches in an arm at a seed; what it needs is planned before it."""
        if (arm, seed) in self.teachers:
            return self.teachers[arm, seed]
        if arm in self._under_way:
            circle = " -> ".join((*self._under_way[self._under_way.index(arm) :], arm))
            raise ConfigError("teachers", rule="may not need each other in a circle", received=circle)
        self._under_way.append(arm)
        # Assistants, ensembles and starts refer to other arms in any order: each is planned when it is first asked for.
        spec = self.study.teachers[arm]
        teaching = self._trained(arm, spec, seed) if spec.model is not None else self._given(arm, spec, seed)
        self._under_way.pop()
        self.teachers[arm, seed] = replace(teaching, target_map=self.trial.map(spec.map))
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
        inputs = self.trial.inputs(spec.model, spec.inputs, f"teachers.{arm}")
        model = self.trial.model(spec.model, self._shape(inputs))
        start = self._start(arm, spec, model, seed)
        teaching, kind = None, "teacher"
        if spec.taught_by is not None:
            teaching, kind = self.teacher(spec.taught_by, seed), "student"
        loss, gamma = self._loss(arm, spec, (model, self._shape(inputs)), recipe)
        plain = RunSpec(
            kind, model, loss, gamma, recipe.model_dump(mode="json"), keeps[0], seed, self.facts.fingerprint,
            start=start, inputs=inputs.stored() if inputs else None,
        )  # fmt: skip
        if teaching is not None:
            needs = self._needs(plain, spec.taught_by, teaching, f"teachers.{arm}")
            teaching = self._prepared(needs.preparation, {}, recipe, seed, teaching, arm)
            plain = replace(plain, teaching=teaching, initial_epochs=needs.initial_epochs)
        # From here on one description becomes several runs: by fold, by checkpoint, or one.
        if spec.cross_fit is not None:
            if teaching is not None and teaching.how in BY_EXAMPLE:
                raise ConfigError(
                    f"teachers.{arm}",
                    rule="cannot be trained fold by fold under a teacher that has answers for the whole training split only",
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

    def _shape(self, inputs: InputSpec | None) -> tuple[int, ...]:
        """Return the shape of one example as an arm's network sees it."""
        return inputs.shape if inputs else self.facts.input_shape

    def _loss(
        self, arm: str, spec: TeacherSpec, network: tuple[Parts, tuple[int, ...]], recipe: Recipe
    ) -> tuple[Parts, float]:
        """Return an arm's loss; it is the same for every seed, and tried out once."""
        if arm not in self._losses:
            if spec.method is not None:
                self._losses[arm] = self.trial.method(spec.method)
            else:
                where, tuned = f"teachers.{arm}", spec.start is not None
                parts = self.trial.objective(spec.objective, *network, recipe, where=where, fine_tunes=tuned)
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
        other, _ = self._network(run, where)
        if other != model:
            raise ConfigError(where, rule=f"must be of the same model, {model}", received=other)
        return run

    def _finished(self, run: str, where: str) -> Given:
        """Return a finished run that the study names, checked to fit the problem."""
        if run not in self.finished:
            rule = (
                "must be a finished run of this store" if where.endswith("run") else "must be an arm or a finished run"
            )
            raise ConfigError(where, rule=rule, received=repr(run))
        check_given(self.finished[run], run, self.facts, where)
        return self.finished[run]

    def _network(self, run: str, where: str = "teachers") -> tuple[Parts, tuple[int, ...]]:
        """Return the model of a planned or finished run, and the shape of one example as its network sees it."""
        if run in self.runs:
            return self.runs[run].model, self.runs[run].input_shape(self.facts)
        given = self._finished(run, where)
        return given.spec.model, given.spec.input_shape(given.facts)

    def _seen_by(self, run: str) -> dict[str, Any] | None:
        """Return what a teacher's network expects to see, where that is not what the problem makes."""
        if run in self.runs:
            return self.runs[run].inputs
        given = self.finished[run]
        sees = given.spec.input_spec(given.facts)
        return None if sees is None or sees == self.facts.inputs else sees.stored()

    def _needs(self, run: RunSpec, arm: str | None, teaching: Teaching | None, where: str) -> Needs:
        """Return what a run's method needs under this teacher."""
        network = teaching.network if teaching else None
        teacher = None if network is None else self._network(network)
        own = (run.model, run.input_shape(self.facts))
        needs = self.trial.needs(own, teacher, run.loss, where=f"{where}, taught by {arm}")
        self.trial.check_weighing(run, needs)
        return needs

    def add_student(self, name: str) -> None:
        """Plan a student arm under each of its teachers, once per seed."""
        spec = self.study.students[name]
        recipe = arm_recipe(self.study, spec.recipe, f"students.{name}.recipe", spec.model)
        keep = canonical_keep(spec.keep, recipe, f"students.{name}")
        check_recipe(recipe, f"students.{name}", self.facts)
        inputs = self.trial.inputs(spec.model, spec.inputs, f"students.{name}")
        model = self.trial.model(spec.model, self._shape(inputs))
        loss, gamma = self.trial.method(spec.method)
        taught = self.trial.needs_teacher(spec.method)
        arms: tuple[str | None, ...] = self.study.teachers_of(spec) if taught else (None,)
        if not arms:
            raise ConfigError(f"students.{name}", rule="needs a teacher for its method", received="no teacher")
        for arm in arms:
            for seed in self.study.seed_list:
                label = f"{name} < {arm}/{seed}" if arm else f"{name}/{seed}"
                # What all stages on the way have in common; who teaches, how long and from where is each stage's own.
                fixed = RunSpec(
                    "student", model, loss, gamma, recipe.model_dump(mode="json"), keep, seed, self.facts.fingerprint,
                    inputs=inputs.stored() if inputs else None,
                )  # fmt: skip
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
            raise ConfigError(
                f"{where}.route", rule="needs one epoch for each anchor at least", received=f"{recipe.epochs} epochs"
            )
        run = None
        for stage, teaching in enumerate(way):
            # The epochs are shared out; a rest goes to the first stages.
            epochs = recipe.epochs // len(way) + (stage < recipe.epochs % len(way))
            own = validate(Recipe, {**recipe.model_dump(), "epochs": epochs}, f"{where}.route")
            needs = self._needs(fixed, arm, teaching, where)
            taught = teaching and self._prepared(
                needs.preparation, spec.preparation, own, fixed.seed, teaching, str(arm)
            )
            # Only the last stage is the student: what comes before hands its last weights on, whatever rule is to be kept.
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
        # Checkpoints of a training that is planned anyway: they cost disk and no time.
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
            assert teaching.network is not None, "a trial refuses a preparation of what has no features"
            published, milestones = self.trial.preparation(name)
            # As many epochs as published for 240 of the student's, and as few as its own where those are fewer.
            epochs = max(1, round(published / 240 * recipe.epochs))
            own: dict[str, Any] = {"epochs": epochs, "schedule": "multistep", "milestones": milestones} | PLAIN
            if not milestones:
                own |= {"schedule": "constant", "milestones": ()}
            # Optimiser, batch and augmentation are the student's: what is prepared must see what it will be asked for.
            prepared = validate(Recipe, {**recipe.model_dump(), **own, **overrides}, "preparation")
            network = teaching.network
            model, _ = self._network(network)
            run = RunSpec(
                "preparation", model, {name: {}}, 0.0, prepared.model_dump(mode="json"), "last", seed,
                self.facts.fingerprint, Teaching("network", (network,)), inputs=self._seen_by(network),
            )  # fmt: skip
            # The prepared network takes the teacher's place: it answers what the teacher does, and more.
            teaching = replace(teaching, runs=(self._add(run, f"{name} of {arm}/{seed}"),))
        return teaching


# What a preparation does not take over from its student's recipe: what changes the weights kept, or the batches.
PLAIN: dict[str, Any] = {
    "ema": None, "swa": None, "swa_lr": None, "mixup": None, "cutmix": None, "filter_table": None,
    "class_weights": None, "quantise": None,
}  # fmt: skip
