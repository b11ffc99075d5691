"""The loop: cohorts equal single runs, teachers run once, NaN stops one learner, interruption loses nothing."""

from __future__ import annotations

import contextlib
import signal

import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError
from goodteacher.base.seeds import seeded
from goodteacher.base.types import Loss, Needs, Output, Setting
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.loader import Loader
from goodteacher.methods.table import build_method
from goodteacher.models.mlp import MLP
from goodteacher.objectives.table import build_objective
from goodteacher.train.learner import Learner
from goodteacher.train.loop import fit
from goodteacher.train.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=32, lr=0.05)


@pytest.fixture(scope="module")
def problem():
    return gaussian_problem(train=200, validation=60, test=60)


def network(seed=0, dropout=0.0):
    with seeded(seed, "init"):
        model = MLP(3, input_shape=(30,), widths=(16,))
    if dropout:
        model.hidden.append(nn.Dropout(dropout))
    return model


def learner(name, *, seed=0, objective="cross_entropy", recipe=RECIPE, dropout=0.0, **more):
    loss = more.pop("loss", None) or build_objective(objective, Setting(3))
    return Learner(name, network(seed, dropout), loss, recipe, seed=seed, **more)


class EnoughError(Exception):
    """Raised by a sink that has seen as many steps as it was to see."""


def train(learners, problem, *, epochs=3, stop_after=None, **options):
    """Run fit to its end, or leave it after a number of steps; return what it told."""
    told = []

    def tell(event):
        told.append(event)
        if event.kind == "step" and event.done == stop_after:
            raise EnoughError

    leave = contextlib.nullcontext() if stop_after is None else pytest.raises(EnoughError)
    with leave:
        fit(learners, Loader(problem, batch_size=32, seed=0), problem, epochs=epochs, tell=tell, **options)
    return told


def of(told, kind):
    return [event for event in told if event.kind == kind]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_cohort_equals_one_by_one(problem):
    names = ["cross_entropy", "brier", "focal"]
    together = [learner(n, objective=n, dropout=0.2) for n in names]
    train(together, problem)
    for name, joint in zip(names, together, strict=True):
        alone = learner(name, objective=name, dropout=0.2)
        train([alone], problem)
        assert same(alone.network, joint.network)
    assert not same(together[0].network, together[1].network)


class CountingTeacher:
    def __init__(self):
        self.calls, self.taps = 0, set()

    def __call__(self, batch, taps):
        self.calls += 1
        self.taps |= taps
        return Output(torch.nn.functional.one_hot(batch.labels, 3).float() * 3)


def test_a_teacher_runs_once_a_batch_for_all_its_students(problem):
    teacher = CountingTeacher()
    students = [learner(f"s{i}", loss=build_method("kd", Setting(3)), teacher=teacher) for i in range(4)]
    told = train(students, problem)
    assert teacher.calls == len(of(told, "step")) == 3 * 7  # 200 examples in batches of 32


def test_only_taps_that_somebody_needs_are_asked_for(problem):
    class Reads(Loss):
        needs = Needs(teacher=frozenset({"embedding"}), uses_teacher=True)

        def forward(self, network, teacher, batch, progress):
            return {"x": network.logits.square().mean()}

    teacher = CountingTeacher()
    train([learner("a", loss=build_method("kd", Setting(3)), teacher=teacher)], problem, epochs=1)
    assert teacher.taps == set()
    train([learner("a", loss=Reads(), teacher=teacher)], problem, epochs=1)
    assert teacher.taps == {"embedding"}


class Breaks(Loss):
    """A loss of two parts, one of which becomes NaN at a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, network, teacher, batch, progress):
        bad = float("nan") if progress.step >= self.step else 0.0
        return {"good": network.logits.square().mean(), "bad": network.logits.sum() * bad}


def test_nan_stops_one_learner_and_names_step_and_part(problem):
    sick, well = learner("sick", loss=Breaks(4)), learner("well")
    (failed,) = of(train([sick, well], problem), "failed")
    assert failed.name == "sick" and failed.done == 5 and failed.text == str(sick.failure)
    assert "step 5" in failed.text and "'bad'" in failed.text
    alone = learner("well")
    train([alone], problem)
    assert same(alone.network, well.network) and well.failure is None


def test_who_finished_is_returned_and_a_cohort_without_anybody_ends(problem):
    sick, well = learner("sick", loss=Breaks(4)), learner("well")
    loader = Loader(problem, batch_size=32, seed=0)
    assert fit([sick, well], loader, problem, epochs=1) == [well]
    told = []
    assert fit([learner("sick", loss=Breaks(4))], loader, problem, epochs=1, tell=told.append) == []
    assert of(told, "step")[-1].done == 5


def test_nan_guard_in_groups_still_names_the_first_step(problem):
    sick = learner("sick", loss=Breaks(4))
    sick._guard_steps = 50
    (failed,) = of(train([sick], problem), "failed")
    assert "step 5" in failed.text


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("cut", [3, 7, 10])
def test_resume_is_bit_exact(problem, tmp_path, optimizer, cut):
    recipe = Recipe(epochs=3, batch_size=32, lr=0.01, optimizer=optimizer, ema=0.9, clip=1.0, warmup=0.2)
    keeps = ("last", "best_brier", "epoch=1")
    whole = learner("x", recipe=recipe, dropout=0.3, keeps=keeps, folder=tmp_path / "whole")
    train([whole], problem)
    first = learner("x", recipe=recipe, dropout=0.3, keeps=keeps, folder=tmp_path / "cut")
    train([first], problem, stop_after=cut)
    first.save()
    second = learner("x", seed=0, recipe=recipe, dropout=0.3, keeps=keeps, folder=tmp_path / "cut")
    second.resume()
    assert second.step == cut
    train([second], problem)
    assert same(whole.network, second.network) and same(whole.average.model, second.average.model)
    for rule in keeps:
        assert whole.kept[rule].epoch == second.kept[rule].epoch
        pairs = zip(whole.kept[rule].weights.values(), second.kept[rule].weights.values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_resumed_records_equal_uninterrupted_ones(problem, tmp_path):
    from goodteacher.train.records import read_records

    whole = learner("x", folder=tmp_path / "whole")
    train([whole], problem)
    first = learner("x", folder=tmp_path / "cut")
    train([first], problem, stop_after=10)
    first.save()
    second = learner("x", folder=tmp_path / "cut")
    second.resume()
    train([second], problem)
    drop = lambda events: [{k: v for k, v in e.items() if k != "seconds"} for e in events]  # noqa: E731
    assert drop(read_records(tmp_path / "cut" / "records.jsonl")) == drop(
        read_records(tmp_path / "whole" / "records.jsonl")
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_writes_checkpoints_and_interrupts(problem, tmp_path, number):
    item = learner("x", folder=tmp_path)
    steps = []

    def tell(event):
        steps.extend([event.done] if event.kind == "step" else [])
        if event.kind == "step" and event.done == 4:
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        fit([item], Loader(problem, batch_size=32, seed=0), problem, epochs=3, tell=tell)
    assert steps == [1, 2, 3, 4]
    again = learner("x", folder=tmp_path)
    again.resume()
    assert again.step == 4


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_stops_at_once_and_a_second_sigterm_still_writes_checkpoints(problem, tmp_path, second):
    at_once = []

    def tell(event):
        if event.kind != "step":
            return
        signal.raise_signal(signal.SIGTERM)
        try:
            signal.raise_signal(second)
        except KeyboardInterrupt:
            at_once.append(event.done)
            raise

    with pytest.raises(KeyboardInterrupt):
        fit([learner("a", folder=tmp_path)], Loader(problem, batch_size=32, seed=0), problem, epochs=3, tell=tell)
    assert at_once == ([1] if second == signal.SIGINT else [])
    assert (tmp_path / "checkpoint.pt").exists() == (second == signal.SIGTERM)


def test_a_sink_that_raises_ends_training_and_leaves_signals_as_they_were(problem):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert of(train([learner("x")], problem, stop_after=2), "step")[-1].done == 2
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("stop_after", [None, 5])
def test_the_global_generator_is_as_it_was_afterwards(problem, stop_after):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    network_before = torch.rand(3)  # dropout draws from the global generator inside, and nobody sees it outside
    torch.set_rng_state(before)
    item = learner("x", dropout=0.5)
    train([item], problem, epochs=1, stop_after=stop_after)
    assert torch.equal(torch.get_rng_state(), before) and torch.equal(torch.rand(3), network_before)


def test_a_caller_who_draws_between_trainings_changes_no_weight(problem):
    weights = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        item = learner("x", dropout=0.5)
        train([item], problem, epochs=1)
        weights.append(item.network)
    assert same(*weights)


def test_checkpoints_are_written_in_time(problem, tmp_path):
    train([learner("x", folder=tmp_path)], problem, checkpoint_seconds=0.0)
    again = learner("x", folder=tmp_path)
    again.resume()
    assert again.step == 20  # of 21: the last step needs none


def test_epoch_rule_and_best_rules_keep_what_they_say(problem):
    item = learner("x", keeps=("epoch=2", "best_accuracy", "best_nll", "last"))
    validation = [event.record["validation"] for event in of(train([item], problem), "epoch")]
    assert item.kept["epoch=2"].epoch == 2 and item.kept["last"].epoch == 3
    assert item.kept["best_nll"].epoch == 1 + min(range(3), key=lambda i: validation[i]["nll"])
    assert item.kept["best_accuracy"].epoch == 1 + max(range(3), key=lambda i: validation[i]["accuracy"])


def test_a_network_that_learns_nothing_raises_the_alarm_once(problem):
    recipe = Recipe(epochs=6, batch_size=32, lr=1e-9)
    item = learner("x", recipe=recipe, objective="brier")
    # A constant network: chance exactly, whatever the random start.
    nn.init.zeros_(item.network.fc.weight)
    told = train([item], problem, epochs=6)
    alarms = [event.record["alarm"] for event in of(told, "epoch") if "alarm" in event.record]
    assert alarms == [event.text for event in of(told, "alarm")] == item.alarms and len(alarms) == 1
    assert "learnt nothing" in alarms[0] and "warmup" in alarms[0]


def late_learner(folder):
    """Return a learner whose answers say nothing in its first three epochs, and then what its network has learnt."""
    item = learner("x", recipe=Recipe(epochs=6, batch_size=32, lr=0.1), folder=folder)
    predict = item.predict
    item.predict = lambda model, data, split: predict(model, data, split) * (item.step > 3 * 7)
    return item


def test_an_alarm_is_withdrawn_once_accuracy_has_passed_chance(problem, tmp_path):
    item = late_learner(tmp_path)
    told = train([item], problem, epochs=6)
    records = [event.record for event in of(told, "epoch")]
    assert [r["epoch"] for r in records if "alarm" in r] == [3]
    (withdrawn,) = [r["withdrawn"] for r in records if "withdrawn" in r]
    assert item.alarms == [] and len(item.withdrawn) == 1 and len(of(told, "alarm")) == 1
    assert [event.text for event in of(told, "withdrawn")] == [withdrawn]
    assert withdrawn.startswith("x has learnt after all: validation accuracy ") and withdrawn.endswith(
        "its alarm is withdrawn"
    )
    again = learner("x", recipe=Recipe(epochs=6, batch_size=32, lr=0.1))
    again.restore(item.state())
    assert again.alarms == [] and again.withdrawn == item.withdrawn
    assert again._watch(7, 0.0, problem.validation.labels) == {}, "one alarm per training"


def test_a_network_that_learns_raises_none(problem):
    item = learner("x")
    train([item], problem)
    assert item.alarms == []


def test_mistakes_in_a_cohort(problem):
    loader = Loader(problem, batch_size=32, seed=0)
    ahead = learner("b")
    ahead.step = 3
    for learners, message in [
        ([], "at least one"),
        ([learner("a"), learner("a")], "different names"),
        ([learner("a"), ahead], "same step"),
        ([learner("a", loss=build_method("kd", Setting(3)))], "needs a teacher"),
    ]:
        with pytest.raises(ConfigError, match=message):
            fit(learners, loader, problem, epochs=1)
