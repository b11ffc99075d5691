"""What a study file may say. Strict: an unknown key is an error with a suggestion."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from goodteacher.base.custom import is_hub
from goodteacher.base.errors import ConfigError, suggest
from goodteacher.study.arm_options import ArmInputs, EarlyStop, Ensemble, Snapshots
from goodteacher.study.known_names import check_arms, check_source
from goodteacher.study.study_file import StudyFile
from goodteacher.train.recipe import Keep, Recipe, Strict, validate

Named = str | dict[str, dict[str, Any] | None]
"""A table key, a sum of keys (``crd + kd``), or a mapping from keys to their options."""

_NAME = re.compile(r"[^\W_][\w.-]*")
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]{1,2}")
MOST_BYTES = 240  # of a name, which names a folder; file systems take 255


def _plain_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must start with a letter or digit and hold only letters, digits, '_', '-' and '.'")
    if len(name.encode()) > MOST_BYTES:
        raise ValueError(f"may take at most {MOST_BYTES} bytes")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]


class TeacherSpec(Strict):
    """An arm of teachers.

    Attributes:
        model: a model's name, or a mapping from it to its options.
        objective: what it minimises.
        keep: which checkpoint it hands over, chosen on validation; ``half`` is the one at half of training.
        map: what is done to its outputs before a student sees them.
        recipe: overrides of the study's recipe.
        table: instead of a model: ``truth``, the true label distribution of the training examples where it is known, or
            ``votes``, the shares of human votes.
        run: instead of a model: the id of a finished run in the same store; it teaches every seed.
        ensemble: instead of a model: other arms, as one teacher.
        start: an arm of the same model, or a finished run's id, whose weights training starts from.
        taught_by: an arm that teaches this one by ``method``: this teacher is an assistant.
        method: of an assistant; in place of ``objective``.
        early_stop: stop after so many epochs.
        snapshots: take the ends of so many cycles as one teacher.
        checkpoints: make every so many epochs a further arm, ``NAME_epochK``.
        cross_fit: train so many networks, each without a fold of the training examples, which it then teaches.
        filter_table: hand over the running averages of its predictions in training, with this share α of the newest.
        inputs: what its network expects to see, where that is not what the problem makes: ``{size: 32}``.
    """

    model: Named | None = None
    objective: Named = "cross_entropy"
    keep: Keep = "last"
    map: Named | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    table: Literal["truth", "votes"] | None = None
    run: str | None = None
    ensemble: Ensemble | None = None
    start: str | None = None
    taught_by: str | None = None
    method: Named | None = None
    early_stop: EarlyStop | None = None
    snapshots: Snapshots | None = None
    checkpoints: Annotated[int, Field(ge=1)] | None = None
    cross_fit: Annotated[int, Field(ge=2)] | None = None
    filter_table: Annotated[float, Field(gt=0, le=1)] | None = None
    inputs: ArmInputs | None = None

    @field_validator("early_stop", "snapshots", "ensemble", mode="before")
    @classmethod
    def _short_form(cls, value: object, info: ValidationInfo) -> object:
        keys = {"early_stop": "epochs", "snapshots": "cycles", "ensemble": "of"}
        short = isinstance(value, list | tuple) or (isinstance(value, int) and not isinstance(value, bool))
        return {keys[str(info.field_name)]: value} if short else value

    @model_validator(mode="after")
    def _one_of(self) -> TeacherSpec:
        if sum(x is not None for x in (self.model, self.table, self.run, self.ensemble)) != 1:
            raise ValueError("must name one of model, table, run or ensemble")
        trained = {
            "start",
            "taught_by",
            "early_stop",
            "snapshots",
            "checkpoints",
            "cross_fit",
            "filter_table",
            "inputs",
        }
        given = [name for name in sorted(trained) if getattr(self, name) is not None]
        if self.model is None and given:
            raise ValueError(f"can have {given[0]} only where a model is trained")
        if (self.method is None) != (self.taught_by is None):
            raise ValueError("an assistant needs both taught_by and method")
        if self.method is not None and self.objective != "cross_entropy":
            raise ValueError("an assistant minimises its method, and has no objective")
        handed = [n for n in ("snapshots", "cross_fit", "filter_table") if getattr(self, n) is not None]
        if len(handed) > 1:
            raise ValueError(f"can hand over one of {' and '.join(handed)}")
        truncated = self.early_stop is not None and self.early_stop.form == "truncate"
        if self.keep != "last" and (truncated or self.snapshots is not None):
            raise ValueError("keep, snapshots and a truncating early_stop all choose the checkpoint: give one")
        return self


class StudentSpec(Strict):
    """An arm of students.

    Attributes:
        model: a model's name, or a mapping from it to its options.
        method: what it minimises given its teacher; ``none`` is the student alone.
        taught_by: names of teacher arms; all of them by default.
        keep: which checkpoint counts, chosen on validation.
        recipe: overrides of the study's recipe.
        preparation: overrides of the recipe of what is prepared on the teacher first, for methods that need it (hsakd, ft).
        route: learn from checkpoints on the teacher's way, one after another: so many at equal distances, or at these epochs.
        inputs: what its network expects to see, where that is not what the problem makes: ``{size: 32}``.
    """

    model: Named
    method: Named = "kd"
    taught_by: tuple[str, ...] | None = None
    keep: Keep = "last"
    recipe: dict[str, Any] = Field(default_factory=dict)
    preparation: dict[str, Any] = Field(default_factory=dict)
    route: Annotated[int, Field(ge=2)] | tuple[Annotated[int, Field(ge=1)], ...] | None = None
    inputs: ArmInputs | None = None


class StudySpec(Strict):
    """A study: every student learns from every teacher (or those it names), once per seed.

    Attributes:
        name: of its folder and page.
        problem: a source's name with its options, ``root`` among them.
        recipe: of all runs, unless an arm overrides it.
        teachers: arms by name.
        students: arms by name.
        seeds: how many, or which.
        probes: whether teachers are measured around their validation inputs too: views, local Lipschitz estimates. That may take
            longer than training; `goodteacher rank --probes` does it afterwards.
        notes: what must be said beside its numbers: departures from what it follows.
    """

    name: Name = "study"
    problem: dict[str, Any]
    recipe: Recipe = Recipe()
    teachers: dict[Name, TeacherSpec] = Field(default_factory=dict)
    students: dict[Name, StudentSpec] = Field(default_factory=dict)
    seeds: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...] = 5
    probes: bool = False
    notes: tuple[str, ...] = ()
    _file: str = PrivateAttr("")

    @field_validator("problem", mode="before")
    @classmethod
    def _problem(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "name" not in value:
            raise ValueError("must name a source, as in {name: digits}")
        if not isinstance(value, Mapping):
            return value
        # YAML reads 1e-3 as text; a source's options have no types here, so this is where it becomes the number it looks like.
        text = ("name", "root", "path", "note")
        return {
            k: float(v) if k not in text and isinstance(v, str) and _EXPONENT.fullmatch(v) else v
            for k, v in value.items()
        }

    @model_validator(mode="after")
    def _consistent(self) -> StudySpec:
        if not self.teachers and not self.students:
            raise ValueError("needs at least one teacher or student")
        for name, student in self.students.items():
            for teacher in student.taught_by or ():
                if teacher not in self.known_arms:
                    raise ValueError(
                        f"student '{name}' is taught by '{teacher}', which is no teacher here; "
                        f"{suggest(teacher, self.known_arms)}"
                    )
        if len(set(self.seed_list)) < len(self.seed_list):
            raise ValueError("seeds must differ")
        for name, arm in self.teachers.items():
            named = [*(arm.ensemble.of if arm.ensemble else ()), *([arm.taught_by] if arm.taught_by else [])]
            for other in named:
                if other not in self.known_arms:
                    raise ValueError(
                        f"teacher '{name}' names '{other}', which is no teacher here; {suggest(other, self.known_arms)}"
                    )
        return self

    @property
    def file(self) -> str:
        """The study file it was read from, if it was."""
        return self._file

    def of_file(self, file: str) -> StudySpec:
        """Return the study as one that was read from a file; a later state of the same file may take its place in a store."""
        study = self.model_copy()
        study._file = file
        return study

    @property
    def known_arms(self) -> tuple[str, ...]:
        """The names of teacher arms, with those that `checkpoints` makes."""
        return tuple(expanded_teachers(self.teachers, self.recipe))

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    def teachers_of(self, student: StudentSpec) -> tuple[str, ...]:
        """Return the names of the arms that teach a student arm."""
        return student.taught_by if student.taught_by is not None else tuple(self.teachers)


def expanded_teachers(teachers: Mapping[str, TeacherSpec], recipe: Recipe) -> dict[str, TeacherSpec]:
    """Return the arms with a further one for each checkpoint that `TeacherSpec.checkpoints` asks for, before its own."""
    arms: dict[str, TeacherSpec] = {}
    for name, arm in teachers.items():
        for epoch in _checkpoint_epochs(arm, recipe):
            changes: dict[str, Any] = {"keep": f"epoch={epoch}", "checkpoints": None, "snapshots": None}
            if arm.early_stop is not None and arm.early_stop.form == "truncate":
                changes["early_stop"] = None
            # What decides the training stays, so that it is one training with several checkpoints.
            if arm.snapshots is not None:
                changes["recipe"] = {**arm.recipe, "schedule": "cyclic", "cycles": arm.snapshots.cycles}
            if arm.filter_table is not None:
                changes |= {"filter_table": None, "recipe": {**arm.recipe, "filter_table": arm.filter_table}}
            arms[f"{name}_epoch{epoch}"] = arm.model_copy(update=changes)
        arms[name] = arm.model_copy(update={"checkpoints": None})
    return arms


def _checkpoint_epochs(arm: TeacherSpec, recipe: Recipe) -> range:
    if arm.checkpoints is None:
        return range(0)
    epochs = arm.recipe.get("epochs", recipe.epochs)
    last = arm.early_stop.epochs if arm.early_stop is not None else epochs if isinstance(epochs, int) else recipe.epochs
    return range(arm.checkpoints, last, arm.checkpoints)


def parse_study(values: Mapping[str, Any], where: str = "study", *, file: str = "") -> StudySpec:
    """Return a study from plain values.

    Args:
        values: as a study file holds them.
        where: they stand, for messages.
        file: they were read from, which may replace what it said before.

    Raises:
        ConfigError: on the first mistake, with the key and a suggestion.
    """
    return validate(StudySpec, values, where).of_file(file)


def new_study(values: Mapping[str, Any], *, file: str = "") -> StudySpec:
    """Return a study that is about to run, from plain values: as `parse_study`, and the names in it are known.

    What a store holds may name what has gone since; it is read by `parse_study`.

    Raises:
        ConfigError: on the first mistake; torch is not imported for it.
    """
    study = parse_study(values, "", file=file)
    check_arms(study.teachers, study.students)
    try:
        check_source(study.problem.get("name"))
    except ConfigError as error:
        error.at = ("problem",)
        raise
    return study


def read_study(
    path: Path, overrides: Sequence[str] = (), given: Mapping[tuple[str, ...], Any] | None = None
) -> StudySpec:
    """Read a study file.

    Args:
        path: of the YAML file; its stem is the study's name unless the file gives one.
        overrides: ``key.path=value`` changes, values in YAML.
        given: values of other options, by the keys that lead to them; taken as they are, and overrides win.

    Returns:
        The study.

    Raises:
        ConfigError: if the file is missing, is not YAML, or holds a mistake; with its line.
    """
    file = StudyFile(path, overrides, given or {})
    try:
        return new_study(file.values, file=str(path.resolve()))
    except ConfigError as error:
        raise file.placed(error) from None


# How networks of other houses are trained where a study does not say otherwise: most start from published weights.
HUB_RECIPE: dict[str, Any] = {"optimizer": "adamw", "lr": 2e-4, "weight_decay": 0.05, "warmup": 0.05}


def arm_recipe(study: StudySpec, overrides: Mapping[str, Any], where: str, model: Named | None = None) -> Recipe:
    """Return the study's recipe with an arm's overrides.

    Args:
        study: whose recipe it is.
        overrides: of the arm.
        where: the place in the study, for the message.
        model: of the arm; one of another house has defaults of its own for what the study leaves open.
    """
    name = "" if model is None else model if isinstance(model, str) else next(iter(model))
    usual = {k: v for k, v in HUB_RECIPE.items() if is_hub(name) and k not in study.recipe.model_fields_set}
    return validate(Recipe, {**study.recipe.model_dump(), **usual, **overrides}, where)


def json_schema() -> str:
    """Return the JSON schema of study files, for editors."""
    schema = StudySpec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=1) + "\n"
