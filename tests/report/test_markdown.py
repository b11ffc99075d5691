"""Pages in Markdown."""

from __future__ import annotations

from goodteacher.report.markdown import bullets, rows_of, write_markdown
from goodteacher.report.tables import Grid


def test_rows_keep_bars_and_stars():
    assert rows_of(Grid("t", ("a|b", "c"), (("1*", "2"),))) == "| a\\|b | c |\n|---|---|\n| 1\\* | 2 |"


def test_parts_stand_apart_and_empty_ones_are_left_out(tmp_path):
    grid = Grid("table", ("a",), (("1",),))
    write_markdown(tmp_path / "p.md", "T", ("one", "", bullets(())), (grid,), {}, (bullets(("x", "y")),))
    assert (tmp_path / "p.md").read_text() == "# T\n\none\n\n## table\n\n| a |\n|---|\n| 1 |\n\n* x\n* y\n"
    assert [p.name for p in tmp_path.iterdir()] == ["p.md"]
