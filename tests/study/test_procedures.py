"""Ways to make a teacher, each through a whole study: what is planned, what is handed over, and that nothing leaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import goodteacher.data.folds as folds
from goodteacher.api import run_study
from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Batch
from goodteacher.data.digits import digits_problem
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.study import outputs, teacher_source
from goodteacher.study.answers import Answers
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import parse_study
from goodteacher.study.store import Store
from goodteacher.study.teacher_source import TeacherSource
from goodteacher.train import loop

MLP = {"mlp": {"widths": [16]}}
CE = {"model": MLP}
STUDENT = {"kd": {"model": {"mlp": {"widths": [4]}}}}
RECIPE = {"epochs": 4, "batch_size": 64, "lr": 0.1}


@pytest.fixture(scope="module")
def problem():
    return digits_problem()


def study(teachers, students=STUDENT, seeds=1, **recipe):
    return {
        "name": "tiny", "problem": "digits", "recipe": {**RECIPE, **recipe}, "teachers": teachers, "students": students,
        "seeds": seeds,
    }  # fmt: skip


def planned(problem, teachers, students=STUDENT, **recipe):
    return plan_study(parse_study(study(teachers, students, **recipe)), problem.facts)


def teacher_of(finished, arm, problem, seed=0):
    teaching = finished.plan.teachers[arm, seed]
    store = Store(finished.folder.parent.parent)
    return TeacherSource(problem, finished.plan.facts.fingerprint, store, torch.device("cpu")).teacher(teaching)


def batch_of(problem, rows=slice(0, 50)):
    loader = Loader(problem, batch_size=len(problem.train), seed=0, augmentation="none")
    whole = loader.batch(0)
    order = whole.indices.argsort()
    return Batch(whole.inputs[order][rows], whole.labels[order][rows], whole.indices[order][rows])


PROCEDURES = {
    "soteacher": {**CE, "objective": "soteacher"},
    "sum": {**CE, "objective": "brier + consistency + lipschitz"},
    "tolerant": {**CE, "objective": "tolerant"},
    "ema": {**CE, "recipe": {"ema": 0.9}},
    "swa": {**CE, "recipe": {"swa": 0.5}},
    "mixup": {**CE, "recipe": {"mixup": 0.2}},
    "snapshots": {**CE, "snapshots": 2},
    "snapshot_logits": {**CE, "snapshots": {"cycles": 2, "average": "logits", "weights": "validation"}},
    "truncated": {**CE, "early_stop": 2},
    "compressed": {**CE, "early_stop": {"epochs": 2, "form": "compress"}},
    "half": {**CE, "keep": "half"},
    "filter": {**CE, "filter_table": 0.05},
    "cross_fit": {**CE, "cross_fit": 2},
    "chained_map": {**CE, "map": "temperature + label_mix"},
}


@pytest.fixture(scope="module")
def finished(problem, tmp_path_factory):
    """All procedures in one study, with those that need another arm."""
    teachers = {
        "plain": CE,
        **PROCEDURES,
        "tuned": {**CE, "objective": "mcmi", "start": "plain", "recipe": {"epochs": 2, "lr": 0.05}},
        "assistant": {"model": {"mlp": {"widths": [8]}}, "taught_by": "plain", "method": "kd"},
        "ensemble": {"ensemble": ["plain", "ema"]},
        "weighted": {"ensemble": {"of": ["plain", "swa"], "weights": "validation"}, "map": "temperature"},
    }
    done = run_study(study(teachers), problem, out=tmp_path_factory.mktemp("procedures"), page=True)
    assert done.summary.failed == {}
    return done


def test_every_procedure_ranks_and_teaches(finished):
    results = finished.results
    arms = set(finished.plan.study.teachers)
    assert {r.name for r in results.ranked} == arms == {row.teacher for row in results.students}
    assert results.missing == []
    assert (finished.folder / "report.html").exists()


def test_nothing_is_trained_twice(finished, problem):
    runs = finished.plan.runs.values()
    trainings = {spec.training_id for spec in runs if spec.kind == "teacher"}
    # plain, its truncation and its half are one training; the two snapshot arms are one of two checkpoints.
    assert len(trainings) == len(PROCEDURES) + 1 + 1 - 4 + (2 - 1)
    assert finished.plan.teachers["truncated", 0].runs == finished.plan.teachers["half", 0].runs


def test_an_ensemble_teaches_the_mean_of_its_members(finished, problem):
    batch = batch_of(problem)
    p = [
        teacher_of(finished, arm, problem)(batch, frozenset()).logits.softmax(-1)
        for arm in ("plain", "ema", "ensemble")
    ]
    torch.testing.assert_close(p[2], (p[0] + p[1]) / 2)
    teaching, results = finished.plan.teachers["ensemble", 0], finished.results
    answers = Answers(teaching, results.store, results.targets, problem.fingerprint)
    members = [finished.results.teacher_logits(arm, 0, "test").softmax(-1) for arm in ("plain", "ema")]
    torch.testing.assert_close(answers.mapped("test").softmax(-1), sum(members) / 2)


def test_snapshots_are_the_ends_of_cycles(finished):
    runs = finished.plan.teachers["snapshots", 0].runs
    assert [finished.plan.runs[r].keep for r in runs] == ["epoch=2", "epoch=4"]
    store = Store(finished.folder.parent.parent)
    rates = [event["lr"] for event in store.run(runs[0]).records]
    assert rates[0] > rates[1] < rates[2] > rates[3]


def test_a_compressed_schedule_ends_and_a_truncated_one_is_cut(finished):
    store = Store(finished.folder.parent.parent)
    cut, ended = (store.run(finished.plan.teachers[arm, 0].network) for arm in ("truncated", "compressed"))
    assert cut.result.epoch == ended.result.epoch == 2
    assert len(cut.records) == 4 and len(ended.records) == 2
    assert ended.records[-1]["lr"] < cut.records[1]["lr"] / 5


def test_a_filter_table_holds_a_distribution_for_each_training_example(finished, problem):
    store = Store(finished.folder.parent.parent)
    table = store.run(finished.plan.teachers["filter", 0].runs[0]).extra("table")["probabilities"]
    assert table.shape == (len(problem.train), problem.classes)
    torch.testing.assert_close(table.sum(dim=1), torch.ones(len(table)))
    batch = batch_of(problem)
    taught = teacher_of(finished, "filter", problem)(batch, frozenset()).logits.softmax(-1)
    torch.testing.assert_close(taught, table[batch.indices])


def test_fine_tuning_starts_from_the_other_arms_weights(finished, problem, tmp_path):
    still = {**CE, "start": "plain", "recipe": {"epochs": 1, "lr": 1e-12, "weight_decay": 0}}
    done = run_study(study({"plain": CE, "still": still}, {}), problem, out=tmp_path, quiet=True)
    one, other = (done.results.teacher_logits(arm, 0, "test") for arm in ("plain", "still"))
    torch.testing.assert_close(one, other)
    tuned = finished.plan.runs[finished.plan.teachers["tuned", 0].network]
    assert tuned.start == finished.plan.teachers["plain", 0].network and list(tuned.loss) == ["mcmi"]


def test_an_assistant_is_a_student_that_teaches(finished):
    run = finished.plan.runs[finished.plan.teachers["assistant", 0].network]
    assert run.kind == "student" and run.teaching.runs == finished.plan.teachers["plain", 0].runs


def test_label_mixing_is_for_training_examples_alone(finished, problem):
    batch = batch_of(problem)
    plain = teacher_of(finished, "plain", problem)(batch, frozenset()).logits.softmax(-1)
    mixed = teacher_of(finished, "chained_map", problem)(batch, frozenset()).logits.softmax(-1)
    right = batch.labels[:, None]
    assert (mixed.gather(1, right) >= plain.gather(1, right) - 0.2).all()
    state = finished.results.answers["chained_map", 0].map.state()["steps"]
    assert [step["kind"] for step in state] == ["Temperature", "LabelMix"]
    ranked = {r.name: r for r in finished.results.ranked}
    assert (
        ranked["chained_map"].scores["accuracy"] == ranked["plain"].scores["accuracy"]
    )  # labels are not handed to the scorer


def dealt(monkeypatch):
    """Make the deal independent of labels, so that a test may change labels and keep the folds."""
    deal = lambda labels, k, seed: torch.arange(len(labels)) % k  # noqa: E731
    for module in (folds, teacher_source, outputs):
        monkeypatch.setattr(module, "assign_folds", deal)


def relabelled(problem, rows):
    labels = problem.train.labels.clone()
    labels[rows] = (labels[rows] + 1) % problem.classes
    return Problem(
        problem.name, problem.train.with_labels(labels, None), problem.validation, problem.test, problem.class_names
    )


def test_cross_fitting_leaks_no_label(problem, tmp_path, monkeypatch):
    dealt(monkeypatch)
    small = problem.with_train_rows(torch.arange(300))
    small = Problem(small.name, small.train, small.validation, small.test, small.class_names)
    fold0 = torch.arange(0, 300, 2)
    given = study({"folds": {**CE, "cross_fit": 2}})
    logits = {}
    for name, data in (("true", small), ("false", relabelled(small, fold0))):
        done = run_study(given, data, out=tmp_path / name, quiet=True)
        logits[name] = teacher_of(done, "folds", data)(batch_of(data, slice(0, 300)), frozenset()).logits
    # Targets of fold 0 come from a network that never saw its labels: wrong labels there change nothing, to the last bit.
    assert torch.equal(logits["true"][0::2], logits["false"][0::2])
    assert not torch.equal(logits["true"][1::2], logits["false"][1::2])  # and the other network did see them


def test_out_of_fold_scores_are_of_the_examples_each_network_did_not_see(finished, problem):
    answers = finished.results.answers["cross_fit", 0]
    logits, labels = outputs.out_of_fold(answers)
    assert labels.equal(problem.train.labels)
    taught = teacher_of(finished, "cross_fit", problem)(batch_of(problem, slice(None)), frozenset()).logits
    torch.testing.assert_close(taught, logits)
    seen = [run.model for run in answers.runs]
    fold = folds.assign_folds(labels, 2, 0)
    x = batch_of(problem, slice(None)).inputs
    with torch.no_grad():
        torch.testing.assert_close(seen[0](x)[fold == 0], logits[fold == 0])
    ranked = next(r for r in finished.results.ranked if r.name == "cross_fit")
    right = float((logits.argmax(1) == labels).double().mean())
    assert ranked.scores["out_of_fold_accuracy"] == pytest.approx(right)


def test_a_route_goes_through_the_teachers_checkpoints(problem, tmp_path):
    students = {"route": {"model": {"mlp": {"widths": [4]}}, "route": 2}, "given": {"model": MLP, "route": [1, 3]}}
    done = run_study(study({"plain": CE}, students), problem, out=tmp_path, quiet=True)
    assert done.summary.failed == {}
    way, run = [], next(c.run for c in done.plan.cells if c.student == "given")
    while run is not None:
        spec = done.plan.runs[run]
        way.append((done.plan.runs[spec.teaching.network].keep, spec.recipe["epochs"]))
        run = spec.start
    assert way[::-1] == [("epoch=1", 2), ("epoch=3", 1), ("last", 1)]


def test_checkpoints_become_arms(problem):
    plan = planned(problem, {"ce": {**CE, "checkpoints": 1}})
    assert list(plan.study.teachers) == ["ce_epoch1", "ce_epoch2", "ce_epoch3", "ce"]
    assert len({plan.runs[who.network].training_id for who in plan.teachers.values()}) == 1
    assert len(plan.cells) == 4
    stopped = planned(problem, {"ce": {**CE, "checkpoints": 1, "early_stop": 3}})
    assert list(stopped.study.teachers) == ["ce_epoch1", "ce_epoch2", "ce"]
    assert len({stopped.runs[who.network].training_id for who in stopped.teachers.values()}) == 1


@pytest.fixture(scope="module")
def pictures():
    """Three kinds of 16x16 pictures: a bright square in one of three places, on noise."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = rng.integers(0, 120, size=(120, 16, 16, 3), dtype=np.uint8)
    for image, label in zip(x, y, strict=True):
        image[2 + 4 * label : 6 + 4 * label, 3:9] += 100
    votes = np.eye(3, dtype=np.int64)[y] * 2
    return Problem.from_arrays(
        x[:90], y[:90], x[90:], y[90:], class_names=["a", "b", "c"], validation=0.2, votes_train=votes[:90]
    )


def test_a_map_over_views_and_a_teacher_made_for_its_student(pictures, tmp_path):
    teachers = {
        "plain": {"model": "resnet8"},
        "views": {"model": "resnet8", "map": {"view_average + temperature": {"view_average": {"views": 2}}}},
        "friendly": {"model": "resnet8", "objective": {"sftn": {"student": "resnet8"}}, "recipe": {"lr": 0.02}},
        "cutmix": {"model": "resnet8", "recipe": {"cutmix": 1.0}},
    }
    given = {
        **study(teachers, {"kd": {"model": "resnet8"}}, epochs=1, batch_size=32, augment="crop_flip"),
        "problem": "arrays",
        "probes": True,
    }
    images = dataclasses.replace(pictures, augment="crop_flip")
    done = run_study(given, images, out=tmp_path, quiet=True)
    assert done.summary.failed == {}
    results = done.results
    plain, views = (results.teacher_logits(arm, 0, "validation") for arm in ("plain", "views"))
    assert not torch.allclose(plain.softmax(-1), views.softmax(-1))
    stack = results.answers["views", 0].stack("test", 2)
    assert stack.shape == (3, 30, 3) and torch.equal(stack[0], results.teacher_logits("plain", 0, "test"))
    scores = {r.name: r.scores for r in results.ranked}
    assert {"in_sample_brier", "lipschitz_jacobian", "view_variance"} <= set(scores["plain"])
    (mapped,) = (run for run in results.run(done.plan.cells[1].run).spec.teaching.target_map)
    assert mapped == "view_average + temperature"


@pytest.mark.parametrize(
    ("teachers", "students", "message"),
    [
        (
            {"a": {**CE, "start": "b"}, "b": {**CE, "start": "a"}},
            {},
            "may not need each other in a circle, got a -> b -> a",
        ),
        ({"a": CE, "b": {"model": "mlp", "start": "a"}}, {}, "teachers.b.start: must be of the same model"),
        ({"a": {**CE, "objective": "mcmi"}}, {}, "teachers.a.objective: fine-tunes a finished teacher"),
        ({"a": {**CE, "objective": "consistency"}}, {}, "is a term and must be added to a score"),
        ({"a": {**CE, "snapshots": 2}, "b": {"ensemble": ["a"]}}, {}, "joins arms of one network each"),
        ({"a": {**CE, "map": "temperature"}, "b": {"ensemble": ["a"]}}, {}, "joins networks as they are"),
        ({"a": CE, "b": {"ensemble": ["c"]}}, {}, "teacher 'b' names 'c', which is no teacher here"),
        ({"a": {**CE, "taught_by": "a"}}, {}, "an assistant needs both taught_by and method"),
        ({"a": {**CE, "snapshots": 2, "keep": "best_nll"}}, {}, "all choose the checkpoint"),
        ({"a": {**CE, "snapshots": 2, "cross_fit": 2}}, {}, "can hand over one of snapshots and cross_fit"),
        ({"a": {"table": "truth", "cross_fit": 2}}, {}, "can have cross_fit only where a model is trained"),
        ({"a": {**CE, "early_stop": 9}}, {}, "must be within the 4 epochs"),
        ({"a": {**CE, "cross_fit": 2}}, {"s": {"model": MLP, "method": "sp"}}, "reads a teacher's features"),
        ({"a": {**CE, "cross_fit": 2}}, {"s": {"model": MLP, "route": 2}}, "needs a teacher of one network"),
        ({"a": CE}, {"s": {"model": MLP, "route": [4]}}, "must lie before epoch 4"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_trains(problem, teachers, students, message):
    with pytest.raises(ConfigError) as caught:
        planned(problem, teachers, students)
    assert message in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arm", ["soteacher", "ema", "swa", "snapshots", "filter", "mixup", "cross_fit", "tuned", "assistant", "route"]
)
def test_resume_is_exact(problem, tmp_path, monkeypatch, arm):
    if arm == "route":
        given = study({"plain": CE}, {"route": {"model": {"mlp": {"widths": [4]}}, "route": 2}})
    elif arm == "assistant":
        assistant = {"model": {"mlp": {"widths": [8]}}, "taught_by": "plain", "method": "kd"}
        given = study({"plain": CE, "assistant": assistant}, {})
    elif arm == "tuned":
        given = study(
            {"plain": CE, "tuned": {**CE, "objective": "mcmi", "start": "plain", "recipe": {"epochs": 2}}}, {}
        )
    else:
        given = study({arm: PROCEDURES[arm]}, {})
    whole = run_study(given, problem, out=tmp_path / "whole", quiet=True)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    steps = loop.Learner.train_step
    done = [0]

    def dying(self, *args):
        done[0] += 1
        if done[0] in (9, 31, 60):
            raise KeyboardInterrupt
        return steps(self, *args)

    monkeypatch.setattr(loop.Learner, "train_step", dying)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run_study(given, problem, out=tmp_path / "cut", quiet=True)
    finished = run_study(given, problem, out=tmp_path / "cut", quiet=True)
    assert finished.summary.failed == {}
    for run in whole.plan.runs:
        one, other = (Store(tmp_path / side).run(run) for side in ("whole", "cut"))
        assert all(torch.equal(a, other.weights[name]) for name, a in one.weights.items())
        for name in ("table",):
            if one.extra(name) is not None:
                assert torch.equal(one.extra(name)["probabilities"], other.extra(name)["probabilities"])
