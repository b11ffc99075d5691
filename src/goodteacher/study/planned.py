"""A plan: a study's runs, who teaches in which arm, and the cells of its table; written down and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from goodteacher.data.facts import Facts
from goodteacher.study.runspec import RunSpec
from goodteacher.study.spec import StudySpec, parse_study
from goodteacher.study.teaching import Teaching


@dataclass(frozen=True)
class Cell:
    """A student arm taught by a teacher arm (or by none), at one seed."""

    student: str
    teacher: str | None
    seed: int
    run: str

    @property
    def name(self) -> str:
        """What people call its run: student, teacher and seed."""
        return f"{self.student} < {self.teacher}/{self.seed}" if self.teacher else f"{self.student}/{self.seed}"


@dataclass(frozen=True)
class Given:
    """A finished run that a study names: what it was, and what is known of its problem."""

    spec: RunSpec
    facts: Facts


@dataclass(frozen=True)
class Plan:
    """A study's runs.

    Attributes:
        study: as written, with an arm for each checkpoint that is one.
        facts: of its problem.
        runs: by id; each after those it needs.
        teachers: (arm, seed) to who teaches, its target map included.
        cells: of the result table.
        names: run to its name for people: arm, teacher and seed.
    """

    study: StudySpec
    facts: Facts
    runs: dict[str, RunSpec]
    teachers: dict[tuple[str, int], Teaching]
    cells: tuple[Cell, ...]
    names: dict[str, str]

    def stored(self) -> dict[str, Any]:
        """Return the plan as ``plan.json`` holds it, but for its format; `read` is the inverse."""
        return {
            "problem": self.facts.fingerprint,
            "study": self.study.model_dump(mode="json"),
            "facts": self.facts.stored(),
            "runs": {run: asdict(spec) for run, spec in self.runs.items()},
            "names": self.names,
            "teachers": [{"arm": arm, "seed": seed, **asdict(who)} for (arm, seed), who in self.teachers.items()],
            "cells": [asdict(cell) for cell in self.cells],
        }

    @staticmethod
    def read(stored: Mapping[str, Any]) -> Plan:
        """Return a plan from what `stored` returned, read back from JSON.

        Runs keep the ids that they had when they were planned, whatever has become of the rules that make ids.
        """
        return Plan(
            parse_study(stored["study"]),
            Facts.read(stored["facts"]),
            {run: RunSpec.read(spec) for run, spec in stored["runs"].items()},
            {
                (row["arm"], row["seed"]): Teaching.read({k: v for k, v in row.items() if k not in ("arm", "seed")})
                for row in stored["teachers"]
            },
            tuple(Cell(**cell) for cell in stored["cells"]),
            dict(stored["names"]),
        )
