"""A reproduction's finding on disk: tables as JSON, a self-contained page, and one for a repository to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

from goodteacher.report.markdown import bullets, write_markdown
from goodteacher.report.page import page_style, scripts
from goodteacher.report.tables import Grid
from goodteacher.study.machine import environment
from goodteacher.train.records import write_atomically, write_json


@dataclass(frozen=True)
class Finding:
    """What a reproduction found.

    Attributes:
        name: of the reproduction.
        claim: what was to be checked, in a sentence.
        verdict: what was found, in a few.
        departures: from the paper, each in a sentence.
        grids: published against measured, with n and intervals.
        charts: Vega-Lite JSON by name, each under its title.
        data: everything, for machines.
    """

    name: str
    claim: str
    verdict: str
    departures: tuple[str, ...]
    grids: tuple[Grid, ...]
    charts: Mapping[str, str]
    data: Mapping[str, Any]


def plain_finding(finding: Finding, command: str) -> dict[str, Any]:
    """Return a finding as plain data: what is kept as evidence."""
    return {
        "name": finding.name,
        "command": command,
        "environment": environment(),
        "claim": finding.claim,
        "verdict": finding.verdict,
        "departures": list(finding.departures),
        "tables": [
            {"title": g.title, "columns": list(g.columns), "rows": [list(r) for r in g.rows], "note": g.note}
            for g in finding.grids
        ],
        "data": dict(finding.data),
    }


def write_finding(finding: Finding, folder: Path, *, source: str, budget: str, command: str) -> Path:
    """Write ``finding.json``, ``report.html``, and the same as ``README.md`` with its figures as pictures beside it.

    Args:
        finding: what was found.
        folder: made if missing.
        source: paper and figure or table.
        budget: the size it was run at.
        command: that does it again.

    Returns:
        The page's path.

    Raises:
        StoreError: if they cannot be written.
    """
    write_json(folder / "finding.json", {"source": source, "budget": budget, **plain_finding(finding, command)})
    template = files("goodteacher_lab").joinpath("finding.html.j2").read_text(encoding="utf-8")
    html = Environment(autoescape=True).from_string(template).render(
        finding=finding, source=source, budget=budget, command=command, environment=environment(), style=page_style(),
        scripts=scripts(),
    )  # fmt: skip
    path = folder / "report.html"
    write_atomically(path, lambda file: file.write(html.encode()))
    write_markdown(
        folder / "README.md",
        finding.name,
        (f"{source} · budget {budget}", f"The claim: {finding.claim}", f"**Found here:** {finding.verdict}"),
        finding.grids,
        finding.charts,
        (
            "## Departures from the source",
            bullets(finding.departures),
            "## How these numbers were made",
            f"`{command}`",
            " · ".join(f"{k} {v}" for k, v in environment().items()),
        ),
    )
    return path
