"""Imports go downward only, and importing the package is light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "goodteacher"
LAB = SOURCE.parent / "goodteacher_lab"
# What runs the laboratory: one command.
OPENS_THE_LAB = {"cli/reproducing.py"}

# Each layer and what it may import besides itself. objectives, maps and methods see tensors, and may cut a network; nothing
# imports cli, and the laboratory next door may import any of it but cli.
MAY_IMPORT = {
    "base": set(),
    "data": {"base"},
    "models": {"base"},
    "objectives": {"base"},
    "maps": {"base"},
    "methods": {"base", "models"},
    "train": {"base", "data", "models", "objectives", "maps"},
    "study": {"base", "data", "models", "objectives", "maps", "methods", "train"},
    "diagnose": {"base", "data", "objectives", "maps", "train", "study"},
    "report": {"base", "data", "models", "objectives", "maps", "methods", "train", "study", "diagnose"},
    "api": {"base", "data", "models", "objectives", "maps", "train", "study", "diagnose", "report"},
    "automatic": {"base", "data", "study", "diagnose", "api"},
    "demo": {"study"},
    "losses": {"objectives", "methods"},
    "cli": {
        "base",
        "data",
        "models",
        "study",
        "train",
        "diagnose",
        "report",
        "api",
        "automatic",
        "demo",
    },
    "__main__": {"cli"},
    "__init__": set(),
}


def layer(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_layers(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "goodteacher":
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("goodteacher.")}
    return names


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_downward(path):
    own = layer(path)
    allowed = MAY_IMPORT[own] | {own}
    # The one lazy exception: Problem.from_arrays and friends stay inside their layer; nothing else is let through.
    assert imported_layers(path) <= allowed


def test_one_command_alone_opens_the_laboratory():
    opening = {str(p.relative_to(SOURCE)) for p in SOURCE.rglob("*.py") if "goodteacher_lab" in p.read_text()}
    assert opening == OPENS_THE_LAB


def test_one_file_alone_draws():
    drawing = {
        str(p.relative_to(SOURCE.parent)) for p in SOURCE.parent.rglob("*.py") if "import altair" in p.read_text()
    }
    assert drawing == {"goodteacher/report/charts.py"}


@pytest.mark.parametrize("path", sorted(LAB.rglob("*.py")), ids=lambda p: str(p.relative_to(LAB)))
def test_the_laboratory_asks_no_command(path):
    assert "cli" not in imported_layers(path)


@pytest.mark.parametrize("path", sorted(SOURCE.parent.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE.parent)))
def test_files_are_short_and_named_for_something(path):
    assert path.stem not in {"utils", "helpers", "common", "misc", "manager"}
    assert len(path.read_text().splitlines()) <= 350


# What reads a run, a plan or the facts of a problem as plain JSON; they are typed, and read back by `study` alone.
LOOKED_INTO = re.compile(r"""\["cells"\]|\.(spec|facts|result|plan|study)\[|\bplan\[["']""")
OUTSIDE = [
    path
    for folder in ("src", "benchmarks", "examples")
    for path in sorted((SOURCE.parent.parent / folder).rglob("*.py"))
    if SOURCE / "study" not in path.parents
]


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda p: str(p.relative_to(SOURCE.parent.parent)))
def test_nothing_outside_study_looks_into_stored_json(path):
    assert LOOKED_INTO.findall(path.read_text()) == []


def test_importing_the_package_is_light():
    code = "import sys, goodteacher, goodteacher.cli; print(sorted({'torch', 'pandas', 'altair', 'scipy'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_every_public_name_exists():
    import goodteacher

    for name in goodteacher.__all__:
        assert getattr(goodteacher, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'teahc'"):
        _ = goodteacher.teahc
