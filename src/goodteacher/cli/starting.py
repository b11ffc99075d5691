"""The command that writes a first study file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from goodteacher.cli.options import Device, Json, Out, Root, Size, app, begin, console, data_words


@app.command()
def init(
    data: Annotated[
        str, typer.Argument(help="As --data elsewhere: a name, an .npz file, a folder.", autocompletion=data_words)
    ],
    to: Annotated[Path, typer.Option("--to", help="The file to write.")] = Path("study.yaml"),
    max_params: Annotated[
        int | None, typer.Option("--max-params", min=1, help="Parameters the student may have.")
    ] = None,
    max_latency: Annotated[
        float | None,
        typer.Option("--max-latency", min=0, help="Milliseconds the student may take for one example here."),
    ] = None,
    size: Size = None,
    root: Root = Path("data"),
    out: Out = Path("goodteacher-runs"),
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write a commented study file for your data, with a student within a limit and an estimate of the time it takes."""
    from goodteacher.study.known_names import check_source

    check_source(data)
    place, _ = begin(device, "local")
    from goodteacher.data.sources import SOURCES, load
    from goodteacher.starter import write_start

    words: dict[str, Any] = {"name": data}
    if data in SOURCES and SOURCES[data].needs_root:
        words["root"] = str(root)
    if Path(data).is_dir() and data not in SOURCES:
        words["size"] = size or 32
    elif size is not None:
        words["size"] = size
    options = {key: value for key, value in words.items() if key != "name"}
    problem = load(data, **options)
    start = write_start(to, problem, words, max_params=max_params, max_latency=max_latency, out=out, device=place)
    screen = console()
    for line in (
        problem.describe(),
        f"Student: {next(iter(start.student))} of {start.parameters:,} parameters",
        f"About {start.minutes:.3g} minutes of one worker on this machine, within a factor of two",
        f"Written: {to}",
        f"Next: goodteacher run {to} --out {out}",
    ):
        screen.print(line, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(
            json.dumps(
                {"study": str(to), "student": start.student, "parameters": start.parameters, "minutes": start.minutes}
            )
        )
