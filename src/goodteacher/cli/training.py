"""Commands that train: demo, run, teach, distill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodteacher.base.custom import is_own
from goodteacher.base.errors import check_choice
from goodteacher.cli.options import (
    CORES,
    Data,
    Device,
    Engine,
    Epochs,
    Inputs,
    Json,
    Out,
    Precision,
    Quiet,
    Root,
    Seeds,
    Set,
    Size,
    Track,
    With,
    Workers,
    app,
    begin,
    console,
    load_words,
    names_of,
)
from goodteacher.cli.output import show_results
from goodteacher.study.known_names import TRACKERS

if TYPE_CHECKING:
    from goodteacher.api import Finished


def _override(values: dict[str, Any], changes: list[str] | None, **recipe: Any) -> None:
    from goodteacher.study.study_file import apply_override

    given = {key: value for key, value in recipe.items() if value is not None}
    if given:
        values["recipe"] = {**(values.get("recipe") or {}), **given}
    for change in changes or []:
        apply_override(values, change)


def _asked(
    out: Path, device: str, engine: str, workers: int, quiet: bool, track: list[str] | None = None
) -> dict[str, Any]:
    """Return what a command asks of `run_study`, which it then calls itself: few frames lie between a command and a step."""
    for name in track or []:
        check_choice("tracker", name, TRACKERS)
    place, engine = begin(device, engine)
    return {
        "out": out, "device": place, "engine": engine, "workers": workers, "page": True, "console": console(), "quiet": quiet,
        "track": tuple(track or ()),
    }  # fmt: skip


def _end(finished: list[Finished], as_json: bool) -> None:
    """Show the tables of studies, and exit with 1 if a run failed."""
    failed = {run: reason for study in finished for run, reason in study.summary.failed.items()}
    show_results([study.folder for study in finished], as_json=as_json, failed=failed)
    if failed:
        raise typer.Exit(1)


@app.command()
def demo(
    out: Out = Path("goodteacher-runs"),
    seeds: Seeds = None,
    device: Device = "cpu",
    engine: Engine = "auto",
    workers: Workers = CORES,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train, rank, distil and report on data that come with the package: no network, under three minutes on two cores."""
    from goodteacher import demo as built_in
    from goodteacher.api import run_study

    asked = _asked(out, device, engine, workers, quiet)
    finished = []
    for study in (built_in.digits(seeds or 5), built_in.gaussian(seeds or 5)):
        sizes = f"{len(study.teachers)} teachers, {len(study.students)} students, {len(study.seed_list)} seeds"
        asked["console"].print(f"{study.name}: {sizes}")
        finished.append(run_study(study, **asked))
    _end(finished, as_json)


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="A study file in YAML.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs, with an estimate of time and disk.")
    ] = False,
    changes: Set = None,
    out: Out = Path("goodteacher-runs"),
    root: Annotated[Path | None, typer.Option("--root", help="Folder where data lie; over what the file says.")] = None,
    seeds: Seeds = None,
    epochs: Epochs = None,
    device: Device = "auto",
    precision: Precision = None,
    engine: Engine = "auto",
    workers: Workers = CORES,
    track: Track = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a study file: what is finished is skipped, what was interrupted goes on."""
    from goodteacher.study.spec import read_study

    options: dict[tuple[str, ...], Any] = {
        ("seeds",): seeds,
        ("recipe", "epochs"): epochs,
        ("recipe", "precision"): precision,
        ("problem", "root"): None if root is None else str(root),
    }
    given = {keys: value for keys, value in options.items() if value is not None}
    spec = read_study(study, tuple(changes or ()), given)
    if dry_run:
        from goodteacher.cli.dry_run import dry_run_of

        dry_run_of(spec, out, device, as_json=as_json)
        return
    asked = _asked(out, device, engine, workers, quiet, track)
    from goodteacher.api import run_study  # torch, which a typo does not wait for

    _end([run_study(spec, **asked)], as_json)


@app.command()
def teach(
    model: Annotated[
        str, typer.Argument(help="A model's name, or module:function.", autocompletion=names_of("MODELS"))
    ],
    data: Data,
    objective: Annotated[
        str, typer.Option("--objective", help="What the teacher minimises.", autocompletion=names_of("OBJECTIVES"))
    ] = "cross_entropy",
    keep: Annotated[
        str, typer.Option("--keep", help="last, half, best_brier, best_nll, best_accuracy or epoch=K.")
    ] = "last",
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="A finished run: train on from its weights. A file of another toolkit: register it."
        ),
    ] = None,
    inputs: Inputs = None,
    procedures: With = None,
    changes: Set = None,
    size: Size = None,
    root: Root = Path("data"),
    out: Out = Path("goodteacher-runs"),
    seeds: Seeds = 1,
    epochs: Epochs = None,
    device: Device = "auto",
    precision: Precision = None,
    engine: Engine = "auto",
    workers: Workers = CORES,
    track: Track = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a teacher, train one on from a finished run, or register one that was trained elsewhere."""
    from goodteacher.cli.study_names import data_word, word
    from goodteacher.cli.teacher_arms import arm_of, check_no_inputs, inputs_of, run_at
    from goodteacher.study.known_names import check_source, check_words
    from goodteacher.study.spec import new_study

    check_words(model=model)
    start = run_at(source, out) if source is not None else None
    if source is not None and start is None:
        check_source(data)
        _register(model, Path(source), inputs_of(inputs), load_words(data, root, size), out, device, as_json)
        return
    check_no_inputs(inputs, "teach MODEL --from FILE")
    arm = arm_of({"model": model, "objective": objective, "keep": keep, "start": start}, procedures)
    values: dict[str, Any] = {
        "problem": load_words(data, root, size),
        "teachers": {word(objective): arm},
        "seeds": seeds,
    }
    _override(values, changes, epochs=epochs, precision=precision)
    words = ["teach", data_word(values["problem"]), word(model), word(objective), *([start[:8]] if start else [])]
    values.setdefault("name", "-".join(words))
    spec, asked = new_study(values), _asked(out, device, engine, workers, quiet, track)
    from goodteacher.api import run_study

    _end([run_study(spec, **asked)], as_json)


def _register(
    model: str, source: Path, inputs: Any, words: dict[str, Any], out: Path, device: str, as_json: bool
) -> None:
    from goodteacher import api
    from goodteacher.data.sources import load
    from goodteacher.report import tables
    from goodteacher.study.import_weights import register
    from goodteacher.study.store import Store

    place, _ = begin(device, "local")
    run = register(model, source, load(**words), Store(out), inputs=inputs, device=place)
    console().print(f"Weights: {run.result.file}", markup=False, highlight=False)
    ranked = api.rank([run])
    tables.show(tables.teacher_grid(ranked), console())
    console().print(f"Run: {run.id}", markup=False, highlight=False)
    if as_json:
        print(json.dumps({"run": run.id, **ranked[0].scores}))


@app.command()
def distill(
    student: Annotated[
        str, typer.Argument(help="A model's name, or module:function.", autocompletion=names_of("MODELS"))
    ],
    data: Data,
    teacher: Annotated[
        list[str],
        typer.Option(
            "--teacher",
            autocompletion=names_of("MODELS"),
            help="A finished run's id, a model to train first, or auto: train some and pick one. Several teach as one.",
        ),
    ],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A file of weights for the one teacher, trained by somebody else.")
    ] = None,
    inputs: Inputs = None,
    method: Annotated[
        str,
        typer.Option(
            "--method", help="What carries the teacher over: kd, dkd, crd + kd, ...", autocompletion=names_of("METHODS")
        ),
    ] = "kd",
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            help="Of a teacher that is trained first; cross_entropy by default.",
            autocompletion=names_of("OBJECTIVES"),
        ),
    ] = None,
    target_map: Annotated[
        str | None,
        typer.Option(
            "--map", help="What is done to the teacher's outputs: temperature, ...", autocompletion=names_of("MAPS")
        ),
    ] = None,
    keep: Annotated[
        str, typer.Option("--keep", help="Of the student: last, half, best_brier, best_nll, best_accuracy or epoch=K.")
    ] = "last",
    budget: Annotated[
        int | None, typer.Option("--budget", help="With auto: how many teachers to train; 4 by default.", min=1)
    ] = None,
    candidate: Annotated[
        str | None,
        typer.Option(
            "--candidate",
            help="With auto: the teachers' model; by default one larger than the student, where one is known.",
            autocompletion=names_of("MODELS"),
        ),
    ] = None,
    procedures: With = None,
    changes: Set = None,
    size: Size = None,
    root: Root = Path("data"),
    out: Out = Path("goodteacher-runs"),
    seeds: Seeds = 1,
    epochs: Epochs = None,
    device: Device = "auto",
    precision: Precision = None,
    engine: Engine = "auto",
    workers: Workers = CORES,
    track: Track = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a student from a teacher, and the same student alone beside it."""
    from goodteacher.cli.study_names import data_word, joined, word
    from goodteacher.cli.teacher_arms import (
        check_no_inputs,
        check_options,
        inputs_of,
        larger_than,
        registered_from,
        teachers_of,
    )
    from goodteacher.study.known_names import MODELS, check_named, check_words
    from goodteacher.study.spec import new_study

    check_words(model=student, method=method, objective=objective, map=target_map)
    if candidate is not None:
        check_named("--candidate", candidate, MODELS)
    values = _distilling(student, method, keep, load_words(data, root, size), seeds)
    _override(values, changes, epochs=epochs, precision=precision)
    teachers = joined([word(Path(t).name[:16] if not is_own(t) else t) for t in teacher])
    words = ["distill", data_word(values["problem"]), teachers, word(student), word(method)]
    values.setdefault("name", "-".join(words))
    named = {"--with": procedures, "--map": target_map, "--objective": objective}
    check_options(named if teacher == ["auto"] else {"--budget": budget, "--candidate": candidate}, teacher)
    if weights is None:
        check_no_inputs(inputs, "--teacher MODEL --weights FILE")
    else:
        teacher = [
            registered_from(teacher, weights, inputs_of(inputs), new_study({**values, "teachers": {}}), out, device)
        ]
    if teacher == ["auto"]:
        new_study({**values, "teachers": {}})
        asked = _asked(out, device, engine, workers, quiet, track)
        from goodteacher.automatic import choose_teacher

        values = choose_teacher(candidate or larger_than(student), values, budget=budget or 4, **asked).study
    else:
        values["teachers"] = teachers_of(teacher, objective, target_map, procedures, out)
        for arm in values["students"].values():
            arm["taught_by"] = ["teacher"] if arm["method"] != "none" else []
    spec, asked = new_study(values), _asked(out, device, engine, workers, quiet, track)
    from goodteacher.api import run_study

    _end([run_study(spec, **asked)], as_json)


def _distilling(student: str, method: str, keep: str, words: dict[str, Any], seeds: int | None) -> dict[str, Any]:
    """Return the study of `distill`, but for its teachers."""
    from goodteacher.cli.study_names import word

    return {
        "problem": words,
        "students": {
            "alone": {"model": student, "method": "none", "keep": keep},
            word(method): {"model": student, "method": method, "keep": keep},
        },
        "seeds": seeds,
    }
