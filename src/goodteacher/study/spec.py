"""What a study file may say. Strict: an unknown key is an error with a suggestion."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, field_validator, model_validator

from goodteacher.base.errors import ConfigError, suggest
from goodteacher.train.config import Keep, Recipe, Strict, validate

Named = str | dict[str, dict[str, Any] | None]
"""A table key, a sum of keys (``crd + kd``), or a mapping from keys to their options."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _plain_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must start with a letter or digit and hold only letters, digits, '_', '-' and '.'")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]


class TeacherSpec(Strict):
    """An arm of teachers.

    Attributes:
        model: a model's name, or a mapping from it to its options.
        objective: what it minimises.
        keep: which checkpoint it hands over, chosen on validation.
        map: what is done to its outputs before a student sees them.
        recipe: overrides of the study's recipe.
        table: instead of a model: ``truth``, the true label distribution of the training examples where it is known, or
            ``votes``, the shares of human votes.
        run: instead of a model: the id of a finished run in the same store; it teaches every seed.
    """

    model: Named | None = None
    objective: Named = "cross_entropy"
    keep: Keep = "last"
    map: Named | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    table: Literal["truth", "votes"] | None = None
    run: str | None = None

    @model_validator(mode="after")
    def _one_of(self) -> TeacherSpec:
        if sum(x is not None for x in (self.model, self.table, self.run)) != 1:
            raise ValueError("must name one of model, table or run")
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
    """

    model: Named
    method: Named = "kd"
    taught_by: tuple[str, ...] | None = None
    keep: Keep = "last"
    recipe: dict[str, Any] = Field(default_factory=dict)
    preparation: dict[str, Any] = Field(default_factory=dict)


class StudySpec(Strict):
    """A study: every student learns from every teacher (or those it names), once a seed.

    Attributes:
        name: of its folder and page.
        problem: a source's name with its options, ``root`` among them.
        recipe: of all runs, unless an arm overrides it.
        teachers: arms by name.
        students: arms by name.
        seeds: how many, or which.
        notes: what must be said beside its numbers: departures from what it follows.
    """

    name: Name = "study"
    problem: dict[str, Any]
    recipe: Recipe = Recipe()
    teachers: dict[Name, TeacherSpec] = Field(default_factory=dict)
    students: dict[Name, StudentSpec] = Field(default_factory=dict)
    seeds: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...] = 5
    notes: tuple[str, ...] = ()

    @field_validator("problem", mode="before")
    @classmethod
    def _problem(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "name" not in value:
            raise ValueError("must name a source, as in {name: digits}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> StudySpec:
        if not self.teachers and not self.students:
            raise ValueError("needs at least one teacher or student")
        for name, student in self.students.items():
            for teacher in student.taught_by or ():
                if teacher not in self.teachers:
                    raise ValueError(
                        f"student '{name}' is taught by '{teacher}', which is no teacher here; "
                        f"{suggest(teacher, self.teachers)}"
                    )
        if len(set(self.seed_list)) < len(self.seed_list):
            raise ValueError("seeds must differ")
        return self

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    def teachers_of(self, student: StudentSpec) -> tuple[str, ...]:
        """Return the names of the arms that teach a student arm."""
        return student.taught_by if student.taught_by is not None else tuple(self.teachers)


def parse_study(values: Mapping[str, Any], where: str = "study") -> StudySpec:
    """Return a study from plain values.

    Raises:
        ConfigError: on the first mistake, with the key and a suggestion.
    """
    return validate(StudySpec, values, where)


def read_study(path: Path, overrides: tuple[str, ...] = ()) -> StudySpec:
    """Read a study file.

    Args:
        path: of the YAML file; its stem is the study's name unless the file gives one.
        overrides: ``key.path=value`` changes, values in YAML.

    Returns:
        The study.

    Raises:
        ConfigError: if the file is missing, is not YAML, or holds a mistake.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"study file {path}", rule="must exist", received="no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"a mistake in line {mark.line + 1}" if mark else "something else"
        raise ConfigError(f"study file {path}", rule="must be YAML", received=line) from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"study file {path}",
            rule="must hold keys such as problem, teachers, students",
            received=type(values).__name__,
        )
    values.setdefault("name", re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem))
    for override in overrides:
        apply_override(values, override)
    return parse_study(values, "")


def apply_override(values: dict[str, Any], override: str) -> None:
    """Change one value of a nested mapping in place by ``key.path=value``."""
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise ConfigError("--set", rule="must be KEY=VALUE", received=repr(override))
    *parents, last = path.strip().split(".")
    place = values
    for key in parents:
        child = place.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {path}", rule=f"'{key}' must hold keys", received=repr(child))
        place = child
    place[last] = yaml.safe_load(text)


def arm_recipe(study: StudySpec, overrides: Mapping[str, Any], where: str) -> Recipe:
    """Return the study's recipe with an arm's overrides."""
    return validate(Recipe, {**study.recipe.model_dump(), **overrides}, where)


def json_schema() -> str:
    """Return the JSON schema of study files, for editors."""
    schema = StudySpec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=1) + "\n"
