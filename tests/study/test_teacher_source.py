from __future__ import annotations

import math

import pytest
import torch

from goodteacher.api import run_study
from goodteacher.data.folds import assign_folds
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.loader import Loader
from goodteacher.study import teacher_source
from goodteacher.study.store import Store
from goodteacher.study.teacher_source import TeacherSource
from goodteacher.study.teaching import Teaching
from goodteacher.train.frozen import EnsembleTeacher, FoldTeacher, MappedTeacher, NetworkTeacher, TableTeacher

MLP = {"mlp": {"widths": [5]}}
STUDY = {
    "name": "every",
    "problem": "made",
    "recipe": {"epochs": 1, "batch_size": 16, "lr": 0.05, "precision": "fp32"},
    "teachers": {
        "one": {"model": MLP},
        "two": {"model": MLP, "objective": "brier"},
        "folds": {"model": MLP, "cross_fit": 3},
        "filter": {"model": MLP, "filter_table": 0.5},
    },
    "seeds": 1,
}
NONE = frozenset()


@pytest.fixture(scope="module")
def problem():
    return gaussian_problem(dimension=4, train=64, validation=60, test=30)


@pytest.fixture(scope="module")
def finished(problem, tmp_path_factory):
    return run_study(STUDY, problem, out=tmp_path_factory.mktemp("store"), device="cpu")


@pytest.fixture
def store(finished):
    return Store(finished.folder.parent.parent)


@pytest.fixture
def source(problem, store):
    return TeacherSource(problem, problem.fingerprint, store, torch.device("cpu"))


@pytest.fixture(scope="module")
def batch(problem):
    return Loader(problem, batch_size=16, seed=0).batch(2)


def teaching(finished, arm):
    return finished.plan.teachers[arm, 0]


def test_a_network_answers_as_its_run_does(source, finished, store, batch):
    who = teaching(finished, "one")
    teacher = source.teacher(who)
    assert type(teacher) is NetworkTeacher and not teacher.model.training
    assert torch.equal(teacher(batch, NONE).logits, store.run(who.network).model(batch.inputs))


def test_the_same_teacher_is_the_same_object(source, finished):
    who = teaching(finished, "one")
    twin = Teaching("network", tuple(who.runs))
    cooled = Teaching("network", who.runs, target_map={"temperature": {"score": "brier", "value": 2.0}})
    assert source.teacher(who) is source.teacher(twin)
    assert source.teacher(cooled) is source.teacher(cooled) and source.teacher(cooled).base is source.teacher(who)
    assert source.teacher(teaching(finished, "two")) is not source.teacher(who)
    both = Teaching("probabilities", (*who.runs, *teaching(finished, "two").runs))
    assert source.teacher(both).parts[0] is source.teacher(who)


def test_a_map_is_around_what_it_maps(source, finished, batch):
    who = teaching(finished, "one")
    cooled = source.teacher(Teaching("network", who.runs, target_map={"temperature": {"score": "brier", "value": 2.0}}))
    assert type(cooled) is MappedTeacher
    plain = source.teacher(who)(batch, NONE).logits
    torch.testing.assert_close(cooled(batch, NONE).logits.softmax(1), (plain / 2).softmax(1))


def test_a_map_is_fitted_on_validation_alone(source, finished, store, problem):
    who = teaching(finished, "one")
    fitted = Teaching("network", who.runs, target_map={"temperature": {"score": "nll", "value": None}})
    temperature = source.teacher(fitted).target_map.temperature
    logits, labels = store.run(who.network).outputs("validation").double(), problem.validation.labels

    def cost(value):
        """The score of validation with the prior's half square of log T."""
        score = torch.nn.functional.cross_entropy(logits / value, labels, reduction="sum")
        return float(score) + math.log(value) ** 2 / 2

    assert all(cost(temperature) <= cost(temperature * factor) for factor in (0.8, 0.99, 1.01, 1.25))


def test_a_mean_has_equal_weights_or_those_of_validation(source, finished, batch):
    runs = (*teaching(finished, "one").runs, *teaching(finished, "two").runs)
    mean = source.teacher(Teaching("probabilities", runs))
    assert type(mean) is EnsembleTeacher and mean.weights == (0.5, 0.5)
    each = [source.teacher(Teaching("network", (run,)))(batch, NONE).logits.softmax(1) for run in runs]
    torch.testing.assert_close(mean(batch, NONE).logits.softmax(1), (each[0] + each[1]) / 2)
    logits = source.teacher(Teaching("logits", runs))
    assert logits.space == "logits" and logits is not mean
    fitted = source.teacher(Teaching("probabilities", runs, "validation"))
    assert sum(fitted.weights) == pytest.approx(1) and fitted is not mean


def test_folds_answer_for_the_examples_they_never_saw(source, finished, store, problem, batch):
    who = teaching(finished, "folds")
    teacher = source.teacher(who)
    folds = assign_folds(problem.train.labels, 3, 0)
    assert type(teacher) is FoldTeacher and torch.equal(teacher.folds, folds)
    answers = teacher(batch, NONE).logits
    for row, index in enumerate(batch.indices.tolist()):
        run = store.run(who.runs[int(folds[index])])
        assert run.spec.fold == (int(folds[index]), 3)
        with torch.no_grad():
            torch.testing.assert_close(answers[row], run.model(batch.inputs[row : row + 1])[0])


def test_tables_answer_their_rows(source, finished, store, problem, batch):
    truth = source.teacher(Teaching("truth"))
    assert type(truth) is TableTeacher
    torch.testing.assert_close(truth(batch, NONE).logits.softmax(1), problem.train.truth[batch.indices])
    who = teaching(finished, "filter")
    kept = store.run(who.runs[0]).extra("table")["probabilities"]
    assert who.how == "filter" and kept.shape == (64, 3)
    torch.testing.assert_close(source.teacher(who)(batch, NONE).logits.softmax(1), kept[batch.indices])


def test_a_network_is_measured_once(source, finished, monkeypatch):
    calls = []
    real = teacher_source.measure
    monkeypatch.setattr(teacher_source, "measure", lambda *given: calls.append(1) or real(*given))
    who = teaching(finished, "one")
    cooled = Teaching("network", who.runs, target_map={"temperature": {"score": "brier", "value": 2.0}})
    first = source.network(who)
    assert first is source.network(cooled) and len(calls) == 1
    assert first.network is source.teacher(who).model and first.shapes["embedding"] == ((5,),) and first.classes == 3
    source.network(teaching(finished, "two"))
    assert len(calls) == 2


def test_tables_and_several_networks_have_no_features(source, finished):
    for who in (None, Teaching("truth"), teaching(finished, "folds"), teaching(finished, "filter")):
        assert source.network(who) is None
