from __future__ import annotations

import os

import pytest
import torch

from goodteacher.api import run_study
from goodteacher.base.errors import ConfigError, TrainingError
from goodteacher.base.events import Event
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.study import engines
from goodteacher.study.cohort import Outcome
from goodteacher.study.engines import Here, open_engine
from goodteacher.study.execute import execute
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import parse_study
from goodteacher.study.store import Store

MLP = {"mlp": {"widths": [5]}}
STUDY = {
    "name": "engines",
    "problem": "made",
    "recipe": {"epochs": 2, "batch_size": 16, "lr": 0.05, "precision": "fp32"},
    "teachers": {"a": {"model": MLP}, "b": {"model": MLP, "objective": "brier", "map": "temperature"}},
    "students": {"kd": {"model": MLP}},
    "seeds": 2,
}


@pytest.fixture(scope="module")
def problem():
    return gaussian_problem(dimension=4, train=48, validation=30, test=30)


def done(study, problem, out, engine, **options):
    told = []
    plan = plan_study(parse_study(study), problem.facts)
    summary = execute(plan, problem, Store(out), engine=engine, tell=told.append, **options)
    return plan, summary, told


@pytest.mark.slow
def test_local_and_processes_give_the_same_ids_and_bits(problem, tmp_path):
    plan, here, told = done(STUDY, problem, tmp_path / "a", "local")
    _, there, also = done(STUDY, problem, tmp_path / "b", "processes", workers=2)
    assert sorted(here.finished) == sorted(there.finished) == sorted(plan.runs) and there.failed == {}
    for run in plan.runs:
        one, two = (Store(tmp_path / x).run(run) for x in "ab")
        assert one.spec == two.spec and all(torch.equal(two.weights[name], v) for name, v in one.weights.items())
        assert torch.equal(one.outputs("test"), two.outputs("test"))
    for kind in ("finished", "epoch", "line"):
        counts = [sum(e.kind == kind for e in heard) for heard in (told, also)]
        assert counts[0] > 0 and (counts[0] == counts[1] or kind == "line"), kind


@pytest.mark.slow
def test_a_cohort_that_fails_in_a_process_fails_alone(problem, tmp_path):
    wild = {"model": MLP, "recipe": {"lr": 1e30, "epochs": 3}}  # of other epochs: a cohort of its own
    study = {**STUDY, "teachers": {**STUDY["teachers"], "wild": wild}, "seeds": 1}
    plan, summary, told = done(study, problem, tmp_path, "processes", workers=2)
    reasons = {plan.names[run]: why for run, why in summary.failed.items()}
    assert set(reasons) == {"wild/0", "kd < wild/0"} and "not finite" in reasons["wild/0"]
    assert reasons["kd < wild/0"] == "left out because its teacher failed"
    assert len(summary.finished) == 4 == len(plan.runs) - 2
    assert {e.name for e in told if e.kind == "failed"} == set(reasons)


def test_a_cohort_that_fails_here_fails_alone(problem, tmp_path):
    wild = {"model": MLP, "recipe": {"lr": 1e30, "epochs": 3}}
    study = {**STUDY, "teachers": {**STUDY["teachers"], "wild": wild}, "seeds": 1}
    plan, summary, _ = done(study, problem, tmp_path, "local")
    assert {plan.names[run] for run in summary.failed} == {"wild/0", "kd < wild/0"} and len(summary.finished) == 4


def test_an_unknown_engine_is_refused_before_anything_trains(problem, tmp_path):
    with pytest.raises(
        ConfigError, match=r"^engine: must be a known name, got 'procesess'; did you mean 'processes'\?$"
    ):
        run_study(STUDY, problem, out=tmp_path, engine="procesess")
    assert Store(tmp_path).runs() == []


def test_ray_that_is_not_there_is_one_sentence(problem, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"^engine 'ray': needs the package ray; pip install ray\.$"):
        run_study(STUDY, problem, out=tmp_path, engine="ray")


def test_one_worker_is_this_process(problem, tmp_path):
    store = Store(tmp_path)
    for engine, workers in (("local", 4), ("processes", 1)):
        with open_engine(engine, workers, problem.facts, problem, store, "cpu", lambda event: None) as cohorts:
            assert type(cohorts) is Here and cohorts.outcomes() == []


def test_here_a_cohort_is_trained_when_it_is_handed_over():
    handed = []
    cohorts = Here(lambda specs, names: handed.append((specs, names)) or Outcome(["x"]))
    assert cohorts.train(["spec"], {"x": "people"}).finished == ["x"] and handed == [(["spec"], {"x": "people"})]


def say_who(cohort, names, tell):
    """What a worker does instead of training: it says where it is, and fails where it is told to."""
    tell(Event("line", text=str(os.getpid())))
    if cohort == ["bug"]:
        raise TrainingError("a bug", rule="is nobody's")
    return Outcome([names[spec] for spec in cohort])


class Named(str):
    """A spec that is its own id, and crosses to another process."""

    __slots__ = ()

    @property
    def id(self):
        return str(self)


@pytest.mark.slow
def test_workers_tell_and_hand_back_and_are_given_the_names_they_need():
    told = []
    with engines._pool(2, say_who, told.append) as pool:
        assert pool.outcomes() == []  # nothing is under way
        assert pool.train([Named("x"), Named("y")], {"x": "ex", "y": "why", "z": "not sent"}) is None
        pool.train([Named("z")], {"z": "zed"})
        found = []
        while outcomes := pool.outcomes():
            found += outcomes
    assert sorted(name for outcome in found for name in outcome.finished) == ["ex", "why", "zed"]
    assert len(told) == 2 and str(os.getpid()) not in {e.text for e in told}


@pytest.mark.slow
def test_a_bug_in_a_worker_comes_out_here():
    with pytest.raises(TrainingError, match="a bug"), engines._pool(2, say_who, lambda event: None) as pool:
        pool.train([Named("bug")], {"bug": "b"})
        pool.outcomes()
