from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import StoreError
from goodteacher.base.events import Event
from goodteacher.data.digits import digits_problem
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.labels import label_subset
from goodteacher.data.loader import Loader
from goodteacher.study import cohort
from goodteacher.study.cohort import assemble, train_cohort
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import parse_study
from goodteacher.study.store import Store
from goodteacher.train.infer import predict
from goodteacher.train.records import read_json

MLP = {"mlp": {"widths": [5]}}
RECIPE = {"epochs": 2, "batch_size": 16, "lr": 0.05, "precision": "fp32"}


@pytest.fixture(scope="module")
def problem():
    return gaussian_problem(dimension=4, train=48, validation=30, test=30)


def planned(problem, teachers, students=None, **changes):
    values = {
        "problem": "made",
        "recipe": RECIPE,
        "teachers": teachers,
        "students": students or {},
        "seeds": 1,
        **changes,
    }
    return plan_study(parse_study(values), problem.facts)


def train(plan, specs, problem, store, told=None):
    store.add_problem(problem, plan.facts)
    tell = (lambda event: None) if told is None else told.append
    return train_cohort(specs, plan.names, facts=plan.facts, problem=problem, store=store, device="cpu", tell=tell)


def of(plan, *names):
    return [plan.runs[run] for run, name in plan.names.items() if name in names]


def put_together(plan, specs, problem, store):
    trainings = {}
    for spec in specs:
        trainings.setdefault(spec.training_id, []).append(spec)
    return assemble(trainings, plan.names, plan.facts, problem, store, "cpu")


def test_runs_are_trained_and_added(problem, tmp_path):
    plan, store, told = (
        planned(problem, {"a": {"model": MLP}, "b": {"model": MLP, "objective": "brier"}}),
        Store(tmp_path),
        [],
    )
    specs = list(plan.runs.values())
    outcome = train(plan, specs, problem, store, told)
    assert outcome.finished == [s.id for s in specs] and outcome.failed == {}
    for spec in specs:
        run = store.run(spec.id)
        assert run.spec == spec and run.input_spec == problem.spec
        assert (run.result.epoch, run.result.parameters, run.result.precision) == (2, 5 * 4 + 5 + 3 * 5 + 3, "fp32")
        assert [event["epoch"] for event in run.records] == [1, 2]
        assert torch.equal(run.outputs("test"), predict(run.model, problem, "test"))
    assert not list((tmp_path / "training").iterdir())
    assert [e.kind for e in told if e.kind in ("line", "epoch", "finished")] == [
        "line",
        *["epoch"] * 4,
        *["finished"] * 2,
    ]
    assert told[0].text == "a/0, b/0: 2 epochs of 3 steps, fp32"
    assert [(e.name, e.runs) for e in told if e.kind == "finished"] == [
        ("a/0", (specs[0].id,)), ("b/0", (specs[1].id,))
    ]  # fmt: skip


def test_steps_are_told_for_the_whole_cohort_with_its_accuracy(problem, tmp_path):
    plan, told = planned(problem, {"a": {"model": MLP}, "b": {"model": MLP, "objective": "brier"}}), []
    train(plan, list(plan.runs.values()), problem, Store(tmp_path), told)
    steps = [e for e in told if e.kind == "step"]
    assert {(e.name, e.total) for e in steps} == {("a/0 +1", 6)} and steps[-1].done == 6
    scores = [e.record["validation"]["accuracy"] for e in told if e.kind == "epoch"][-2:]
    low, high = min(scores), max(scores)
    assert steps[-1].text == f"validation accuracy {low:.1%} to {high:.1%}"


def test_runs_that_differ_in_the_checkpoint_are_one_training(problem, tmp_path):
    plan = planned(problem, {"last": {"model": MLP}, "first": {"model": MLP, "keep": "epoch=1"}})
    last, first = plan.runs.values()
    learners, _ = put_together(plan, [last, first], problem, Store(tmp_path))
    assert list(learners) == [last.training_id] and list(learners[last.training_id].keeps) == ["last", "epoch=1"]
    store = Store(tmp_path)
    assert train(plan, [last, first], problem, store).finished == [last.id, first.id]
    one, two = store.run(last.id), store.run(first.id)
    assert (one.result.epoch, two.result.epoch, one.result.seconds) == (2, 1, two.result.seconds)
    assert not (one.path / "outputs" / "last.safetensors").exists()  # it is the kept one
    assert torch.equal(two.outputs("test", checkpoint="last"), one.outputs("test"))
    assert not torch.equal(two.outputs("test"), one.outputs("test"))


def test_what_a_run_gets_does_not_hang_on_who_trains_beside_it(problem, tmp_path):
    plan = planned(problem, {"a": {"model": MLP}, "b": {"model": {"mlp": {"widths": [7]}}, "objective": "soteacher"}})
    specs = list(plan.runs.values())
    together, alone = Store(tmp_path / "x"), Store(tmp_path / "y")
    train(plan, specs, problem, together)
    for spec in reversed(specs):
        train(plan, [spec], problem, alone)
    for spec in specs:
        one, two = (store.run(spec.id).weights for store in (together, alone))
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_learner_that_fails_fails_alone(problem, tmp_path):
    arms = {"good": {"model": MLP}, "wild": {"model": MLP, "recipe": {"lr": 1e30}}}
    plan, store, told = planned(problem, arms), Store(tmp_path), []
    good, wild = plan.runs.values()
    outcome = train(plan, [good, wild], problem, store, told)
    assert outcome.finished == [good.id] and list(outcome.failed) == [wild.id]
    assert "not finite" in outcome.failed[wild.id] and store.has(good.id) and not store.has(wild.id)
    (failed,) = (e for e in told if e.kind == "failed")
    assert (failed.name, failed.runs) == ("wild/0", (wild.id,)) and not list((tmp_path / "training").iterdir())


def test_an_error_of_ours_fails_what_is_not_finished(problem, tmp_path, monkeypatch):
    plan, store, told = (
        planned(problem, {"a": {"model": MLP}, "b": {"model": MLP, "objective": "brier"}}),
        Store(tmp_path),
        [],
    )
    first, second = plan.runs.values()

    def full(specs, *given):
        if specs[0].id == second.id:
            raise StoreError("the disk", rule="is full")
        real(specs, *given)

    real = cohort._add_runs
    monkeypatch.setattr(cohort, "_add_runs", full)
    outcome = train(plan, [first, second], problem, store, told)
    assert outcome.finished == [first.id] and outcome.failed == {second.id: "the disk: is full."}
    assert told[-1] == Event("failed", "b/0", "the disk: is full.", runs=(second.id,))


def test_a_bug_is_nobodys_failure(problem, tmp_path, monkeypatch):
    plan = planned(problem, {"a": {"model": MLP}})
    monkeypatch.setattr(cohort, "_add_runs", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(plan, list(plan.runs.values()), problem, Store(tmp_path))


def test_learners_share_a_loader_with_every_view_and_one_teacher(tmp_path):
    few, store = label_subset(digits_problem(), per_class=3, seed=0), Store(tmp_path)
    net = {"resnet8": {"widths": [4, 4, 6, 8]}}
    students = {"kd": {"model": net}, "at": {"model": net, "method": "at"}, "ml": {"model": net, "method": "mlkd"}}
    plan = planned(few, {"t": {"model": net}}, students, recipe={**RECIPE, "epochs": 1, "augment": "none"})
    teacher, *rest = plan.runs.values()
    train(plan, [teacher], few, store)
    learners, loader = put_together(plan, rest, few, store)
    assert isinstance(loader, Loader) and loader.views == {"strong"} and loader.examples == 30
    teachers = {id(x.teacher) for x in learners.values()}
    assert len(learners) == 3 and len(teachers) == 1
    assert {x.spec for x in learners.values()} == {few.spec}


def test_networks_of_one_seed_start_from_the_same_numbers(problem, tmp_path):
    plan = planned(problem, {"a": {"model": MLP}, "b": {"model": MLP, "objective": "brier"}}, seeds=2)
    learners, _ = put_together(plan, of(plan, "a/0", "b/0"), problem, Store(tmp_path))
    other, _ = put_together(plan, of(plan, "a/1"), problem, Store(tmp_path))
    one, two = (x.network.fc.weight for x in learners.values())
    (three,) = (x.network.fc.weight for x in other.values())
    assert torch.equal(one, two) and not torch.equal(one, three)


def test_a_fold_is_kept_from_its_network_and_memories_are_sized_without_it(problem, tmp_path):
    arms = {"t": {"model": MLP, "cross_fit": 4, "objective": "soteacher"}}
    plan = planned(problem, arms)
    first, *_ = plan.runs.values()
    learners, loader = put_together(plan, [first], problem, Store(tmp_path))
    assert first.fold == (0, 4) and loader.examples == 36 and len(learners) == 1
    store = Store(tmp_path)
    assert train(plan, [first], problem, store).failed == {}
    rows = store.run(first.id).extra("fold")["rows"]
    assert len(rows) == 12
    trained = {tuple(x.tolist()) for x in loader.inputs.tensor}
    assert trained.isdisjoint(tuple(x.tolist()) for x in problem.train.inputs.rows(rows))


def test_training_starts_from_the_weights_of_another_run(problem, tmp_path):
    plan = planned(problem, {"a": {"model": MLP}, "tuned": {"model": MLP, "objective": "brier", "start": "a"}})
    store, (first, tuned) = Store(tmp_path), plan.runs.values()
    train(plan, [first], problem, store)
    learners, _ = put_together(plan, [tuned], problem, store)
    (learner,) = learners.values()
    state = learner.network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in store.run(first.id).weights.items())


def test_a_checkpoint_is_picked_up(problem, tmp_path):
    plan, store = planned(problem, {"a": {"model": MLP}}), Store(tmp_path)
    (spec,) = plan.runs.values()
    learners, loader = put_together(plan, [spec], problem, store)
    (learner,) = learners.values()
    learner.step = 4
    learner.folder.mkdir(parents=True)
    learner.save()
    again, _ = put_together(plan, [spec], problem, store)
    assert next(iter(again.values())).step == 4
    assert cohort._opening(list(again.values()), loader, 2).endswith("2 epochs of 3 steps, fp32, resumed at step 4")


def test_precision_is_decided_once_for_a_network_and_kept(problem, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        cohort, "choose_precision", lambda *given: asked.append(1) or ("bf16", {"fp32": 2.0, "bf16": 1.0})
    )
    arms = {"a": {"model": MLP}, "b": {"model": MLP, "objective": "brier"}, "c": {"model": "mlp"}}
    plan, store = planned(problem, arms, recipe={**RECIPE, "precision": "auto"}, seeds=2), Store(tmp_path)
    for seed in (0, 1):
        learners, _ = put_together(plan, of(plan, *(f"{arm}/{seed}" for arm in arms)), problem, store)
        assert {x.precision for x in learners.values()} == {"bf16"}
    kept = read_json(tmp_path / "precision.json")
    assert len(asked) == 2 == len(kept)
    assert next(iter(kept.values())) == {"precision": "bf16", "seconds_a_step": {"fp32": 2.0, "bf16": 1.0}}


def test_a_loss_is_shown_the_network_before_the_first_step_and_not_again(problem, tmp_path, monkeypatch):
    arms = {"a": {"model": MLP}, "tuned": {"model": MLP, "objective": "mcmi", "start": "a"}}
    plan, store = planned(problem, arms), Store(tmp_path)
    first, tuned = plan.runs.values()
    train(plan, [first], problem, store)
    shown = []
    from goodteacher.objectives.regularised import MCMI

    real = MCMI.prepare
    monkeypatch.setattr(MCMI, "prepare", lambda self, network, batches: shown.append(1) or real(self, network, batches))
    learners, _ = put_together(plan, [tuned], problem, store)
    (learner,) = learners.values()
    assert shown == [1]
    learner.step = 3
    learner.folder.mkdir(parents=True)
    learner.save()
    put_together(plan, [tuned], problem, store)
    assert shown == [1]
