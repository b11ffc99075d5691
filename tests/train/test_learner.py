"""Procedures of a recipe: each does what it says, and goes on bit for bit after an interruption."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError
from goodteacher.base.seeds import seeded
from goodteacher.base.types import Loss, Needs, Setting
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem, Split
from goodteacher.objectives.table import build_objective
from goodteacher.train.averages import estimate_batch_norm
from goodteacher.train.learner import Learner
from goodteacher.train.loop import fit
from goodteacher.train.recipe import Recipe

C, N = 3, 41  # batches of 8 leave out a last one of one example
KEEPS = ("last", "best_nll", "epoch=2")


def split(n, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % C
    images = torch.randint(0, 120, (n, 8, 8, 3), generator=generator)
    images[torch.arange(n), :, :, labels] += 100
    return Split(images.byte(), labels, torch.arange(n))


PROBLEM = Problem("pictures", split(N, 0), split(15, 1), split(15, 2), ("a", "b", "c"), "flip")


def network():
    with seeded(0, "init"):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, C),
        )  # fmt: skip


def learner(folder=None, examples=N, loss=None, keeps=KEEPS, **recipe):
    recipe = Recipe(**{"epochs": 4, "batch_size": 8, "lr": 0.05, **recipe})
    objective = loss or build_objective("cross_entropy", Setting(C))
    return Learner("x", network(), objective, recipe, keeps=keeps, folder=folder, examples=examples)


def loader(item):
    return Loader(PROBLEM, batch_size=8, seed=0, mixup=item.recipe.mixup, cutmix=item.recipe.cutmix)


class EnoughError(Exception):
    """Raised by a sink that has seen as many steps as it was to see."""


def train(item, stop_after=None, at_epoch=None):
    """Run fit to its end, or leave it after a number of steps; return the records of its epochs."""
    records = []

    def tell(event):
        if event.kind == "epoch":
            records.append(event.record)
            if at_epoch is not None:
                at_epoch(event)
        if event.kind == "step" and event.done == stop_after:
            raise EnoughError

    with contextlib.nullcontext() if stop_after is None else pytest.raises(EnoughError):
        fit([item], loader(item), PROBLEM, epochs=item.recipe.epochs, tell=tell)
    return records


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


PROCEDURES = {
    "cyclic": {"schedule": "cyclic", "cycles": 2},
    "swa": {"swa": 0.25},
    "swa_lr": {"swa": 0.5, "swa_lr": 0.02, "evaluate_every": 2},
    "mixup": {"mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "both": {"mixup": 0.4, "cutmix": 1.0, "swa": 0.5},
    "filter_table": {"filter_table": 0.3},
}


@pytest.mark.parametrize("cut", [3, 10, 17])
@pytest.mark.parametrize("name", PROCEDURES)
def test_every_procedure_resumes_bit_exactly(tmp_path, name, cut):
    recipe = PROCEDURES[name]
    whole = learner(tmp_path / "whole", **recipe)
    train(whole)
    first = learner(tmp_path / "cut", **recipe)
    train(first, stop_after=cut)
    first.save()
    second = learner(tmp_path / "cut", **recipe)
    second.resume()
    assert second.step == cut
    train(second)
    assert same(whole.network.state_dict(), second.network.state_dict())
    assert same(whole.final_model.state_dict(), second.final_model.state_dict())
    assert (whole.table is None) == (name != "filter_table")
    assert whole.table is None or torch.equal(whole.table, second.table)
    for rule in KEEPS:
        assert whole.kept[rule].epoch == second.kept[rule].epoch
        assert same(whole.kept[rule].weights, second.kept[rule].weights)


@pytest.mark.parametrize("name", PROCEDURES)
def test_every_procedure_changes_what_is_kept(name):
    plain, other = learner(), learner(**PROCEDURES[name])
    train(plain)
    train(other)
    alike = same(plain.kept["last"].weights, other.kept["last"].weights)
    assert alike == (name == "filter_table")


def snapshots(**recipe):
    """Return the network's weights after each epoch, and the learner."""
    item, weights = learner(**recipe), []
    train(item, at_epoch=lambda _: weights.append({k: v.clone() for k, v in item.network.state_dict().items()}))
    return item, weights


def test_averaged_weights_are_the_mean_of_the_last_epochs_with_statistics_of_their_own():
    item, weights = snapshots(swa=0.5)
    assert item.final_model is item.average.model
    for name in ("0.weight", "6.bias"):
        mean = torch.stack([w[name] for w in weights[1:]]).mean(dim=0)
        torch.testing.assert_close(item.final_model.state_dict()[name], mean)
    expected = network()
    expected.load_state_dict(item.final_model.state_dict())
    source = loader(item)
    estimate_batch_norm(expected, (source.batch(step).inputs for step in range(15, 20)))
    assert same(expected.state_dict(), item.kept["last"].weights)
    assert not torch.equal(item.kept["last"].weights["1.running_mean"], weights[-1]["1.running_mean"])


def test_statistics_are_of_plain_inputs_where_training_mixes():
    item, _ = snapshots(swa=0.5, cutmix=1.0)
    expected = network()
    expected.load_state_dict(item.final_model.state_dict())
    source = Loader(PROBLEM, batch_size=8, seed=0)
    estimate_batch_norm(expected, (source.batch(step).inputs for step in range(15, 20)))
    assert same(expected.state_dict(), item.kept["last"].weights)


def test_before_averaging_begins_the_network_itself_is_kept():
    item = learner(swa=0.75, keeps=("epoch=2", "epoch=3"))
    seen, own = {}, []

    def look(event):
        seen[event.record["epoch"]] = {k: v.clone() for k, v in item.network.state_dict().items()}
        own.append(item.final_model is item.network)

    train(item, at_epoch=look)
    assert own == [True, True, False, False]
    assert same(item.kept["epoch=2"].weights, seen[2])
    # An average of one epoch has its weights, but statistics estimated anew.
    assert torch.equal(item.kept["epoch=3"].weights["0.weight"], seen[3]["0.weight"])
    assert not torch.equal(item.kept["epoch=3"].weights["1.running_var"], seen[3]["1.running_var"])


def test_statistics_are_estimated_only_where_the_average_is_looked_at(monkeypatch):
    asked, unmixed = [], Loader.unmixed
    monkeypatch.setattr(Loader, "unmixed", lambda self, step: asked.append(step) or unmixed(self, step))
    train(learner(swa=0.25, evaluate_every=3, keeps=("last",)))
    assert [step for step in range(20) if asked.count(step) == 2] == [*range(10, 15), *range(15, 20)]


def test_a_cycle_ends_in_a_checkpoint():
    item = learner(schedule="cyclic", cycles=2)
    rates = [record["lr"] for record in train(item)]
    assert rates[1] == rates[3] < rates[0] == rates[2] and item.kept["epoch=2"].epoch == 2


def test_the_table_is_the_running_average_of_training_predictions():
    answers = []

    class Spy(Loss):
        def forward(self, network, teacher, batch, progress):
            answers.append((batch.indices.clone(), network.logits.detach().softmax(dim=1)))
            return {"x": network.logits.square().mean()}

    item = learner(filter_table=0.3, loss=Spy())
    train(item)
    rows = {}
    for indices, p in answers:
        for i, one in zip(indices.tolist(), p, strict=True):
            rows[i] = one if i not in rows else 0.7 * rows[i] + 0.3 * one
    torch.testing.assert_close(item.table, torch.stack([rows[i] for i in range(N)]))
    torch.testing.assert_close(item.table.sum(dim=1), torch.ones(N))


def test_an_example_never_seen_stops_the_learner_and_says_why():
    item = learner(filter_table=0.3, epochs=1, keeps=("last",))
    train(item)
    assert "none for 1 of 41" in str(item.failure)


def test_a_table_needs_answers_of_the_network_to_plain_batches():
    class RunsItself(Loss):
        needs = Needs(output=False)

        def forward(self, network, teacher, batch, progress):
            return {}

    with pytest.raises(ConfigError, match=r"filter_table: .*RunsItself"):
        learner(filter_table=0.3, loss=RunsItself())
    with pytest.raises(ConfigError, match=r"number of training examples"):
        learner(filter_table=0.3, examples=0)


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_a_loader_must_mix_as_the_recipe_says(options):
    for item, source in [(learner(**options), loader(learner())), (learner(), loader(learner(**options)))]:
        with pytest.raises(ConfigError, match="batches of x: must be made by the loader"):
            fit([item], source, PROBLEM, epochs=4)
