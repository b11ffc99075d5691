"""One self-contained page a study: it opens from a disk without a network."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

from goodteacher.diagnose.results import Results
from goodteacher.report.conclusion import conclusion
from goodteacher.report.costs import cost_grid
from goodteacher.report.figures import charts
from goodteacher.report.tables import Grid, distance_grid, predictor_grid, student_grid, teacher_grid
from goodteacher.train.records import write_atomically


def page_style() -> str:
    """Return the style sheet that goes into every page."""
    return files("goodteacher.report").joinpath("page.css").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def scripts() -> str:
    """Return the JavaScript that draws a page's figures; it goes into the page."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    return bundle


def write_page(results: Results) -> Path:
    """Write ``report.html`` and ``results.csv`` into a study's folder.

    Args:
        results: of the study.

    Returns:
        The page's path.

    Raises:
        StoreError: if they cannot be written.
    """
    template = files("goodteacher.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    html = (
        Environment(autoescape=True)
        .from_string(template)
        .render(**page_values(results), style=page_style(), scripts=scripts())
    )
    path = results.folder / "report.html"
    write_atomically(path, lambda file: file.write(html.encode()))
    table = results_table(results)
    write_atomically(results.folder / "results.csv", lambda file: file.write(table.encode()))
    return path


def results_table(results: Results) -> str:
    """Return a study's test scores as CSV, one row per student run."""
    lines = ["student,teacher,seed,run,accuracy,nll,brier,ece"]
    runs = {(cell.student, cell.teacher, cell.seed): cell.run for cell in results.plan.cells}
    for (student, teacher), seeds in results.student_values.items():
        for seed, scores in sorted(seeds.items()):
            run = runs[student, teacher, seed]
            numbers = ",".join(f"{scores[k]:.6f}" for k in ("accuracy", "nll", "brier", "ece"))
            lines.append(f"{student},{teacher or ''},{seed},{run},{numbers}")
    return "\n".join(lines) + "\n"


def page_values(results: Results) -> dict[str, Any]:
    """Return what the page's template is filled with."""
    grids: list[Grid | None] = [
        teacher_grid(results.ranked) if results.ranked else None,
        student_grid(results) if results.students else None,
        cost_grid(results),
        predictor_grid(results),
        distance_grid(results),
    ]
    finished = [results.run(run) for run in results.planned if run not in results.missing]
    environments = {tuple(sorted(run.result.environment.items())): run.result.environment for run in finished}
    return {
        "name": results.study.name,
        "problem": results.facts.summary,
        "notes": [*results.facts.notes, *results.study.notes],
        "conclusion": conclusion(results),
        "grids": [g for g in grids if g is not None],
        "charts": charts(results),
        "alarms": results.alarms(),
        "missing": results.missing,
        "environments": list(environments.values()),
        "precision": sorted({run.result.precision for run in finished}),
        "seconds": sum(run.result.seconds for run in finished),
        "runs": [{"id": run.id, "text": run.describe()} for run in finished],
        "study": results.study.model_dump(mode="json"),
    }
