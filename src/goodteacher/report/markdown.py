"""A page as Markdown with its figures as pictures beside it: what a repository or a forge shows without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from goodteacher.report.tables import Grid
from goodteacher.train.records import write_atomically


def write_markdown(
    path: Path,
    title: str,
    opening: Sequence[str],
    grids: Sequence[Grid],
    charts: Mapping[str, str],
    closing: Sequence[str],
) -> None:
    """Write a page, and ``figure1.svg``, ``figure2.svg``, ... beside it.

    Args:
        path: of the page.
        title: its heading.
        opening: paragraphs above the figures.
        grids: tables below them.
        charts: Vega-Lite JSON by title.
        closing: paragraphs below all.

    Raises:
        StoreError: if something cannot be written.
    """
    import vl_convert

    pictures = []
    for number, (name, spec) in enumerate(charts.items(), 1):
        drawn = vl_convert.vegalite_to_svg(spec).encode()
        write_atomically(path.with_name(f"figure{number}.svg"), lambda file, drawn=drawn: file.write(drawn))  # type: ignore[misc]
        pictures.append(f"![{name}](figure{number}.svg)")
    tables = [text for grid in grids for text in (f"## {grid.title}", rows_of(grid), grid.note)]
    told = "\n\n".join(text for text in (f"# {title}", *opening, *pictures, *tables, *closing) if text) + "\n"
    write_atomically(path, lambda file: file.write(told.encode()))


def rows_of(grid: Grid) -> str:
    """Return a table's rows in Markdown, headings first."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"

    return "\n".join([row(grid.columns), "|---" * len(grid.columns) + "|", *(row(cells) for cells in grid.rows)])


def bullets(lines: Sequence[str]) -> str:
    """Return lines as a list in Markdown."""
    return "\n".join(f"* {line}" for line in lines)
