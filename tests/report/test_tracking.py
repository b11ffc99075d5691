from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pytest

import goodteacher as gt
from goodteacher.base.errors import ConfigError
from goodteacher.base.events import Event
from goodteacher.report import tracking
from goodteacher.report.tracking import TRACKERS, TrackerRow, check_trackers, numbers, tracked

RECORD = {"epoch": 2, "lr": 0.1, "loss": {"kd": 0.5}, "validation": {"brier": 0.2, "accuracy": 0.9}, "seconds": 1.0}


class Noted:
    """A tracker that writes down what it is told."""

    def __init__(self, study, name, folder):
        self.said = NOTES.setdefault((study, name), [])

    def log(self, values, epoch):
        self.said.append((epoch, values))

    def end(self, failed):
        self.said.append(failed)


NOTES: dict = {}


@pytest.fixture(autouse=True)
def noted(monkeypatch):
    NOTES.clear()
    monkeypatch.setitem(TRACKERS, "tensorboard", TrackerRow(Noted, "sys"))


def test_a_training_is_followed_from_its_first_epoch_to_its_end(tmp_path):
    heard = []
    with tracked(["tensorboard"], "s", tmp_path, heard.append) as tell:
        for event in (Event("line", text="x"), Event("epoch", "a", record=RECORD), Event("epoch", "b", record=RECORD)):
            tell(event)
        tell(Event("finished", "a"))
        tell(Event("failed", "b"))
        tell(Event("epoch", "c", record=RECORD))
    assert [event.kind for event in heard] == ["line", "epoch", "epoch", "finished", "failed", "epoch"]
    numbers_ = {"lr": 0.1, "loss/kd": 0.5, "validation/brier": 0.2, "validation/accuracy": 0.9}
    assert {
        ("s", "a"): [(2, numbers_), False],
        ("s", "b"): [(2, numbers_), True],
        ("s", "c"): [(2, numbers_), True],
    } == NOTES
    assert numbers({"epoch": 0, "loss": {}}) == {}


def test_nothing_is_on_unless_it_is_named(tmp_path):
    def heard(event):
        return None

    with tracked([], "s", tmp_path, heard) as tell:
        assert tell is heard


def test_a_study_tells_its_trackers(tmp_path):
    study = {
        "name": "t", "problem": {"name": "digits", "subset": 4}, "seeds": 1, "recipe": {"epochs": 2, "batch_size": 10},
        "teachers": {"ce": {"model": {"mlp": {"widths": [4]}}}},
    }  # fmt: skip
    gt.run_study(study, out=tmp_path, track=["tensorboard"])
    (said,) = NOTES.values()
    assert [epoch for epoch, _ in said[:-1]] == [1, 2] and said[-1] is False and "validation/brier" in said[0][1]


def test_unknown_trackers_and_missing_packages_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'wandb'"):
        check_trackers(["wandbb"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tracker 'mlflow': needs the package mlflow; pip install mlflow"):
        check_trackers(["mlflow"])


def test_weights_and_biases_is_asked_for_a_run_per_training(monkeypatch, tmp_path):
    calls = []
    run = SimpleNamespace(log=lambda v, step: calls.append((v, step)), finish=lambda exit_code: calls.append(exit_code))
    module = SimpleNamespace(init=lambda **given: calls.append(given) or run)
    monkeypatch.setitem(sys.modules, "wandb", module)
    followed = tracking.WandB("study", "kd/0", tmp_path)
    followed.log({"x": 1.0}, 3)
    followed.end(True)
    assert calls[0]["group"] == "study" and calls[0]["name"] == "kd/0" and calls[1:] == [({"x": 1.0}, 3), 1]


def test_mlflow_is_asked_for_an_experiment_per_study(monkeypatch, tmp_path):
    calls = []

    class Client:
        def get_experiment_by_name(self, name):
            return None if not calls else SimpleNamespace(experiment_id="7")

        def create_experiment(self, name):
            calls.append(name)
            return "7"

        def create_run(self, experiment, run_name):
            return SimpleNamespace(info=SimpleNamespace(run_id=f"{experiment}/{run_name}"))

        def log_metric(self, run, key, value, step):
            calls.append((run, key, value, step))

        def set_terminated(self, run, status):
            calls.append((run, status))

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mlflow.tracking", SimpleNamespace(MlflowClient=Client))
    for name in ("a", "b"):
        followed = tracking.MLflow("study", name, tmp_path)
        followed.log({"x": 1.0}, 3)
        followed.end(False)
    assert calls == ["study", ("7/a", "x", 1.0, 3), ("7/a", "FINISHED"), ("7/b", "x", 1.0, 3), ("7/b", "FINISHED")]
