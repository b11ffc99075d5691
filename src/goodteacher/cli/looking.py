"""Commands that look: rank, report, list, fetch, doctor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from goodteacher.cli.options import (
    Device,
    Inputs,
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
from goodteacher.cli.output import show_results
from goodteacher.cli.teacher_arms import check_no_inputs, inputs_of


@app.command()
def rank(
    what: Annotated[
        list[str],
        typer.Argument(
            help="Ids or folders of finished runs, a study's folder, or MODEL=FILE for weights of another toolkit."
        ),
    ],
    data: Annotated[
        str | None, typer.Option("--data", help="Score on this problem's validation split instead.")
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="Rank each candidate with this target map too; repeatable.", autocompletion=names_of("MAPS")
        ),
    ] = None,
    by: Annotated[
        str, typer.Option("--by", help="A quantity of the scorecard.", autocompletion=names_of("QUANTITIES"))
    ] = "",
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the whole scorecard to this file.")] = None,
    inputs: Inputs = None,
    full: Annotated[bool, typer.Option("--full", help="Show the whole scorecard.")] = False,
    probes: Annotated[
        bool, typer.Option("--probes", help="Measure networks around their inputs first: views, Lipschitz estimates.")
    ] = False,
    size: Size = None,
    root: Root = Path("data"),
    out: Out = Path("goodteacher-runs"),
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say which teacher will teach best, before any student is trained."""
    check_size(size, data)
    studies = _studies_among(what, data, maps, by)
    if not any("=" in item for item in what):
        check_no_inputs(inputs, "rank MODEL=FILE")
    place, _ = begin(device, "local")
    from goodteacher.data.sources import load
    from goodteacher.diagnose.candidates import candidates as candidates_of
    from goodteacher.diagnose.ranking import DEFAULT, rank_candidates
    from goodteacher.diagnose.results import Results
    from goodteacher.diagnose.scorecard import scorecard_frame
    from goodteacher.report import tables
    from goodteacher.train.records import write_atomically

    problem = load(**load_words(data, root, size)) if data else None
    named = _alike([_run_of(item, out, problem, place, inputs) for item in what if Path(item) not in studies])
    if probes:
        _probe([run for runs in named.values() for run in runs], studies, place)
    candidates = candidates_of(named, problem, maps=maps or (), device=place) if named else []
    for folder in studies:
        candidates += Results(folder).candidates
    ranked = rank_candidates(candidates, by=by or DEFAULT)
    screen = console()
    tables.show(tables.teacher_grid(ranked), screen)
    if full:
        tables.show(tables.scorecard_grid(ranked), screen)
    frame = scorecard_frame(ranked)
    if csv is not None:
        text = frame.to_csv(index=False).encode()
        write_atomically(csv, lambda handle: handle.write(text))
        screen.print(f"Scorecard: {csv}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        rows = [{k: v for k, v in row.items() if v == v} for row in frame.to_dict("records")]  # noqa: PLR0124 - NaN
        ids = {name: [run.id for run in runs] for name, runs in named.items()}
        rows = [{**row, "runs": ids.get(str(row["name"]).split(", ")[0], [])} for row in rows]
        print(json.dumps({"ranked": rows, "by": by or DEFAULT}))


def _studies_among(what: list[str], data: str | None, maps: list[str] | None, by: str) -> list[Path]:
    """Return the studies among what is to be ranked; refuse words that name nothing, before torch is imported."""
    from goodteacher.base.errors import ConfigError, check_choice
    from goodteacher.study.known_names import MAPS, QUANTITIES, check_named, check_source

    studies = [Path(item) for item in what if (Path(item) / "plan.json").exists()]
    for option, given in (("--map", maps), ("--data", data)):
        if studies and given and len(studies) == len(what):
            raise ConfigError(option, rule="is for runs", received=f"the study {studies[0]}", remedy="name its runs")
        if studies and given:
            console().print(f"{option} is for the runs; a study's arms are ranked as they are", markup=False)
    check_choice("by", by or QUANTITIES[0], QUANTITIES)
    for given_map in maps or ():
        check_named("map", given_map, MAPS)
    if data:
        check_source(data)
    return studies


def _run_of(item: str, out: Path, problem: Any, device: str, inputs: list[str] | None = None) -> Any:
    """Return the run that a word of the command line names; a file is registered first."""
    from goodteacher.base.errors import ConfigError
    from goodteacher.study.import_weights import register
    from goodteacher.study.store import Store

    model, is_file, file = item.partition("=")
    if is_file:
        if problem is None:
            raise ConfigError("--data", rule="must say what a file's network is scored on", received="nothing")
        return register(model, Path(file), problem, Store(out), inputs=inputs_of(inputs), device=device)
    if (Path(item) / "runs").is_dir():
        raise ConfigError("what to rank", rule="must be runs or a study's folder", received=f"the store {item}")
    return Store(Path(item).parent.parent if Path(item).is_dir() else out).run(Path(item).name)


def _probe(runs: list[Any], studies: list[Path], device: str) -> None:
    """Measure runs, and the teachers of studies, around their validation inputs; each on the data it was trained on."""
    from goodteacher.diagnose.results import Results
    from goodteacher.study.origin import data_of
    from goodteacher.study.outputs import save_probes

    for results in map(Results, studies):
        runs += [results.run(run) for seeds in results.teachings.values() for who in seeds.values() for run in who.runs]
    known: dict[str, Any] = {}
    for run in runs:
        if run.spec.problem not in known:
            known[run.spec.problem] = data_of(run)
        save_probes(run, known[run.spec.problem], device)


def _alike(runs: list[Any]) -> dict[str, list[Any]]:
    """Return runs that differ in nothing but their seed as one candidate, by name."""
    from goodteacher.diagnose.candidates import candidate_name

    groups: dict[str, list[Any]] = {}
    for item in runs:
        alike = replace(item.spec, seed=0, teaching=None, start=None)
        groups.setdefault(alike.id, []).append(item)
    return {candidate_name(items[0]): items for items in groups.values()}


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A study's folder, or a store with studies.")],
    explain: Annotated[
        str | None, typer.Option("--explain", help="Id of a student's run: say how it deviates from its teacher.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="For --explain: where its data are, if not where the study says.")
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="For --explain: folder where data lie.")] = None,
    as_json: Json = False,
) -> None:
    """Print the tables of finished studies and write their pages anew, or explain one student."""
    from goodteacher.diagnose.results import Results
    from goodteacher.report.page import write_page
    from goodteacher.study.store import find_studies

    folders = find_studies(folder)
    if explain is not None:
        _explain(folders, explain, data, root, as_json=as_json)
        return
    for item in folders:
        write_page(Results(item))
    show_results(folders, as_json=as_json)


def _explain(folders: list[Path], run: str, data: str | None, root: Path | None, *, as_json: bool) -> None:
    """Explain a student's run, and print what its page says."""
    from goodteacher.report import explain, tables
    from goodteacher.report.explain_tables import grids_of

    place, _ = begin("auto", "local")
    found, words = explain.find_run(folders, run)
    problem, said = explain.load_for(found, words, data, root)
    explained = explain.explain_run(found, problem, device=place, said=said)
    page = explain.write_explanation(explained)
    screen = console()
    for grid in grids_of(explained.parts):
        tables.show(grid, screen)
    plain = explain.plain_explanation(explained)
    for line in (plain["conclusion"], *(f"Note: {note}" for note in explained.said), f"Page: {page}"):
        screen.print(line, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps({**plain, "page": str(page)}))


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
    from goodteacher.base.errors import check_choice
    from goodteacher.study.known_names import KINDS

    check_choice("list", what, (*KINDS, "schema"))
    if what == "schema":
        from goodteacher.study.spec import json_schema

        print(json_schema(), end="")
        return
    from goodteacher.report.listing import listing

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
    size: Size = None,
    root: Root = Path("data"),
    as_json: Json = False,
) -> None:
    """Say what this machine is, how fast it trains, and whether a problem is sound."""
    from goodteacher.study.known_names import check_source

    if data:
        check_source(data)
    from goodteacher.report.doctor import examine, examine_problem

    begin("auto", "local")
    findings = examine()
    if data:
        from goodteacher.data.sources import load

        findings |= examine_problem(load(**load_words(data, root, size)))
    screen = console()
    for name, value in findings.items():
        screen.print(f"{name:22} {value}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(findings))
