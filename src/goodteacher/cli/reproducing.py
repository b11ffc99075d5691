"""The command that reruns published studies: reproduce."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goodteacher.cli.options import (
    CORES,
    Device,
    Engine,
    Epochs,
    Json,
    Out,
    Quiet,
    Root,
    Seeds,
    Set,
    Workers,
    app,
    begin,
    console,
)

if TYPE_CHECKING:
    from goodteacher_lab.finding import Finding


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="What to reproduce; see --list.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show all, with their cost.")] = False,
    budget: Annotated[str, typer.Option("--budget", help="minutes, hours or paper.")] = "minutes",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="KIND=VALUE: a part of it, such as problem=digits; repeatable.")
    ] = None,
    pair: Annotated[list[str] | None, typer.Option("--pair", help="TEACHER-STUDENT: as --only pair=...")] = None,
    method: Annotated[list[str] | None, typer.Option("--method", help="A method's name: as --only method=...")] = None,
    images: Annotated[
        str | None, typer.Option("--images", help="Pictures: an .npz file, a folder, or cifar10, cifar100 in --root.")
    ] = None,
    changes: Set = None,
    root: Root = Path("data"),
    out: Out = Path("goodteacher-runs"),
    seeds: Seeds = None,
    epochs: Epochs = None,
    device: Device = "auto",
    engine: Engine = "auto",
    workers: Workers = CORES,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a published study again: published against measured, with n and intervals, and the figure redrawn."""
    from goodteacher.base.errors import ConfigError, check_choice
    from goodteacher_lab.finding import plain_finding, write_finding
    from goodteacher_lab.job import BUDGETS, Job
    from goodteacher_lab.table import REPRODUCTIONS

    if listed:
        _list_all(as_json=as_json)
        return
    if name is None:
        raise ConfigError("reproduce", rule="needs a name", received="none", remedy="see goodteacher reproduce --list")
    check_choice("reproduction", name, REPRODUCTIONS)
    check_choice("budget", budget, BUDGETS)
    row = REPRODUCTIONS[name]
    place, engine = begin(device, engine)
    size = next(b for b in BUDGETS if b == budget)
    parts = [f"{kind}={value}" for kind, given in (("pair", pair), ("method", method)) for value in given or ()]
    chosen = _choices([*(only or []), *parts], row.choices)
    found = row.run(
        Job(size, seeds, epochs, chosen, root, images, _loading(changes), out, place, engine, workers, console(), quiet)
    )
    command = shlex.join(["goodteacher", *sys.argv[1:]])
    folder = out / "reproduced" / name.replace("/", "-")
    if (earlier := _command_of(folder)) not in (None, command):
        console().print(f"Replaces the page of: {earlier}", markup=False, highlight=False, soft_wrap=True)
    page = write_finding(found, folder, source=row.source, budget=budget, command=command)
    _show(found, page)
    if as_json:
        print(json.dumps({**plain_finding(found, command), "page": str(page)}))


def _command_of(folder: Path) -> str | None:
    """Return the command that made the page in a folder, if there is one."""
    try:
        return str(json.loads((folder / "finding.json").read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, KeyError):
        return None


def _list_all(*, as_json: bool) -> None:
    """Print the table of reproductions."""
    from goodteacher.report import tables
    from goodteacher_lab.job import BUDGETS
    from goodteacher_lab.table import REPRODUCTIONS

    rows = [(key, row.source, *(row.cost[b] for b in BUDGETS)) for key, row in REPRODUCTIONS.items()]
    columns = ("name", "source", *BUDGETS)
    tables.show(tables.Grid("Reproductions, and what they cost on two cores", columns, tuple(rows)), console())
    if as_json:
        print(json.dumps([dict(zip(columns, row, strict=True)) for row in rows]))


def _show(found: Finding, page: Path) -> None:
    """Print what was found and where its page is."""
    from goodteacher.report import tables

    screen = console()
    for grid in found.grids:
        tables.show(grid, screen)
    screen.print(f"\nThe claim: {found.claim}\nFound here: {found.verdict}\n", markup=False, highlight=False)
    for line in found.departures:
        screen.print(f"Departure: {line}", markup=False, highlight=False)
    screen.print(f"Page: {page}", markup=False, highlight=False, soft_wrap=True)


def _loading(changes: list[str] | None) -> dict[str, object]:
    """Return the options of the pictures that --set gives."""
    from goodteacher.base.errors import ConfigError
    from goodteacher.study.study_file import apply_override

    values: dict[str, dict[str, object]] = {"problem": {}}
    for change in changes or []:
        if not change.startswith("problem."):
            raise ConfigError(
                "--set", rule="changes the data of a reproduction alone: problem.KEY=VALUE", received=repr(change)
            )
        apply_override(values, change)
    return values["problem"]


def _choices(only: list[str], known: object) -> dict[str, tuple[str, ...]]:
    """Return the parts chosen, by kind."""
    from collections.abc import Mapping

    from goodteacher.base.errors import ConfigError, check_choice

    assert isinstance(known, Mapping)
    chosen: dict[str, tuple[str, ...]] = {}
    for item in only:
        kind, separator, value = item.partition("=")
        if not separator:
            raise ConfigError("--only", rule="must be KIND=VALUE", received=repr(item))
        check_choice("part", kind, known)
        check_choice(kind, value, known[kind])
        chosen[kind] = (*chosen.get(kind, ()), value)
    return chosen
