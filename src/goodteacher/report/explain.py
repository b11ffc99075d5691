"""One finished student explained: tables, figures and a self-contained page beside the run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment

from goodteacher.base.errors import ConfigError, GoodteacherError
from goodteacher.base.types import Batch
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.data.sources import load
from goodteacher.diagnose.explain import (
    Explanation,
    Part,
    answered,
    conclusion_of,
    explain,
    saved_parts,
    teaching_of,
)
from goodteacher.report.explain_figures import charts_of
from goodteacher.report.explain_tables import grids_of
from goodteacher.report.markdown import bullets, write_markdown
from goodteacher.report.page import page_style, scripts
from goodteacher.study.machine import environment
from goodteacher.study.run import Run
from goodteacher.study.store import Store, load_study
from goodteacher.study.teacher_source import TeacherSource
from goodteacher.train.frozen import NetworkTeacher, views_of
from goodteacher.train.recipe import Recipe
from goodteacher.train.records import write_atomically, write_json

# Training examples looked at: enough for shares to a point, few enough for two networks on two cores.
MOST = 10_000


@dataclass(frozen=True)
class Explained:
    """A run explained.

    Attributes:
        run: the student.
        parts: explanations, training first, test last.
        said: what could not be explained, and why.
    """

    run: Run
    parts: tuple[Explanation, ...]
    said: tuple[str, ...]


def explain_run(
    run: Run, problem: Problem | None = None, *, device: str = "cpu", said: Sequence[str] = ()
) -> Explained:
    """Explain a finished student by its teacher.

    Args:
        run: the student's.
        problem: the data it was trained on; without them, validation and test are explained from saved outputs alone.
        device: for answers on training examples.
        said: notes to go with it.

    Returns:
        The explanations of every split there are answers on.

    Raises:
        ConfigError: if nobody taught the run, or the problem is another than the run's.
    """
    teaching_of(run)
    notes, parts = list(said), list[Part]()
    if problem is not None:
        if problem.fingerprint != run.spec.problem:
            raise ConfigError(
                f"data for run {run.id}",
                rule="must be those it was trained on",
                received=f"{problem.describe()} instead of {run.facts.summary}",
                remedy="check --data and --root",
            )
        parts, lacking = data_parts(run, problem, device)
        notes += lacking
    elif not notes:
        notes.append("No data were given: answers on training examples are not explained.")
    names = run.facts.class_names
    return Explained(run, tuple(explain(part, names) for part in [*parts, *saved_parts(run)]), tuple(notes))


def data_parts(run: Run, problem: Problem, device: str = "cpu") -> tuple[list[Part], list[str]]:
    """Return the answers of a student and its teacher on training examples, plain and as augmented in training.

    Args:
        run: the student's.
        problem: its own.
        device: for the networks.

    Returns:
        The parts, and what must be said of them.
    """
    source = TeacherSource(problem, run.spec.problem, Store(run.root), torch.device(device))
    teacher = source.teacher(teaching_of(run))
    student = NetworkTeacher(run.model.to(device), precision=run.result.precision, spec=run.input_spec)
    views, recipe, said = views_of(teacher), Recipe.model_validate(run.spec.recipe), []
    kinds = {"train": "none", "augmented train": recipe.augment}
    if (problem.augment if recipe.augment == "auto" else recipe.augment) == "none":
        said.append("Training had no augmentation, so there is no augmented train apart.")
        del kinds["augmented train"]
    if views:
        said.append("The target map averages augmented views, so plain training examples are left out.")
        del kinds["train"]
    if len(problem.train) > MOST:
        said.append(f"Of {len(problem.train)} training examples, {MOST} drawn at random are looked at.")
    parts = []
    for name, augmentation in kinds.items():
        loader = Loader(
            problem, batch_size=500, seed=run.spec.seed, augmentation=augmentation, views=views, device=device
        )
        parts.append(answered(name, student, teacher, _batches(loader)))
    return parts, said


def _batches(loader: Loader) -> Iterator[Batch]:
    """Yield the first epoch, or as many batches of it as hold enough examples."""
    # MOST is a multiple of the batch, so no example of a smaller problem is left out but a last one by itself.
    batches = (loader.batch(step) for step in range(loader.steps_per_epoch))
    return itertools.islice(batches, max(1, MOST // loader.batch_size))


def find_run(folders: Sequence[Path], run: str) -> tuple[Run, Mapping[str, Any]]:
    """Return a finished run by its id or the beginning of it, and how its study names the problem.

    Args:
        folders: of studies.
        run: id, or as much of it as one run of these studies alone begins with.

    Raises:
        ConfigError: if several runs begin so.
        StoreError: if no run of the store has this id.
    """
    words: dict[str, tuple[Store, Mapping[str, Any]]] = {}
    for folder in folders:
        store, plan = load_study(folder)
        taught = [cell.run for cell in plan.cells] + [run for who in plan.teachers.values() for run in who.runs]
        words |= {known: (store, plan.study.problem) for known in taught if known not in words}
    matches = [known for known in words if known.startswith(run)]
    if len(matches) > 1:
        raise ConfigError("--explain", rule="must be one run", received=f"{run}, with which {len(matches)} begin")
    if not matches:
        return load_study(folders[0])[0].run(run), {}
    store, problem = words[matches[0]]
    return store.run(matches[0]), problem


def load_for(
    run: Run, words: Mapping[str, Any], data: str | None, root: Path | None
) -> tuple[Problem | None, list[str]]:
    """Return the problem of a run, or None and why it is not there.

    Args:
        run: the student's.
        words: how its study names the problem.
        data: another name, file or folder of the same data; what the study does to the labels is done to them too.
        root: folder of the files; None leaves the study's own.

    Raises:
        ConfigError: if ``data`` was given and cannot be loaded.
        DataError: if ``data`` was given and is damaged or missing.
    """
    options = {**words, **({"root": root} if root else {})}
    name = data or options.get("name")
    if name is None:
        return None, ["No study here has this run, so its data are not known: only saved outputs are explained."]
    if data is not None:
        options.pop("path", None)
    options.pop("name", None)
    if data is not None:
        return load(data, **options), []
    try:
        problem = load(name, **options)
    except GoodteacherError as error:
        return None, [f"The data could not be loaded, so answers on training examples are not explained: {error}"]
    if problem.fingerprint != run.spec.problem:
        return None, ["The study's own words load other data than the run's: only saved outputs are explained."]
    return problem, []


def plain_explanation(explained: Explained) -> dict[str, Any]:
    """Return an explanation as plain data."""
    run = explained.run
    parts = {
        e.part.name: {
            "examples": len(e.part.labels),
            "fidelity": asdict(e.fidelity),
            "deviations": {
                version: {group: {**asdict(d), "said": d.words} for group, d in groups.items()}
                for version, groups in e.deviations.items()
            },
            "roles_exchanged": None if e.exchanged is None else {**asdict(e.exchanged), "said": e.exchanged.words},
            "scores": e.scores,
            "contest": asdict(e.contest),
            "confidence_bands": [asdict(g) for g in e.bands],
            "classes": [asdict(g) for g in e.classes],
        }
        for e in explained.parts
    }
    plain: dict[str, Any] = _without_nan(
        {
            "run": run.id,
            "student": run.describe(),
            "teacher": _teacher_words(run),
            "conclusion": conclusion_of(explained.parts),
            "said": list(explained.said),
            "parts": parts,
        }
    )
    return plain


def _without_nan(value: Any) -> Any:
    """Return plain data with None for NaN, which JSON has not."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _teacher_words(run: Run) -> str:
    teaching = teaching_of(run)
    members = "; ".join(run.sibling(r).describe() for r in teaching.runs) or f"the table of {teaching.how}"
    (name,) = teaching.target_map
    mapped = "" if name == "identity" else f", after the target map {name}"
    return (
        members if teaching.how == "network" else f"{teaching.how} of {members}" if teaching.runs else members
    ) + mapped


def write_explanation(explained: Explained, folder: Path | None = None) -> Path:
    """Write ``explain.html``, ``explain.json``, and ``explain.md`` with its figures beside it.

    Args:
        explained: the run.
        folder: where; by default the run's own.

    Returns:
        The page's path.

    Raises:
        StoreError: if they cannot be written.
    """
    run = explained.run
    folder = folder or run.path
    write_json(folder / "explain.json", plain_explanation(explained))
    template = files("goodteacher.report").joinpath("explain.html.j2").read_text(encoding="utf-8")
    conclusion, grids, charts = conclusion_of(explained.parts), grids_of(explained.parts), charts_of(explained.parts)
    title, notes = f"Student {run.id}", [*run.facts.notes, *explained.said]
    html = Environment(autoescape=True).from_string(template).render(
        run=run.id, title=title, problem=run.facts.summary, notes=notes, conclusion=conclusion, grids=grids,
        charts=charts, student=run.describe(), teacher=_teacher_words(run), environment=environment(),
        style=page_style(), scripts=scripts(),
    )  # fmt: skip
    path = folder / "explain.html"
    write_atomically(path, lambda file: file.write(html.encode()))
    made = (
        f"{run.describe()} · taught by {_teacher_words(run)}",
        " · ".join(f"{k} {v}" for k, v in environment().items()),
    )
    opening = (run.facts.summary, bullets(notes), f"**{conclusion}**")
    write_markdown(path.with_suffix(".md"), title, opening, grids, charts, made)
    return path
