"""Whole studies on tiny data: reuse, failure, interruption, kill -9, engines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from goodteacher.api import run_study
from goodteacher.base.errors import StoreError
from goodteacher.data.digits import digits_problem
from goodteacher.study import cohort
from goodteacher.study.execute import ready_cohorts
from goodteacher.study.store import Store
from goodteacher.train.checkpoint import load_checkpoint

STUDY = {
    "name": "tiny",
    "problem": "digits",
    "recipe": {"epochs": 2, "batch_size": 64, "lr": 0.1},
    "teachers": {
        "ce": {"model": {"mlp": {"widths": [16]}}},
        "early": {"model": {"mlp": {"widths": [16]}}, "keep": "epoch=1", "map": "temperature"},
    },
    "students": {
        "alone": {"model": {"mlp": {"widths": [4]}}, "method": "none"},
        "kd": {"model": {"mlp": {"widths": [4]}}},
    },
    "seeds": 2,
}


@pytest.fixture(scope="module")
def problem():
    return digits_problem()


def weights(store, run):
    return store.run(run).model.state_dict()


def same_weights(one, other, runs):
    return all(
        torch.equal(a, b)
        for run in runs
        for a, b in zip(weights(one, run).values(), weights(other, run).values(), strict=True)
    )


def test_a_study_trains_once_and_is_reused(problem, tmp_path):
    first = run_study(STUDY, problem, out=tmp_path, quiet=True)
    assert len(first.summary.finished) == len(first.plan.runs) == 10 and first.summary.failed == {}
    again = run_study(STUDY, problem, out=tmp_path, quiet=True)
    assert again.summary.finished == [] and len(again.summary.reused) == 10
    more = {**STUDY, "students": {**STUDY["students"], "kd2": {"model": {"mlp": {"widths": [5]}}}}}
    third = run_study(more, problem, out=tmp_path, quiet=True)
    assert len(third.summary.finished) == 4 and len(third.summary.reused) == 10
    assert not list((tmp_path / "training").iterdir())


def test_runs_that_differ_in_the_checkpoint_only_are_trained_once(problem, tmp_path):
    finished = run_study(STUDY, problem, out=tmp_path, quiet=True)
    store, teachers = Store(tmp_path), finished.plan.teachers
    last, first = (store.run(teachers[arm, 0].network) for arm in ("ce", "early"))
    assert (last.result.epoch, first.result.epoch) == (2, 1)
    assert last.result.seconds == first.result.seconds
    assert not torch.equal(first.outputs("test"), last.outputs("test"))
    assert torch.equal(first.outputs("test", checkpoint="last"), last.outputs("test"))


def test_saved_outputs_are_those_of_the_saved_model(problem, tmp_path):
    from goodteacher.train.infer import predict

    finished = run_study(STUDY, problem, out=tmp_path, quiet=True)
    for run in finished.plan.runs:
        saved = Store(tmp_path).run(run)
        torch.testing.assert_close(predict(saved.model, problem, "test"), saved.outputs("test"))


@pytest.mark.slow
def test_engines_give_the_same_weights(problem, tmp_path):
    local = run_study(STUDY, problem, out=tmp_path / "a", quiet=True)
    run_study(STUDY, problem, out=tmp_path / "b", engine="processes", workers=2, quiet=True)
    assert same_weights(Store(tmp_path / "a"), Store(tmp_path / "b"), local.plan.runs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_weights(problem, tmp_path):
    pytest.importorskip("ray", reason="ray is an optional extra")
    local = run_study(STUDY, problem, out=tmp_path / "a", quiet=True)
    run_study(STUDY, problem, out=tmp_path / "b", engine="ray", quiet=True)
    assert same_weights(Store(tmp_path / "a"), Store(tmp_path / "b"), local.plan.runs)


def test_a_failed_run_fails_its_students_and_nobody_else(problem, tmp_path):
    teachers = {**STUDY["teachers"], "wild": {"model": "mlp", "recipe": {"lr": 1e30}}}
    finished = run_study({**STUDY, "teachers": teachers, "seeds": 1}, problem, out=tmp_path, page=True)
    reasons = {finished.plan.names[run]: why for run, why in finished.summary.failed.items()}
    assert set(reasons) == {"wild/0", "kd < wild/0"}
    assert "not finite" in reasons["wild/0"] and "its teacher failed" in reasons["kd < wild/0"]
    assert len(finished.summary.finished) == 5
    assert len(finished.results.missing) == 2  # and the page says so
    assert "partial result" in (finished.folder / "report.html").read_text()


SCRIPT = """
    import sys, time
    from pathlib import Path
    import goodteacher.train.loop as loop
    from goodteacher.api import run_study
    from goodteacher.data.digits import digits_problem

    loop.CHECKPOINT_SECONDS = 0.0
    step = loop.Learner.train_step

    def stuck(self, *given):
        if self.step == {at}:
            Path({hangs!r}).touch()
            time.sleep(100_000)
        step(self, *given)

    loop.Learner.train_step = stuck  # in worker processes too: they import this file
    if __name__ == "__main__":
        run_study({study!r}, digits_problem(), out={out!r}, engine=sys.argv[1], quiet=True)
"""


def wait_for(happened, process=None):
    """Wait as long as it takes: how long that is depends on the machine."""
    while not happened():
        assert process is None or process.poll() is None, "the process ended before it was to be killed"
        time.sleep(0.01)


def is_free(store, trainings):
    try:
        with store.claim(trainings):
            return True
    except StoreError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "processes"])
def test_killed_in_the_middle_it_resumes_to_the_same_weights(problem, tmp_path, engine):
    script, hangs, store = tmp_path / "go.py", tmp_path / "hangs", Store(tmp_path / "killed")
    text = textwrap.dedent(SCRIPT).format(study=STUDY, out=str(store.root), hangs=str(hangs), at=21)
    script.write_text(text)
    process = subprocess.Popen([sys.executable, str(script), engine], env={**os.environ, "OMP_NUM_THREADS": "1"})
    wait_for(hangs.exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    states = [load_checkpoint(path) for path in (store.root / "training").glob("*/checkpoint.pt")]
    assert 21 in [state["step"] for state in states] and store.runs() == []
    # Worker processes notice by themselves that nobody waits for them, and let go.
    wait_for(lambda: is_free(store, [folder.name for folder in (store.root / "training").iterdir()]))
    again = run_study(STUDY, problem, out=store.root, engine=engine, quiet=True)
    assert len(again.summary.finished) == 10
    whole = run_study(STUDY, problem, out=tmp_path / "whole", quiet=True)
    assert same_weights(store, Store(tmp_path / "whole"), whole.plan.runs)


def test_an_interrupt_from_the_keyboard_keeps_checkpoints(problem, tmp_path, monkeypatch):
    original = cohort.fit

    def interrupted(*args, tell, **options):
        def telling(event):
            tell(event)
            if event.kind == "step" and event.done == 5:
                signal.raise_signal(signal.SIGINT)

        return original(*args, tell=telling, **options)

    monkeypatch.setattr(cohort, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(STUDY, problem, out=tmp_path, quiet=True)
    monkeypatch.setattr(cohort, "fit", original)
    states = [load_checkpoint(path) for path in (tmp_path / "training").glob("*/checkpoint.pt")]
    assert states and {state["step"] for state in states} == {5}
    finished = run_study(STUDY, problem, out=tmp_path, quiet=True)
    whole = run_study(STUDY, problem, out=tmp_path / "whole", quiet=True)
    assert same_weights(Store(tmp_path), Store(tmp_path / "whole"), whole.plan.runs)
    assert finished.summary.failed == {}


def test_two_processes_do_not_train_the_same(tmp_path):
    store = Store(tmp_path)
    with store.claim(["abc"]), pytest.raises(StoreError, match="another process"), Store(tmp_path).claim(["abc"]):
        pass
    with store.claim(["abc"]):
        pass


def test_a_known_truth_teaches_like_a_network(tmp_path):
    from goodteacher.data.gaussian import gaussian_problem

    problem = gaussian_problem(train=200, validation=60, test=60)
    study = {
        "name": "truth",
        "problem": "gaussian",
        "recipe": {"epochs": 2, "batch_size": 32, "lr": 0.05},
        "teachers": {"truth": {"table": "truth"}, "ce": {"model": "mlp"}},
        "students": {"kd": {"model": "mlp", "method": {"kd": {"temperature": 1.0}}}},
        "seeds": 2,
    }
    finished = run_study(study, problem, out=tmp_path, quiet=True)
    assert finished.summary.failed == {}
    assert {row.teacher for row in finished.results.students} == {"truth", "ce"}


def test_students_wait_for_the_whole_cohort_of_their_teachers(problem, tmp_path):
    study = {**STUDY, "teachers": {"ce": STUDY["teachers"]["ce"]}, "seeds": 1}
    plan = run_study(study, problem, out=tmp_path, quiet=True).plan
    (teacher,) = plan.teachers["ce", 0].runs
    waiting = {cell.run for cell in plan.cells if cell.teacher is not None}
    store = Store(tmp_path)
    assert ready_cohorts(plan, store, waiting, {teacher}) == []  # in the store already, its cohort not yet done
    assert [[spec.id for spec in cohort] for cohort in ready_cohorts(plan, store, waiting)] == [sorted(waiting)]
