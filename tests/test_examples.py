"""Every example runs, every documented study plans, and the README says what is true."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from goodteacher.data.facts import Facts
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import read_study

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_runs_and_is_short(path, capsys):
    assert len(path.read_text().splitlines()) < 60
    runpy.run_path(str(path), run_name="__main__")
    assert "%" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_study_file_plans(path):
    shape = (3, 32, 32) if "cifar10" in path.read_text() else (1, 8, 8)
    facts = Facts("0" * 16, 10, shape, 1000, is_image=True, knows_truth=False, has_votes=False)
    assert plan_study(read_study(path), facts).runs


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(code.replace('objective="brier")', 'objective="brier", epochs=2)'), names)
    assert names["student"].model is not None


def test_links_in_the_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "evidence").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_two_commands_that_ci_runs():
    commands = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2 and all("-c constraints.txt" in command for command in commands)


def test_everything_with_an_equation_is_in_the_methods_page():
    from goodteacher.maps.table import MAPS
    from goodteacher.methods.table import METHODS
    from goodteacher.objectives.table import OBJECTIVES

    text = (ROOT / "METHODS.md").read_text()
    assert [name for name in (*OBJECTIVES, *METHODS, *MAPS) if f"`{name}`" not in text] == []
