from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from goodteacher.api import run_study
from goodteacher.base.input_spec import InputSpec
from goodteacher.data.digits import digits_problem
from goodteacher.data.folds import assign_folds
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.labels import label_subset
from goodteacher.study import outputs as room
from goodteacher.study.answers import Answers
from goodteacher.study.outputs import further_outputs, out_of_fold, save_held_out, save_probes
from goodteacher.study.plan import plan_study
from goodteacher.study.planned import Given
from goodteacher.study.spec import parse_study
from goodteacher.study.store import Store
from goodteacher.train.checkpoint import load_tensors
from goodteacher.train.infer import predict

MLP = {"mlp": {"widths": [5]}}
RECIPE = {"epochs": 1, "batch_size": 16, "lr": 0.05, "precision": "fp32"}


@pytest.fixture(scope="module")
def problem():
    return gaussian_problem(dimension=4, train=48, validation=30, test=30)


@pytest.fixture(scope="module")
def finished(problem, tmp_path_factory):
    study = {
        "name": "every",
        "problem": "made",
        "recipe": RECIPE,
        "teachers": {
            "one": {"model": MLP},
            "folds": {"model": MLP, "cross_fit": 3},
            "filter": {"model": MLP, "filter_table": 0.5},
        },
        "students": {"kd": {"model": MLP, "taught_by": ["one"]}},
        "seeds": 1,
    }  # fmt: skip
    return run_study(study, problem, out=tmp_path_factory.mktemp("store"), device="cpu")


@pytest.fixture
def store(finished):
    return Store(finished.folder.parent.parent)


def runs_of(finished, store, arm):
    return [store.run(run) for run in finished.plan.teachers[arm, 0].runs]


def files(run):
    return {path.stem for path in (run.path / "outputs").iterdir()}


def test_what_is_saved_of_whom(finished, store):
    (one,), (filtered,) = (runs_of(finished, store, arm) for arm in ("one", "filter"))
    (student,) = (store.run(cell.run) for cell in finished.plan.cells)
    assert files(one) == {"kept", "check", "train"}  # the truth of the training examples is known
    assert files(filtered) == {*files(one), "table"} and files(student) == {"kept", "check"}
    assert {frozenset(files(run)) for run in runs_of(finished, store, "folds")} == {
        frozenset({"kept", "check", "fold"})
    }


def test_training_logits_are_those_of_the_network(finished, store, problem):
    (one,) = runs_of(finished, store, "one")
    assert torch.equal(one.extra("train")["logits"], predict(one.model, problem, "train"))


def test_a_folds_logits_are_of_the_rows_it_never_saw(finished, store, problem):
    folds = assign_folds(problem.train.labels, 3, 0)
    for k, run in enumerate(runs_of(finished, store, "folds")):
        found = run.extra("fold")
        assert torch.equal(found["rows"], (folds == k).nonzero().flatten())
        assert torch.equal(found["logits"], predict(run.model, problem, "train")[found["rows"]])
        assert torch.equal(found["labels"], problem.train.labels[found["rows"]])


def test_the_folds_together_answer_the_whole_training_split(finished, store, problem):
    teaching = finished.plan.teachers["folds", 0]
    logits, labels = out_of_fold(Answers(teaching, store, {}, problem.fingerprint))
    folds = assign_folds(problem.train.labels, 3, 0)
    assert torch.equal(labels, problem.train.labels) and logits.shape == (48, 3)
    each = [predict(run.model, problem, "train") for run in runs_of(finished, store, "folds")]
    assert all(torch.equal(logits[row], each[int(folds[row])][row]) for row in range(48))
    one = Answers(finished.plan.teachers["one", 0], store, {}, problem.fingerprint)
    assert out_of_fold(one) is None


def test_the_table_of_predictions_is_kept_as_it_is(finished, store, problem):
    (one,) = runs_of(finished, store, "one")
    table = torch.full((48, 3), 1 / 3)
    found = further_outputs(one.spec, one.model, problem, table=table)
    assert torch.equal(found["table"]["probabilities"], table) and set(found) == {"check", "train", "table"}


def test_a_few_inputs_are_kept_as_the_network_sees_them_with_its_answers(finished, store, problem):
    (one,) = runs_of(finished, store, "one")
    mean, std = problem.statistics
    shown = ((problem.validation.inputs.tensor - mean) / std)[: room.CHECKED]
    check = one.extra("check")
    torch.testing.assert_close(check["inputs"], shown)
    with torch.no_grad():
        torch.testing.assert_close(check["logits"], one.model(check["inputs"]))
    other = InputSpec("vector", (4,), (0.0,) * 4, (2.0,) * 4)
    seen = further_outputs(one.spec, one.model, problem, inputs=other)["check"]["inputs"]
    torch.testing.assert_close(seen, problem.validation.inputs.tensor[: room.CHECKED] / 2)


class Moody(torch.nn.Module):
    def forward(self, x):
        return torch.randn(len(x), 3)


def test_a_network_that_answers_differently_each_time_has_no_answers_to_be_known_by(problem):
    plan = plan_study(
        parse_study({"problem": "made", "students": {"s": {"model": MLP, "method": "none"}}}), problem.facts
    )
    assert further_outputs(next(iter(plan.runs.values())), Moody(), problem) == {}


def test_probes_are_measured_where_a_study_asks_for_them_and_once(tmp_path, monkeypatch):
    few = label_subset(digits_problem(), per_class=3, seed=0)
    study = {
        "problem": "made",
        "teachers": {"t": {"model": MLP}},
        "seeds": 1,
        "recipe": {"epochs": 1, "batch_size": 10},
    }
    plain = run_study(study, few, out=tmp_path, device="cpu")
    run = Store(tmp_path).run(next(iter(plain.plan.runs)))
    assert run.extra("probes") is None
    run_study({**study, "probes": True}, few, out=tmp_path, device="cpu")
    assert {"random", "pgd", "jacobian"} == set(run.extra("probes"))  # nothing is drawn: every view would be the same
    monkeypatch.setattr(room, "local_lipschitz", lambda *given, **options: pytest.fail("measured again"))
    save_probes(run, few)


def test_views_are_measured_where_inputs_can_be_augmented(tmp_path):
    few = replace(label_subset(digits_problem(), per_class=3, seed=0), augment="crop_flip")
    study = {
        "problem": "made",
        "teachers": {"t": {"model": MLP}},
        "seeds": 1,
        "recipe": {"epochs": 1, "batch_size": 10, "augment": "none"},
    }
    finished = run_study(study, few, out=tmp_path, device="cpu")
    run = Store(tmp_path).run(next(iter(finished.plan.runs)))
    save_probes(run, few)
    assert run.extra("probes")["views"].shape == (room.VIEWS, 250, 10)


def held_out(plan, problem, store):
    save_held_out(plan, problem, store, "cpu")


def test_answers_on_another_problem_are_computed_once(finished, store, problem, monkeypatch):
    other = gaussian_problem(dimension=4, train=48, validation=30, test=30, seed=1)
    (one,) = runs_of(finished, store, "one")
    values = {"problem": "made", "teachers": {"t": {"run": one.id, "map": {"view_average": {"views": 2}}}}, "seeds": 1}
    plan = plan_study(parse_study(values), other.facts, {one.id: Given(one.spec, one.facts)})
    calls, real = [], room.predict
    monkeypatch.setattr(room, "predict", lambda *given, **named: calls.append(given[2]) or real(*given, **named))
    held_out(plan, other, store)
    saved = one.outputs("test", problem=other.fingerprint)
    assert torch.equal(saved, predict(one.model, other, "test", spec=problem.spec))
    assert one.outputs_file("kept", other.fingerprint).name == f"on-{other.fingerprint}-kept.safetensors"
    views = one.views("test", 2, problem=other.fingerprint)
    assert views.shape == (2, 30, 3) and torch.equal(views[0], saved)  # vectors have no views but themselves
    assert set(load_tensors(one.outputs_file("views2", other.fingerprint))) == {"validation", "test"}
    count = len(calls)
    held_out(plan, other, store)
    assert len(calls) == count > 0


def test_what_is_not_finished_is_passed_over(problem, tmp_path):
    plan = plan_study(parse_study({"problem": "made", "teachers": {"t": {"model": MLP}}, "seeds": 1}), problem.facts)
    held_out(plan, problem, Store(tmp_path))
    assert list(tmp_path.rglob("*")) == []
