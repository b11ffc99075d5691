"""A study's runs keep their names, whatever becomes of the code; `compare.py` beside this file compares their weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from golden.studies import STUDIES
from goodteacher import demo
from goodteacher.data.facts import Facts
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import StudySpec, parse_study

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "ids.json").read_text())
SHAPES = {"digits": (10, (1, 8, 8), 1008), "gaussian": (3, (30,), 240)}


def planned(study: StudySpec) -> dict[str, str]:
    """Return run id to its name, for data of a fixed fingerprint: those of real data hang on the processor's last bits."""
    classes, shape, examples = SHAPES[study.problem["name"]]
    classes = study.problem.get("classes", classes)
    known = study.problem["name"] == "gaussian"
    facts = Facts("0" * 16, classes, shape, examples, len(shape) == 3, known, False)
    return plan_study(study, facts).names


def studies() -> dict[str, StudySpec]:
    example = yaml.safe_load((HERE.parent.parent / "examples" / "study.yaml").read_text())
    plain = {
        name: parse_study(values) for name, values in {**STUDIES, "example": {"name": "example", **example}}.items()
    }
    return {**plain, "demo-digits": demo.digits(), "demo-gaussian": demo.gaussian()}


@pytest.mark.parametrize("name", RECORDED)
def test_runs_keep_their_ids(name):
    assert planned(studies()[name]) == RECORDED[name]


def test_every_study_is_recorded():
    assert set(RECORDED) == set(studies())
