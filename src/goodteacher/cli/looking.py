"""Commands that look: rank, report, list, fetch, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from goodteacher.cli.options import Device, Json, Out, Quiet, Root, app, begin, console
from goodteacher.cli.output import show_results


@app.command()
def rank(
    runs: Annotated[list[str], typer.Argument(help="Ids or folders of finished runs; at least one.")],
    data: Annotated[
        str | None, typer.Option("--data", help="Score on this problem's validation split instead.")
    ] = None,
    by: Annotated[
        str, typer.Option("--by", help="calibrated_brier, calibrated_nll, brier, nll or accuracy.")
    ] = "calibrated_brier",
    root: Root = Path("data"),
    out: Out = Path("goodteacher-runs"),
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say which teacher will teach best, before any student is trained."""
    from goodteacher import api
    from goodteacher.data.sources import load
    from goodteacher.report import tables
    from goodteacher.study.store import Store

    begin(device, "local")
    found = [Store(Path(r).parent.parent if Path(r).is_dir() else out).run(Path(r).name) for r in runs]
    groups: dict[str, list[Any]] = {}
    for item in found:
        alike = {k: v for k, v in item.spec.items() if k not in ("seed", "teaching")}
        key = json.dumps(alike, sort_keys=True)
        groups.setdefault(key, []).append(item)
    named = {api.candidate_name(items[0]): items for items in groups.values()}
    problem = load(data, root=root) if data else None
    ranked = api.rank(named, problem, by=by, device=device)
    tables.show(tables.teacher_grid(ranked), console())
    if as_json:
        rows = [
            {"name": r.name, "tied": r.tied, "seeds": r.seeds, "runs": [i.id for i in named[r.name]], **r.scores}
            for r in ranked
        ]
        print(json.dumps({"ranked": rows, "by": by}))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A study's folder, or a store with studies.")],
    as_json: Json = False,
) -> None:
    """Print the tables of finished studies and write their pages anew."""
    from goodteacher.diagnose.results import Results
    from goodteacher.report.page import write_page
    from goodteacher.study.store import find_studies

    folders = find_studies(folder)
    for item in folders:
        write_page(Results(item))
    show_results(folders, as_json=as_json)


@app.command("list")
def list_names(
    what: Annotated[
        str, typer.Argument(help="models, objectives, methods, maps, data, recipes, runs, schema, or taps MODEL.")
    ],
    model: Annotated[str | None, typer.Argument(help="For taps: which model.")] = None,
    out: Out = Path("goodteacher-runs"),
    as_json: Json = False,
) -> None:
    """Show what can be named in a study."""
    from goodteacher.report.listing import listing

    if what == "schema":
        from goodteacher.study.spec import json_schema

        print(json_schema(), end="")
        return
    grid = listing(what, model, out)
    from goodteacher.report.tables import show

    show(grid, console())
    if as_json:
        print(json.dumps([dict(zip(grid.columns, row, strict=True)) for row in grid.rows]))


@app.command()
def fetch(
    dataset: Annotated[str, typer.Argument(help="cifar10, cifar100, cifar10-binary or cifar100-binary.")],
    root: Root = Path("data"),
    quiet: Quiet = False,
) -> None:
    """Download a data set: an interrupted download goes on, and nothing is used before its checksum is right."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    from goodteacher.data.fetch import fetch as download

    screen = console()
    with Progress(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=screen, disable=quiet or not screen.is_terminal
    ) as bar:
        task = bar.add_task("download", total=None)
        path = download(dataset, root, progress=lambda done, total: bar.update(task, completed=done, total=total))
    screen.print(f"{dataset}: {path}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def doctor(
    data: Annotated[str | None, typer.Argument(help="A problem to look at too.")] = None,
    root: Root = Path("data"),
    as_json: Json = False,
) -> None:
    """Say what this machine is, how fast it trains, and whether a problem is sound."""
    from goodteacher.report.doctor import examine, examine_problem

    begin("auto", "local")
    findings = examine()
    if data:
        from goodteacher.data.sources import load

        findings |= examine_problem(load(data, root=root))
    screen = console()
    for name, value in findings.items():
        screen.print(f"{name:22} {value}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(findings))
