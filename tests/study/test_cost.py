from __future__ import annotations

import pytest

from goodteacher.api import load_problem, run_study
from goodteacher.data.digits import digits_problem
from goodteacher.data.labels import label_subset
from goodteacher.study import cost as room
from goodteacher.study.cost import estimate_cost, memories
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import parse_study
from goodteacher.study.store import Store

STUDY = {
    "problem": "digits",
    "recipe": {"epochs": 1, "batch_size": 64},
    "teachers": {"ce": {"model": {"mlp": {"widths": [8]}}}},
    "students": {"kd": {"model": {"mlp": {"widths": [4]}}}},
    "seeds": 2,
}


def test_cost_falls_to_nothing_as_runs_finish(tmp_path):
    study = parse_study(STUDY)
    problem, store = load_problem(study), Store(tmp_path)
    plan = plan_study(study, problem.facts)
    before = estimate_cost(plan, problem, store)
    assert (before.runs, before.reused) == (4, 0) and before.seconds > 0
    outputs = (250 + 539) * 10 * 4
    parameters = (64 * 8 + 8 + 8 * 10 + 10) + (64 * 4 + 4 + 4 * 10 + 10)
    assert before.bytes == 2 * (2 * outputs + 4 * parameters)
    run_study(study, problem, out=tmp_path, quiet=True)
    after = estimate_cost(plan, problem, store)
    assert (after.runs, after.reused, after.seconds, after.bytes) == (0, 4, 0.0, 0)


def test_longer_training_costs_more(tmp_path):
    problem = load_problem(parse_study(STUDY))

    def cost(epochs):
        plan = plan_study(parse_study({**STUDY, "recipe": {"epochs": epochs}}), problem.facts)
        return estimate_cost(plan, problem, Store(tmp_path)).seconds

    assert cost(100) > 10 * cost(1)


def test_a_step_is_timed_once_for_a_network_and_what_it_sees(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(room, "step_seconds", lambda model, inputs, precision: seen.append(tuple(inputs.shape)) or 2.0)
    few = label_subset(digits_problem(), per_class=3, seed=0)
    net = {"resnet8": {"widths": [4, 4, 6, 8]}}
    recipe = {"epochs": 3, "batch_size": 10, "precision": "fp32", "evaluate_every": 3}
    arms = {"a": {"model": net}, "b": {"model": net, "objective": "brier"}, "c": {"model": net, "inputs": {"size": 16}}}
    plan = plan_study(parse_study({"problem": "made", "recipe": recipe, "teachers": arms, "seeds": 2}), few.facts)
    cost = estimate_cost(plan, few, Store(tmp_path))
    assert seen == [(10, 1, 8, 8), (10, 1, 16, 16)]
    # Three epochs of three steps of 2 s, and one look at 250 examples in tens at a third of a step each, for six runs.
    assert cost.seconds == pytest.approx(6 * (3 * 3 * 2.0 + 25 * 2.0 / 3))


def test_memories_with_a_row_per_example_are_named():
    few = label_subset(digits_problem(), per_class=3, seed=0)
    net = {"resnet8": {"widths": [4, 4, 6, 8]}}
    students = {"kd": {"model": net}, "crd": {"model": net, "method": {"crd": {"width": 16, "negatives": 8}}}}
    values = {"problem": "made", "teachers": {"t": {"model": net}}, "students": students, "seeds": 2}
    assert memories(plan_study(parse_study(values), few.facts)) == {"crd < t": 2 * 30 * 16 * 4}
