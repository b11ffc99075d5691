from __future__ import annotations

from goodteacher.api import load_problem, run_study
from goodteacher.study.cost import estimate_cost
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
