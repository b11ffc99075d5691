"""Loss-switching students: what their arms are, and a tiny run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from goodteacher.data.digits import digits_problem
from goodteacher.study.plan import plan_study
from goodteacher.study.planned import Given
from goodteacher.study.runspec import RunSpec
from goodteacher.study.spec import parse_study
from goodteacher_lab.deviations.runs import TAUGHT
from goodteacher_lab.deviations.switching import KINDS, arms_of, switch_epochs, switching
from goodteacher_lab.job import Job
from goodteacher_lab.sizes import SIZES

VECTORS = SIZES["deviations, vectors"]["minutes"]

MLP = {"mlp": {"widths": [4]}}


def test_switches_lie_within_training():
    assert switch_epochs(40) == (10, 20, 30) and switch_epochs(2) == (1,) and switch_epochs(1) == ()


def test_the_four_arms_of_a_switch_differ_in_their_losses_alone():
    arms = arms_of(replace(VECTORS, epochs=8), MLP, "a-run")
    four = {kind: arms[f"{kind}-2"] for kind in KINDS if kind != "stopped"}
    for kind, arm in four.items():
        before, after = kind.split("_")
        assert arm["recipe"] == {"epochs": 6, "evaluate_every": 6, "schedule": "cosine"} and arm["model"] == MLP
        assert arm["start"] == ("stopped-2" if before == "distilled" else "half-2")
        assert ("method" in arm) == (after == "distilled")
    assert arms["stopped-2"] == {"model": MLP, "taught_by": "teacher", "method": TAUGHT, "keep": "epoch=2"}
    assert arms["half-2"] == {"model": MLP, "keep": "epoch=2"} and arms["teacher"] == {"run": "a-run"}


def test_planned_halves_are_checkpoints_of_two_trainings_and_start_the_rest():
    arms = arms_of(replace(VECTORS, epochs=8), MLP, "a-run")
    study = parse_study({"problem": "digits", "recipe": {"epochs": 8}, "teachers": arms, "seeds": [5]})
    finished = RunSpec("teacher", {"mlp": {"widths": [4]}}, {"cross_entropy": {}}, 0.0, {}, "last", 0, "f" * 16)
    facts = digits_problem().facts
    plan = plan_study(study, facts, {"a-run": Given(finished, facts)})
    firsts = {
        plan.runs[plan.teachers[f"{kind}-{e}", 5].runs[0]].training_id
        for e in (2, 4, 6)
        for kind in ("half", "stopped")
    }
    assert len(firsts) == 2
    switched = plan.runs[plan.teachers["labels_distilled-4", 5].runs[0]]
    assert switched.start == plan.teachers["half-4", 5].runs[0] and switched.teaching.runs == ("a-run",)
    assert plan.runs[plan.teachers["distilled_labels-4", 5].runs[0]].teaching is None


@pytest.mark.slow
def test_a_tiny_switching_compares_arms_of_the_same_halves(tmp_path):
    found = switching(Job(epochs=1, seeds=2, out=tmp_path, quiet=True, choices={"problem": ("few_digits",)}))
    rows = found.data["few_digits"]
    assert set(rows) == {"teacher", *(f"{kind}-1" for kind in KINDS)}
    assert all(len(row["accuracy"]) == 2 for row in rows.values())
    (grid,) = found.grids
    assert [row[0] for row in grid.rows] == ["teacher", *KINDS.values()]
    by = {row[0]: row for row in grid.rows}
    gain = 100 * sum(
        a - b for a, b in zip(rows["distilled_labels-1"]["accuracy"], rows["distilled_distilled-1"]["accuracy"], strict=True)
    ) / 2  # fmt: skip
    assert by["distilled, then labels"][3].startswith(f"{gain:+.2f}") and by["distilled throughout"][3] == "-"
    assert json.dumps(found.data, allow_nan=False) and "2 epochs" in " ".join(found.departures)
