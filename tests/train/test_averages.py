from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError, TrainingError
from goodteacher.methods.reuse import Frozen
from goodteacher.train.averages import Average, PredictionAverages, ema_decay, estimate_batch_norm, move_towards


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3), nn.BatchNorm1d(3))


def test_an_exponential_average_forgets_the_start_before_it_slows_down():
    assert [ema_decay(0.9, s) for s in (0, 1, 100)] == [0.1, 2 / 11, 0.9]


def test_moving_towards_a_network_is_linear_and_copies_counters():
    mean, other = network(0), network(1)
    before = copy.deepcopy(mean)
    other[1].num_batches_tracked += 7
    move_towards(mean, other, 0.25)
    torch.testing.assert_close(mean[0].weight, 0.75 * before[0].weight + 0.25 * other[0].weight)
    assert int(mean[1].num_batches_tracked) == 7
    move_towards(mean, other, 1.0)
    torch.testing.assert_close(mean.state_dict(), other.state_dict(), rtol=0, atol=1e-7)


def test_an_average_of_epochs_begins_at_its_share_and_weighs_all_alike():
    networks = [network(seed) for seed in range(5)]
    average = Average(networks[0], swa=0.6)
    for epoch, item in enumerate(networks, start=1):
        average.after_step(item, epoch)
        average.after_epoch(item, epoch / 5)
        assert average.has_begun == (epoch >= 3)
    torch.testing.assert_close(average.model[0].weight, torch.stack([n[0].weight for n in networks[2:]]).mean(dim=0))
    assert not any(p.requires_grad for p in average.model.parameters())


def test_an_exponential_average_follows_steps_and_not_epochs():
    start, item = network(0), network(1)
    average = Average(start, ema=0.5)
    average.after_epoch(item, 1.0)
    torch.testing.assert_close(average.model[0].weight, start[0].weight)
    average.after_step(item, 100)
    torch.testing.assert_close(average.model[0].weight, (start[0].weight + item[0].weight) / 2)


def test_batch_statistics_are_means_over_batches_by_their_sizes():
    model = network().train()
    batches = [torch.randn(n, 4) * (i + 1) + i for i, n in enumerate((8, 8, 3))]
    hidden = [model[0](x).detach() for x in batches]
    total = sum(len(x) for x in batches)
    mean = sum(len(h) * h.mean(dim=0) for h in hidden) / total
    variance = sum(len(h) * h.var(dim=0) for h in hidden) / total
    model[1].running_mean += 100  # whatever was there before
    drawn = torch.random.get_rng_state()
    estimate_batch_norm(model, iter(batches))
    torch.testing.assert_close(model[1].running_mean, mean)
    torch.testing.assert_close(model[1].running_var, variance)
    assert torch.equal(drawn, torch.random.get_rng_state())  # dropout is off
    assert model.training and model[2].training and model[1].momentum == 0.1
    again = copy.deepcopy(model.state_dict())
    estimate_batch_norm(model.eval(), iter(batches))
    assert all(torch.equal(v, again[k]) for k, v in model.state_dict().items())
    assert not model[1].training


def test_statistics_of_a_frozen_part_are_left_alone():
    model = nn.Sequential(network(), Frozen(nn.BatchNorm1d(3)))
    estimate_batch_norm(model, [torch.randn(8, 4) + 3])
    assert torch.equal(model[1][0].running_mean, torch.zeros(3)) and not model[1][0].training
    assert float(model[0][1].running_mean.abs().max()) > 0


def test_without_batch_normalisation_no_batch_is_asked_for():
    def refuse():
        raise AssertionError
        yield

    estimate_batch_norm(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)), refuse())


def test_predictions_are_averaged_by_example():
    table = PredictionAverages(3, 0.25)
    first = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    table.update(first, torch.tensor([2, 0]))
    table.update(torch.tensor([[0.0, 3.0]]), torch.tensor([2]))
    with pytest.raises(TrainingError, match=r"none for 1 of 3.*last batch of one"):
        table.table()
    table.update(torch.zeros(1, 2).bfloat16(), torch.tensor([1]))
    later = 0.75 * first[0].softmax(0) + 0.25 * torch.tensor([0.0, 3.0]).softmax(0)
    torch.testing.assert_close(table.table(), torch.stack([torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5]), later]))


def test_a_restored_table_is_its_own():
    table, other = PredictionAverages(2, 0.5), PredictionAverages(2, 0.5)
    other.restore(table.state())
    assert other.rows is None
    table.update(torch.randn(2, 3), torch.arange(2))
    other.restore(table.state())
    before = other.table().clone()
    table.update(torch.randn(2, 3), torch.arange(2))
    assert torch.equal(other.table(), before) and not torch.equal(table.table(), before)


def test_a_table_needs_to_know_its_size():
    with pytest.raises(ConfigError, match="number of training examples, got 0"):
        PredictionAverages(0, 0.05)
