"""Results on the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodteacher.cli.options import console

if TYPE_CHECKING:
    from goodteacher.diagnose.results import Results


def show_results(folders: list[Path], *, as_json: bool, failed: dict[str, str] | None = None) -> None:
    """Print tables, conclusion and the page's path of studies; with ``--json`` one line more."""
    from goodteacher.diagnose.results import Results

    screen = console()
    summary = []
    for folder in folders:
        results = Results(folder)
        _show_study(results, screen)
        summary.append(_as_plain_data(results))
    for run, reason in (failed or {}).items():
        screen.print(f"! run {run} failed: {reason}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps({"studies": summary, "failed": failed or {}}))


def _show_study(results: Results, screen: Any) -> None:
    from goodteacher.report import tables
    from goodteacher.report.conclusion import conclusion
    from goodteacher.report.costs import cost_grid

    def say(text: str, style: str | None = None) -> None:
        screen.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    say(f"\n{results.facts.summary}", "bold")
    for note in (*results.facts.notes, *results.study.notes):
        say(f"Note: {note}")
    tables.show(tables.teacher_grid(results.ranked) if results.ranked else None, screen)
    tables.show(tables.student_grid(results) if results.students else None, screen)
    tables.show(cost_grid(results), screen)
    tables.show(tables.predictor_grid(results), screen)
    tables.show(tables.distance_grid(results), screen)
    screen.print(f"\n{conclusion(results)}\n", markup=False, highlight=False)
    for alarm in results.alarms():
        say(f"! {alarm}", "bold red")
    if not results.students:
        for arm in results.teachings:
            say(f"Runs of {arm}: {' '.join(_runs(results, arm))}")
    page = results.folder / "report.html"
    if page.exists():
        say(f"Page: {page}")
    if results.best is not None:
        run, out = results.best, results.store.root
        say(f"Best on validation: {run.describe()}, in {run.path}")
        say(f"Next: goodteacher evaluate {run.id} --out {out}   or   goodteacher predict {run.id} FILES --out {out}")
        say(f"To ship it: goodteacher export {run.id} --to DIR --out {out}")


def _runs(results: Results, arm: str) -> list[str]:
    return [run for who in results.teachings[arm].values() for run in who.runs]


def _as_plain_data(results: Results) -> dict[str, Any]:
    from goodteacher.report.conclusion import conclusion

    students = [
        {
            "student": r.student,
            "teacher": r.teacher,
            "accuracy": r.accuracy.mean,
            "low": _plain(r.accuracy.low),
            "high": _plain(r.accuracy.high),
            "n": r.accuracy.n,
        }
        for r in results.students
    ]
    teachers = [{"name": r.name, "tied": r.tied, "runs": _runs(results, r.name), **r.scores} for r in results.ranked]
    return {
        "study": str(results.folder),
        "page": str(results.folder / "report.html"),
        "best": {"run": results.best.id, "path": str(results.best.path)} if results.best else None,
        "conclusion": conclusion(results),
        "teachers": teachers,
        "students": students,
    }


def _plain(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - JSON has no NaN
