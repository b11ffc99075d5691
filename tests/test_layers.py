"""Imports go downward only, and importing the package is light."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch

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
    "ship": {"base", "data", "models", "train", "study", "diagnose", "report"},
    "api": {"base", "data", "models", "objectives", "maps", "train", "study", "diagnose", "report"},
    "automatic": {"base", "data", "study", "diagnose", "api"},
    "demo": {"study"},
    "starter": {"base", "data", "study", "train"},
    "losses": {"objectives", "methods"},
    "cli": {
        "base",
        "data",
        "models",
        "study",
        "train",
        "diagnose",
        "report",
        "ship",
        "api",
        "automatic",
        "demo",
        "starter",
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


def modules() -> dict[str, Path]:
    """Return every module of ours, the laboratory's included, by its dotted name."""
    root = SOURCE.parent
    named = {
        p: ".".join(p.relative_to(root).with_suffix("").parts) for p in (*SOURCE.rglob("*.py"), *LAB.rglob("*.py"))
    }
    return {name.removesuffix(".__init__"): path for path, name in named.items()}


def at_run_time(node: ast.AST):
    """Yield a tree's nodes, those that only a type checker sees left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        yield child
        yield from at_run_time(child)


def imported_modules(source: str, known) -> set[str]:
    """Return the known modules that a source imports at run time, at its top or within a function."""
    found = set()
    for node in at_run_time(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # What is imported from a package is a module of it, or a name of the package itself.
            names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {whole if whole in known else node.module for whole in names.values()}
    return found & set(known)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle, the first of them again at the end, or nothing."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := walk(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def test_modules_import_each_other_in_no_circle():
    known = modules()
    assert circle({name: imported_modules(path.read_text(), known) for name, path in known.items()}) == []


def test_a_circle_would_be_found():
    known = {
        "p": "",
        "p.a": "def f():\n    from p.b import x",
        "p.b": "if TYPE_CHECKING:\n    import p.c\nfrom p import c",
    }
    known["p.c"] = ""
    graph = {name: imported_modules(source, known) for name, source in known.items()}
    assert graph == {"p": set(), "p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": set()} and circle(graph) == []
    assert circle({**graph, "p.c": {"p.a"}}) == ["p.a", "p.b", "p.c", "p.a"]


# Where constructors are called: networks and what losses must know of them are put together in one room.
CONSTRUCTORS = {"build_model", "Setting"}
ROOM = {"study/build.py"}


def test_one_room_alone_calls_constructors():
    calling = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))  # doctests are strings, and may
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in CONSTRUCTORS
    }
    assert calling == ROOM


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


@pytest.mark.parametrize(
    "name", ["study.plan", "study.spec", "study.names", "study.planned", "base.errors", "train.recipe"]
)
def test_what_only_reads_words_imports_no_torch(name):
    code = f"import sys, goodteacher.{name}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


STUDY = """
problem: {name: gaussian, train: 64, validation: 30, test: 30}
recipe: {epochs: 1, batch_size: 32, precision: fp32}
teachers: {ce: {model: mlp}}
seeds: 1
"""


def test_seven_frames_at_most_lie_between_a_command_and_a_step(tmp_path, monkeypatch):
    from goodteacher import cli

    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["goodteacher", "run", "study.yaml", "--engine", "local", "--quiet"])
    stacks, step = [], torch.optim.SGD.step

    def looked_at(self, *given, **options):
        stacks.append(traceback.extract_stack())
        return step(self, *given, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", looked_at)
    monkeypatch.setattr(signal, "signal", lambda number, handler: signal.getsignal(number))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code and len(stacks) == 2  # steps
    for stack in stacks:
        ours = [frame.name for frame in stack if SOURCE in Path(frame.filename).parents]
        assert ours[0] == "main" and ours[-1] == "train_step" and len(ours) <= 7


def test_every_public_name_exists():
    import goodteacher

    for name in goodteacher.__all__:
        assert getattr(goodteacher, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'teahc'"):
        _ = goodteacher.teahc


def test_every_file_of_study_has_its_tests():
    files = {path.name for path in (SOURCE / "study").glob("*.py")} - {"__init__.py"}
    tested = {path.name.removeprefix("test_") for path in (Path(__file__).parent / "study").glob("test_*.py")}
    assert sorted(files - tested) == []
