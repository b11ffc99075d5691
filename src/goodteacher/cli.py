"""The command line: the only place that parses arguments and prints. Heavy packages are imported inside the commands."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="goodteacher",
    help="Train the teacher your student needs: teachers ranked before any student, students distilled, honest statistics.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option("--out", help="Folder of runs, studies and pages.")]
Root = Annotated[Path, typer.Option("--root", help="Folder where data lie.")]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="How many seeds.")]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the training data.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Precision = Annotated[str | None, typer.Option("--precision", help="auto, fp32 or bf16.")]
Engine = Annotated[str, typer.Option("--engine", help="auto, local, processes or ray.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes at a time; by default one a core.")]
Json = Annotated[bool, typer.Option("--json", help="Print a machine-readable result as the last line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show alarms, failures and the final tables only.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY.PATH=VALUE, over what a study file says; repeatable.")]
Data = Annotated[str, typer.Option("--data", help="gaussian, digits, cifar10, cifar100, an .npz file or a folder.")]
CORES = os.cpu_count() or 1


def _begin(device: str, engine: str) -> tuple[str, str]:
    """Set threads for this process; return the device and the engine to use."""
    import torch

    from goodteacher.api import pick_device

    place = pick_device(device)
    if engine == "auto":
        engine = "processes" if place == "cpu" and CORES > 1 else "local"
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # spinning OpenMP teams on a busy machine are 10 to 50 times slower
    return place, engine


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    # A pipe gets wide plain lines rather than tables broken at 80 columns.
    return Console(stderr=stderr) if sys.stdout.isatty() else Console(stderr=stderr, width=150)


def _override(values: dict[str, Any], changes: list[str] | None, **recipe: Any) -> None:
    from goodteacher.study.spec import apply_override

    given = {key: value for key, value in recipe.items() if value is not None}
    if given:
        values["recipe"] = {**(values.get("recipe") or {}), **given}
    for change in changes or []:
        apply_override(values, change)


def _execute(study: Any, *, out: Path, device: str, engine: str, workers: int, quiet: bool, as_json: bool) -> None:
    """Run a study, show its tables, and exit with 1 if a run failed."""
    from goodteacher.api import run_study

    place, engine = _begin(device, engine)
    finished = run_study(study, out=out, device=place, engine=engine, workers=workers, console=_console(), quiet=quiet)
    show_results([finished.folder], as_json=as_json, failed=finished.summary.failed)
    if finished.summary.failed:
        raise typer.Exit(1)


def show_results(folders: list[Path], *, as_json: bool, failed: dict[str, str] | None = None) -> None:
    """Print tables, conclusion and the page's path of studies; with ``--json`` one line more."""
    from goodteacher.diagnose.results import Results
    from goodteacher.report import tables
    from goodteacher.report.conclusion import conclusion

    console = _console()
    summary = []
    for folder in folders:
        results = Results(folder)
        console.print(f"\n{results.facts['describe']}", style="bold", markup=False, highlight=False)
        for note in results.facts["notes"]:
            console.print(f"Note: {note}", markup=False, highlight=False)
        grids = [tables.teacher_grid(results.ranked) if results.ranked else None]
        grids += [tables.student_grid(results) if results.students else None, tables.predictor_grid(results)]
        for grid in (*grids, tables.distance_grid(results)):
            tables.show(grid, console)
        console.print(f"\n{conclusion(results)}\n", markup=False, highlight=False)
        page = folder / "report.html"
        if page.exists():
            console.print(f"Page: {page}", markup=False, highlight=False, soft_wrap=True)
        summary.append({
            "study": str(folder), "page": str(page), "conclusion": conclusion(results),
            "teachers": [{"name": r.name, "tied": r.tied, **r.scores} for r in results.ranked],
            "students": [
                {"student": r.student, "teacher": r.teacher, "accuracy": r.accuracy.mean, "n": r.accuracy.n} for r in results.students
            ],
        })  # fmt: skip
    for run, reason in (failed or {}).items():
        console.print(f"! run {run} failed: {reason}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps({"studies": summary, "failed": failed or {}}))


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
    from goodteacher.api import run_study
    from goodteacher.recipes import demo as recipe

    place, engine = _begin(device, engine)
    folders, failed = [], {}
    for study in (recipe.digits(seeds or 5), recipe.gaussian(seeds or 5)):
        console = _console()
        console.print(f"{study.name}: {len(study.teachers)} teachers, {len(study.students)} students, {len(study.seed_list)} seeds")
        finished = run_study(study, out=out, device=place, engine=engine, workers=workers, console=console, quiet=quiet)
        folders.append(finished.folder)
        failed |= finished.summary.failed
    show_results(folders, as_json=as_json, failed=failed)
    if failed:
        raise typer.Exit(1)


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="A study file in YAML.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs, with an estimate of time and disk.")] = False,
    changes: Set = None,
    out: Out = Path("goodteacher-runs"),
    root: Annotated[Path | None, typer.Option("--root", help="Folder where data lie; over what the file says.")] = None,
    seeds: Seeds = None,
    epochs: Epochs = None,
    device: Device = "auto",
    precision: Precision = None,
    engine: Engine = "auto",
    workers: Workers = CORES,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a study file: what is finished is skipped, what was interrupted goes on."""
    from goodteacher.study.spec import read_study

    pairs = [("seeds", seeds), ("recipe.epochs", epochs), ("recipe.precision", precision), ("problem.root", root)]
    given = [f"{key}={value}" for key, value in pairs if value is not None]
    spec = read_study(study, (*given, *(changes or [])))
    if dry_run:
        _dry_run(spec, out, device, as_json)
    else:
        _execute(spec, out=out, device=device, engine=engine, workers=workers, quiet=quiet, as_json=as_json)


def _dry_run(spec: Any, out: Path, device: str, as_json: bool) -> None:
    from dataclasses import asdict

    from goodteacher.api import load_problem
    from goodteacher.study.estimate import estimate_cost
    from goodteacher.study.execute import facts_of
    from goodteacher.study.plan import plan_study
    from goodteacher.study.store import Store

    place, _ = _begin(device, "local")
    problem, store, console = load_problem(spec), Store(out), _console()
    plan = plan_study(spec, facts_of(problem))
    console.print(problem.describe(), markup=False, highlight=False)
    for run_id, label in plan.labels().items():
        state = "finished" if store.has(run_id) else "to train"
        console.print(f"  {run_id}  {state:9} {label}", markup=False, highlight=False)
    cost = estimate_cost(plan, problem, store, place)
    console.print(
        f"{cost.runs} runs to train, {cost.reused} finished; about {cost.seconds / 60:.1f} minutes of one worker on this machine "
        f"(within a factor of two) and {cost.bytes / 1e6:.1f} MB of disk",
        markup=False, highlight=False,
    )  # fmt: skip
    if as_json:
        print(json.dumps({"runs": plan.labels(), **asdict(cost)}))


@app.command()
def teach(
    model: Annotated[str, typer.Argument(help="A model's name, or module:function.")],
    data: Data,
    objective: Annotated[str, typer.Option("--objective", help="What the teacher minimises.")] = "cross_entropy",
    keep: Annotated[str, typer.Option("--keep", help="last, best_brier, best_nll, best_accuracy or epoch=K.")] = "last",
    changes: Set = None,
    root: Root = Path("data"),
    out: Out = Path("goodteacher-runs"),
    seeds: Seeds = 1,
    epochs: Epochs = None,
    device: Device = "auto",
    precision: Precision = None,
    engine: Engine = "auto",
    workers: Workers = CORES,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a teacher."""
    values: dict[str, Any] = {
        "name": f"teach-{_slug(data)}-{_slug(model)}-{_slug(objective)}",
        "problem": {"name": data, "root": str(root)},
        "teachers": {_slug(objective): {"model": model, "objective": objective, "keep": keep}},
        "seeds": seeds,
    }
    _override(values, changes, epochs=epochs, precision=precision)
    _run_values(values, out, device, engine, workers, quiet, as_json)


@app.command()
def distill(
    student: Annotated[str, typer.Argument(help="A model's name, or module:function.")],
    data: Data,
    teacher: Annotated[str, typer.Option("--teacher", help="A finished run's id, or a model to train first.")],
    method: Annotated[str, typer.Option("--method", help="What carries the teacher over: kd, dkd, crd + kd, ...")] = "kd",
    objective: Annotated[str, typer.Option("--objective", help="Of a teacher that is trained first.")] = "cross_entropy",
    target_map: Annotated[str | None, typer.Option("--map", help="What is done to the teacher's outputs: temperature, ...")] = None,
    keep: Annotated[str, typer.Option("--keep", help="Of the student: last, best_brier, ...")] = "last",
    changes: Set = None,
    root: Root = Path("data"),
    out: Out = Path("goodteacher-runs"),
    seeds: Seeds = 1,
    epochs: Epochs = None,
    device: Device = "auto",
    precision: Precision = None,
    engine: Engine = "auto",
    workers: Workers = CORES,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a student from a teacher, and the same student alone beside it."""
    from goodteacher.study.store import Store

    is_run = Store(out).has(Path(teacher).name)
    arm = {"run": Path(teacher).name} if is_run else {"model": teacher, "objective": objective}
    values: dict[str, Any] = {
        "name": f"distill-{_slug(data)}-{_slug(teacher)}-{_slug(student)}-{_slug(method)}",
        "problem": {"name": data, "root": str(root)},
        "teachers": {"teacher": {**arm, "map": target_map}},
        "students": {
            "alone": {"model": student, "method": "none", "keep": keep},
            _slug(method): {"model": student, "method": method, "keep": keep},
        },
        "seeds": seeds,
    }
    _override(values, changes, epochs=epochs, precision=precision)
    _run_values(values, out, device, engine, workers, quiet, as_json)


def _run_values(values: dict[str, Any], out: Path, device: str, engine: str, workers: int, quiet: bool, as_json: bool) -> None:
    from goodteacher.study.spec import parse_study

    study = parse_study(values, "")
    _execute(study, out=out, device=device, engine=engine, workers=workers, quiet=quiet, as_json=as_json)


def _slug(text: str) -> str:
    import re

    return re.sub(r"[^A-Za-z0-9_.]+", "-", Path(text).stem if "/" in text else text).strip("-.") or "x"


@app.command()
def rank(
    runs: Annotated[list[str], typer.Argument(help="Ids or folders of finished runs; at least one.")],
    data: Annotated[str | None, typer.Option("--data", help="Score on this problem's validation split instead.")] = None,
    by: Annotated[str, typer.Option("--by", help="calibrated_brier, calibrated_nll, brier, nll or accuracy.")] = "calibrated_brier",
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

    _begin(device, "local")
    found = [Store(Path(r).parent.parent if Path(r).is_dir() else out).run(Path(r).name) for r in runs]
    groups: dict[str, list[Any]] = {}
    for item in found:
        alike = {k: v for k, v in item.spec.items() if k not in ("seed", "teaching")}
        key = json.dumps(alike, sort_keys=True)
        groups.setdefault(key, []).append(item)
    named = {api.candidate_name(items[0]): items for items in groups.values()}
    problem = load(data, root=root) if data else None
    ranked = api.rank(named, problem, by=by, device=device)
    tables.show(tables.teacher_grid(ranked), _console())
    if as_json:
        rows = [{"name": r.name, "tied": r.tied, "seeds": r.seeds, "runs": [i.id for i in named[r.name]], **r.scores} for r in ranked]
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
    what: Annotated[str, typer.Argument(help="models, objectives, methods, maps, data, recipes, runs, schema, or taps MODEL.")],
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

    show(grid, _console())
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

    console = _console()
    with Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("download", total=None)
        path = download(dataset, root, progress=lambda done, total: bar.update(task, completed=done, total=total))
    console.print(f"{dataset}: {path}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def doctor(
    data: Annotated[str | None, typer.Argument(help="A problem to look at too.")] = None,
    root: Root = Path("data"),
    as_json: Json = False,
) -> None:
    """Say what this machine is, how fast it trains, and whether a problem is sound."""
    from goodteacher.report.doctor import examine, examine_problem

    _begin("auto", "local")
    findings = examine()
    if data:
        from goodteacher.data.sources import load

        findings |= examine_problem(load(data, root=root))
    console = _console()
    for name, value in findings.items():
        console.print(f"{name:22} {value}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(findings))


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2, Ctrl-C is 130."""
    from goodteacher.base.errors import GoodteacherError

    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        app(standalone_mode=True)
    except GoodteacherError as error:
        print(f"goodteacher: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("goodteacher: stopped; finished runs and checkpoints are kept, and the same command goes on.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
