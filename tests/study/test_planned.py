from __future__ import annotations

import json
import shutil

import pytest

from goodteacher.base.errors import StoreError
from goodteacher.data.facts import Facts
from goodteacher.diagnose.results import Results
from goodteacher.study.plan import plan_study
from goodteacher.study.planned import Cell, Plan
from goodteacher.study.spec import parse_study
from goodteacher.study.store import load_study

FACTS = Facts("f" * 16, 10, (1, 8, 8), 100, is_image=True, knows_truth=True, has_votes=False, notes=("small",))
MLP = {"mlp": {"widths": [8]}}
STUDY = {
    "name": "all",
    "problem": {"name": "digits", "merge": {"even": [0, 2], "odd": [1, 3]}},
    "recipe": {"epochs": 6, "schedule": "multistep", "milestones": [0.5]},
    "teachers": {
        "plain": {"model": MLP, "checkpoints": 2},
        "cycles": {"model": MLP, "snapshots": {"cycles": 2, "weights": "validation"}},
        "stopped": {"model": MLP, "early_stop": 3},
        "crossed": {"model": MLP, "cross_fit": 2},
        "filtered": {"model": MLP, "filter_table": 0.3},
        "tuned": {"model": MLP, "objective": "mcmi", "start": "plain"},
        "oracle": {"table": "truth"},
        "both": {"ensemble": ["plain", "stopped"], "map": "temperature"},
    },
    "students": {"alone": {"model": MLP, "method": "none"}, "taught": {"model": MLP, "taught_by": ["both", "crossed"]}},
    "seeds": [3, 5],
    "notes": ["of every procedure"],
}


def test_a_plan_reads_back_from_json():
    plan = plan_study(parse_study(STUDY), FACTS)
    again = Plan.read(json.loads(json.dumps(plan.stored())))
    assert again.study == plan.study and again.facts == FACTS
    assert again.teachers == plan.teachers and again.cells == plan.cells and again.names == plan.names
    assert list(again.runs) == [spec.id for spec in again.runs.values()] == list(plan.runs)


def test_a_study_reads_back_as_it_was_planned(digits_study):
    store, plan = load_study(digits_study.folder)
    assert plan.study == digits_study.plan.study and plan.facts == digits_study.plan.facts
    assert [store.run(run).spec.id for run in plan.runs] == list(digits_study.plan.runs)
    assert plan.facts == store.run(next(iter(plan.runs))).facts and plan.facts.examples == 1008


def earlier(folder, digits_study):
    """Return a copy of a finished study as earlier versions wrote it: teachers and cells alone, facts without answers."""
    shutil.copytree(digits_study.folder.parent.parent, folder)
    study = folder / "studies" / digits_study.folder.name
    plan = json.loads((study / "plan.json").read_text())
    kept = {key: plan[key] for key in ("format", "problem", "teachers", "cells")}
    (study / "plan.json").write_text(json.dumps(kept))
    (facts,) = folder.glob("problems/*/facts.json")
    known = json.loads(facts.read_text())
    lacking = ("fingerprint", "is_image", "knows_truth", "has_votes")
    facts.write_text(json.dumps({key: value for key, value in known.items() if key not in lacking}))
    return study


def test_a_plan_of_earlier_versions_is_completed_from_its_store(tmp_path, digits_study):
    study = earlier(tmp_path / "store", digits_study)
    own, then = digits_study.plan, load_study(study)[1]
    assert (then.study, then.facts, then.cells, then.teachers) == (own.study, own.facts, own.cells, own.teachers)
    assert then.names == {run: own.names[run] for run in then.names} and set(then.names) == set(own.names)
    assert [spec.id for spec in then.runs.values()] == list(then.runs)
    assert Results(study).student_values == digits_study.results.student_values
    assert Results(study).ranked[0].scores == digits_study.results.ranked[0].scores


def test_unfinished_runs_of_an_earlier_plan_are_left_out(tmp_path, digits_study):
    study = earlier(tmp_path / "store", digits_study)
    lost = next(cell.run for cell in digits_study.plan.cells if cell.teacher == "focal")
    shutil.rmtree(tmp_path / "store" / "runs" / lost)
    plan = load_study(study)[1]
    assert lost not in plan.runs and lost in plan.names and Results(study).missing == [lost]


def test_a_plan_of_another_format_is_refused(tmp_path, digits_study):
    study = earlier(tmp_path / "store", digits_study)
    (study / "plan.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(StoreError, match="must have format 2 or 3, got 1"):
        load_study(study)


def test_cells_have_names():
    assert Cell("kd", "plain", 3, "x").name == "kd < plain/3" and Cell("alone", None, 0, "x").name == "alone/0"
