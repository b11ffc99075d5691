"""Commands that use a finished run: predict, evaluate, export."""

from __future__ import annotations

import csv
import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from goodteacher.cli.options import (
    Device,
    Json,
    Out,
    Quiet,
    Root,
    Size,
    app,
    begin,
    check_size,
    console,
    load_words,
    names_of,
)

Named = Annotated[str, typer.Argument(help="A finished run: its id, the beginning of it, or its folder.")]


def run_of(name: str, out: Path) -> Any:
    """Return the finished run that a word of the command line names."""
    from goodteacher.study.store import Store

    folder = Path(name)
    return Store(folder.parent.parent if (folder / "spec.json").exists() else out).run(folder.name)


def _data(data: str | None, root: Path, size: int | None) -> Any:
    """Return the problem that --data names, or None where it names none."""
    check_size(size, data)
    from goodteacher.data.sources import load

    return load(**load_words(data, root, size)) if data else None


@app.command()
def predict(
    run: Named,
    inputs: Annotated[list[Path], typer.Argument(help="Pictures, folders of pictures, or .npy files of vectors.")],
    to: Annotated[Path | None, typer.Option("--to", help="Write the table to this CSV file.")] = None,
    out: Out = Path("goodteacher-runs"),
    as_json: Json = False,
) -> None:
    """Say what a finished network makes of new inputs: a CSV table of answers and probabilities, one row per input."""
    from goodteacher.train.records import write_atomically

    begin("cpu", "local")
    found = run_of(run, out)
    names, p = _answers(found, inputs)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["input", "answer", *found.facts.class_names])
    for name, row in zip(names, p.tolist(), strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        writer.writerow([name, found.facts.class_names[best], *(f"{value:.6f}" for value in row)])
    text = table.getvalue()
    if to is None:
        sys.stdout.write(text)
    else:
        write_atomically(to, lambda file: file.write(text.encode()))
        console().print(f"{len(names)} answers: {to}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps({"run": found.id, "answers": len(names), "table": str(to) if to else None}))


def _answers(found: Any, inputs: list[Path]) -> tuple[list[str], Any]:
    """Return the names of inputs and the network's probabilities for them."""
    import numpy as np

    from goodteacher.base.errors import DataError
    from goodteacher.data.raw import files_in

    if found.facts.is_image:
        files = files_in(inputs)
        return [str(file) for file in files], found.predict(files)
    names, tables = [], []
    for file in inputs:
        try:
            tables.append(np.load(file, allow_pickle=False))
        except (OSError, ValueError) as error:
            received = f"{type(error).__name__}: {error}"
            raise DataError(f"'{file}'", rule="must be an .npy file of vectors (N, D)", received=received) from None
        names += [f"{file}[{i}]" for i in range(len(tables[-1]))]
    return names, found.predict(np.concatenate(tables))


@app.command()
def evaluate(
    run: Named,
    data: Annotated[
        str | None, typer.Option("--data", help="Whose test split it is scored on; by default its own problem's.")
    ] = None,
    size: Size = None,
    root: Root = Path("data"),
    out: Out = Path("goodteacher-runs"),
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score a finished network on held-out data: accuracy, balanced accuracy, Brier, NLL, ECE, class by class, with intervals."""
    from dataclasses import asdict

    from goodteacher.diagnose.evaluation import evaluate as scored
    from goodteacher.report import tables
    from goodteacher.report.evaluation import evaluation_grids
    from goodteacher.study.held_out import held_out

    place, _ = begin(device, "local")
    found = run_of(run, out)
    logits, labels, facts, said = held_out(found, _data(data, root, size), device=place)
    result = scored(logits, labels, facts.class_names)
    screen = console()
    screen.print(f"{found.describe()}\n{facts.summary}", markup=False, highlight=False, soft_wrap=True)
    for note in said:
        screen.print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
    for grid in evaluation_grids(result):
        tables.show(grid, screen)
    if as_json:
        scores = {name: asdict(estimate) for name, estimate in result.scores.items()}
        plain = {name: {k: v for k, v in e.items() if v == v} for name, e in scores.items()}  # noqa: PLR0124 - NaN
        classes = [asdict(row) for row in result.classes]
        print(json.dumps({"run": found.id, "scores": plain, "classes": classes, "notes": said}))


@app.command()
def export(
    run: Named,
    to: Annotated[Path, typer.Option("--to", help="The folder to write; an earlier export in it is replaced.")],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="safetensors, torch, onnx or int8; repeatable; all by default.",
            autocompletion=names_of("FORMATS"),
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="What the files are checked on; by default the data it was trained on.")
    ] = None,
    qat: Annotated[
        bool, typer.Option("--qat", help="For int8: train on under the same teacher while rounding, first.")
    ] = False,
    max_loss: Annotated[
        float, typer.Option("--max-loss", min=0, help="Points of accuracy that int8 may lose; more is an error.")
    ] = 1.0,
    licence: Annotated[str, typer.Option("--license", help="For the model card, such as apache-2.0.")] = "",
    size: Size = None,
    root: Root = Path("data"),
    out: Out = Path("goodteacher-runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a finished network as files that load anywhere, with its preprocessing inside, each checked on held-out data."""
    from goodteacher.base.errors import ConfigError, check_choice
    from goodteacher.study.known_names import FORMATS

    for name in formats or []:
        check_choice("format", name, FORMATS)
    if qat and formats and "int8" not in formats:
        raise ConfigError("--qat", rule="is for format int8", received=", ".join(formats))
    place, _ = begin(device, "local")
    from goodteacher.report import tables
    from goodteacher.report.progress import shown
    from goodteacher.ship.card import files_grid
    from goodteacher.ship.deployed import deployed
    from goodteacher.ship.export import export as written
    from goodteacher.ship.formats import checked_formats
    from goodteacher.ship.lines import loading
    from goodteacher.ship.quantisation_aware import trained_for_int8
    from goodteacher.study.origin import data_of

    chosen, found, screen = checked_formats(tuple(formats or ())), run_of(run, out), console()
    problem = _data(data, root, size) or data_of(found)
    with shown(screen, quiet=quiet) as tell:
        other = trained_for_int8(found, problem, device=place, tell=tell) if qat else None
    made = written(found, to, problem, formats=chosen, max_loss=max_loss / 100, licence=licence, for_int8=other)
    say = partial(screen.print, markup=False, highlight=False, soft_wrap=True)
    say(f"{found.describe()}\n{problem.describe()}")
    tables.show(files_grid(made.checks), screen)
    file = next((name for name in ("int8", "onnx", "torch") if name in chosen), None)
    if file is not None:
        say(f"In {made.folder}, without goodteacher:\n\n{loading(file, deployed(found))}\n")
    say(f"Written: {made.folder}, with its card {made.folder / 'README.md'}")
    if as_json:
        files = [check.stored() for check in made.checks]
        print(json.dumps({"run": found.id, "folder": str(made.folder), "files": files}))
