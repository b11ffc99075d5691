"""Where a finished run comes from: the studies that hold it, and the data they name."""

from __future__ import annotations

from pathlib import Path

from goodteacher.base.errors import ConfigError, GoodteacherError
from goodteacher.data.problem import Problem
from goodteacher.data.sources import load
from goodteacher.study.planned import Plan
from goodteacher.study.run import Run
from goodteacher.study.store import load_study


def studies_of(run: Run) -> list[Path]:
    """Return the folders of the studies that planned a run, those in which it is a result before those where it is on the way."""
    found = [(folder, plan) for folder, plan in _plans(run.root) if run.id in plan.runs or run.id in _given(plan)]
    return [folder for folder, plan in sorted(found, key=lambda f: run.id not in {cell.run for cell in f[1].cells})]


def _given(plan: Plan) -> set[str]:
    return {run for teaching in plan.teachers.values() for run in teaching.runs}


def _plans(root: Path) -> list[tuple[Path, Plan]]:
    found = []
    for path in sorted((root / "studies").glob("*/plan.json")):
        try:
            found.append((path.parent, load_study(path.parent)[1]))
        except GoodteacherError:  # a damaged study is no reason to lose a sound one
            continue
    return found


def data_of(run: Run) -> Problem:
    """Return the data a run was trained on, loaded by the words of a study that names them.

    Raises:
        ConfigError: if no study of the store names data that are the same as then.
    """
    tried: list[str] = []
    for _, plan in _plans(run.root):
        words = dict(plan.study.problem)
        if plan.facts.fingerprint != run.spec.problem or str(words) in tried:
            continue
        tried.append(str(words))
        try:
            problem = load(words.pop("name"), **words)
        except GoodteacherError:  # moved away, or handed over in Python
            continue
        if problem.fingerprint == run.spec.problem:
            return problem
    raise ConfigError(
        f"data of run {run.id}",
        rule="must be where they were when it was trained",
        received=f"none that fit, looked for {', '.join(tried) or 'nothing'}",
        remedy="say where they are: --data",
    )
