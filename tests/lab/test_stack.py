"""A stack equals the ordinary loop network by network, resumes bit for bit, and says what it cannot do."""

from __future__ import annotations

import signal

import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError, ShapeError, StoreError
from goodteacher.base.seeds import seeded
from goodteacher.base.types import Loss, Setting
from goodteacher.data.augment import normalise
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.loader import Loader
from goodteacher.models.mlp import MLP
from goodteacher.objectives.table import build_objective
from goodteacher.train.learner import Learner
from goodteacher.train.loop import fit
from goodteacher.train.recipe import Recipe
from goodteacher_lab import stack as stacking
from goodteacher_lab.stack import Stack, all_of, fit_stack

# 200 examples in batches of 32: the last batch of an epoch has 8.
RECIPE = Recipe(epochs=3, batch_size=32, lr=0.1, weight_decay=1e-3, nesterov=True)


@pytest.fixture(scope="module")
def problem():
    return gaussian_problem(train=200, validation=60, test=50)


def networks(count, widths=(16, 8)):
    made = []
    for seed in range(count):
        with seeded(seed, "init"):
            made.append(MLP(3, input_shape=(30,), widths=widths))
    return made


def seen(problem, split):
    return normalise(all_of(problem.split(split).inputs), *problem.statistics)


def stack_of(problem, count=3, *, targets=None, recipe=RECIPE, **options):
    validation = (seen(problem, "validation"), problem.validation.labels)
    targets = problem.train.labels if targets is None else targets
    return Stack(networks(count), seen(problem, "train"), targets, recipe, validation=validation, **options)


def run(stack, **options):
    return list(fit_stack(stack, **options))


class Soft(Loss):
    """KL to fixed targets, as a loss of the ordinary loop."""

    def __init__(self, targets):
        super().__init__()
        self.targets = targets

    def forward(self, output, teacher, batch, progress):
        log_p = output.logits.log_softmax(dim=1)
        return {"kl": nn.functional.kl_div(log_p, self.targets[batch.indices], reduction="batchmean")}


def alone(problem, model, loss, seed, recipe=RECIPE, keeps=("last",)):
    learner = Learner("alone", model, loss, recipe, seed=seed, keeps=keeps)
    fit([learner], Loader(problem, batch_size=recipe.batch_size, seed=seed), problem, epochs=recipe.epochs)
    return learner


def flat(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize("schedule", ["constant", "cosine", "multistep"])
def test_soft_targets_of_each_network_equal_the_ordinary_loop(problem, schedule):
    recipe = RECIPE.model_copy(update={"schedule": schedule})
    targets = torch.softmax(torch.randn(3, 200, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    stack = stack_of(problem, targets=targets, recipe=recipe)
    run(stack)
    for seed, model in enumerate(networks(3)):
        start = flat(model)
        learner = alone(problem, model, Soft(targets[seed]), seed, recipe)
        assert torch.allclose(stack.weights[seed], flat(learner.network), atol=2e-6)
        assert (flat(learner.network) - start).abs().max() > 1e-2  # it has moved, far beyond the tolerance


BARE = {"scale": 1.0, "warmup": 0.0}


@pytest.mark.parametrize(
    ("loss", "objective"),
    [
        ("kl", "cross_entropy"),
        ("brier_sum", {"brier": BARE}),
        ("brier_mean", {"brier": {**BARE, "per_class": "mean"}}),
    ],
)
def test_labels_equal_the_objective_of_the_ordinary_loop(problem, loss, objective):
    recipe = RECIPE.model_copy(update={"nesterov": False, "weight_decay": 0.0})
    rules = ("last", "best_accuracy", "best_brier", "best_nll", "epoch=2")
    stack = stack_of(problem, loss=loss, recipe=recipe, keeps=rules)
    ticks = run(stack)
    for seed, model in enumerate(networks(3)):
        learner = alone(problem, model, build_objective(objective, Setting(3)), seed, recipe, keeps=rules)
        assert torch.allclose(stack.weights[seed], flat(learner.network), atol=2e-6)
        for rule in rules[1:]:
            kept = learner.kept[rule]
            assert stack.kept[rule]["epoch"][seed] == kept.epoch
            own = torch.cat([value.flatten() for value in kept.weights.values()])
            assert torch.allclose(stack.weights_of(rule)[seed], own, atol=2e-6)
        best = max(range(3), key=lambda e: ticks[e].scores[seed]["accuracy"])
        assert stack.kept["best_accuracy"]["epoch"][seed] == best + 1


def test_the_mean_over_classes_steps_a_third_as_far(problem):
    plain = RECIPE.model_copy(update={"nesterov": False, "weight_decay": 0.0, "momentum": 0.0})
    mean, whole = (
        stack_of(problem, recipe=plain.model_copy(update={"lr": lr}), loss=loss)
        for lr, loss in ((0.3, "brier_mean"), (0.1, "brier_sum"))
    )
    run(mean), run(whole)
    assert torch.allclose(mean.weights, whole.weights, atol=2e-6)


def test_tiles_and_threads_change_nothing(problem, monkeypatch):
    whole = stack_of(problem, 5)
    run(whole)
    monkeypatch.setattr(stacking, "TILE", 2)
    tiled = stack_of(problem, 5)
    assert [(t.start, t.stop) for t in tiled.tiles] == [(0, 2), (2, 4), (4, 5)]
    run(tiled)
    threaded = stack_of(problem, 5)
    run(threaded, threads=2)
    assert torch.equal(tiled.weights, threaded.weights)
    assert torch.allclose(whole.weights, tiled.weights, atol=2e-6)


def test_a_resumed_stack_is_bit_for_bit_the_same(problem, tmp_path):
    options = {"keeps": ("best_brier",), "targets": problem.train.truth}
    straight = stack_of(problem, **options)
    run(straight)
    broken = stack_of(problem, **options, folder=tmp_path)
    ticks = fit_stack(broken, checkpoint_seconds=0.0)
    for _ in range(2):  # the checkpoint of the first epoch is written before the second begins
        next(ticks)
    ticks.close()
    again = stack_of(problem, **options, folder=tmp_path)
    assert [tick.epoch for tick in run(again)] == [2, 3]
    assert torch.equal(again.weights, straight.weights) and torch.equal(again.momentum, straight.momentum)
    assert torch.equal(again.weights_of("best_brier"), straight.weights_of("best_brier"))
    assert again.history == straight.history
    finished = stack_of(problem, **options, folder=tmp_path)
    assert run(finished) == [] and torch.equal(finished.weights, straight.weights)


def test_an_interrupted_stack_finishes_its_epoch_and_is_saved(problem, tmp_path):
    stack = stack_of(problem, folder=tmp_path)
    ticks = fit_stack(stack)
    next(ticks)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        next(ticks)
    after = stack_of(problem, folder=tmp_path)
    after.resume()
    assert after.epoch == 1 and torch.equal(after.weights, stack.weights)


def test_a_checkpoint_of_another_training_is_refused(problem, tmp_path):
    run(stack_of(problem, folder=tmp_path))
    with pytest.raises(StoreError, match="must be of this training"):
        run(stack_of(problem, folder=tmp_path, loss="brier_sum"))


def test_a_network_that_diverges_is_named_and_leaves_the_others_alone(problem):
    good = stack_of(problem, 3)
    run(good)
    bad = stack_of(problem, 3, keeps=("best_nll",))
    with torch.no_grad():
        bad.weights[1, 0] = float("nan")
    last = run(bad)[-1]
    assert last.failures == {1: 1}
    assert torch.equal(bad.weights[[0, 2]], good.weights[[0, 2]])
    assert bad.kept["best_nll"]["epoch"][1] == 0 and bad.kept["best_nll"]["epoch"][0] > 0


def test_drop_last_leaves_out_the_small_batch(problem):
    assert stack_of(problem).steps_per_epoch == 7 and stack_of(problem, drop_last=True).steps_per_epoch == 6
    whole, dropped = stack_of(problem), stack_of(problem, drop_last=True)
    run(whole), run(dropped)
    assert not torch.allclose(whole.weights, dropped.weights, atol=1e-3)


def test_predictions_are_the_networks_own(problem):
    stack = stack_of(problem, 3)
    x = seen(problem, "test")
    for model, logits in zip(networks(3), stack.predictions(x), strict=True):
        assert torch.allclose(model(x), logits, atol=1e-6)


def test_evaluation_waits_for_its_epochs(problem):
    stack = stack_of(problem, recipe=RECIPE.model_copy(update={"evaluate_every": 2}))
    assert [len(tick.scores) for tick in run(stack)] == [0, 3, 3]
    assert [epoch for epoch, _ in stack.history] == [2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"optimizer": "adamw"}, "optimizer: must be 'sgd' in a stack"), ({"ema": 0.9}, "ema: must be None in a stack")],
)
def test_what_a_stack_cannot_do_is_said(problem, change, message):
    with pytest.raises(ConfigError, match=message):
        stack_of(problem, recipe=RECIPE.model_copy(update=change))


def test_networks_that_do_not_stack_are_refused(problem):
    x, y = all_of(problem.train.inputs), problem.train.labels
    with pytest.raises(ConfigError, match="must have the same widths"):
        Stack([*networks(1), *networks(1, (4, 8))], x, y, RECIPE, validation=(x, y))
    with pytest.raises(ConfigError, match="must be of class MLP, got Linear"):
        Stack([nn.Linear(30, 3)], x, y, RECIPE, validation=(x, y))
    with pytest.raises(ConfigError, match="needs at least one network"):
        Stack([], x, y, RECIPE, validation=(x, y))
    with pytest.raises(ConfigError, match="must be one for each of 3 networks"):
        stack_of(problem, seeds=(1,))
    with pytest.raises(ShapeError, match="targets of a stack"):
        stack_of(problem, targets=torch.zeros(2, 200, 3))
    with pytest.raises(ShapeError):
        stack_of(problem, targets=torch.zeros(200, 3))
