import dataclasses

import pytest
import torch
from torch import nn

from goodteacher.base.types import Batch, Loss, Needs, Output, Progress


def test_batches_and_outputs_are_frozen_and_empty_by_default():
    batch = Batch(torch.zeros(2, 3), torch.zeros(2), torch.arange(2))
    output = Output(torch.zeros(2, 3))
    assert batch.views == {} == output.extra == output.views
    assert output.embedding is None and output.stages == () == output.pre_activations and output.stem is None
    for frozen, name in ((batch, "labels"), (output, "logits")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, name, None)


ONE = Needs(frozenset({"embedding"}), frozenset({"stages"}), frozenset({"weak"}), True, False, frozenset({"a"}), 2)
OTHER = Needs(frozenset({"stem"}), frozenset({"stages"}), frozenset({"strong"}), False, True, frozenset({"b"}), 1)
BOTH = Needs(
    frozenset({"embedding", "stem"}),
    frozenset({"stages"}),
    frozenset({"weak", "strong"}),
    True,
    True,
    frozenset({"a", "b"}),
    2,
)


def test_needs_join_field_by_field_in_any_order():
    assert ONE | OTHER == BOTH == OTHER | ONE
    assert ONE | Needs() == ONE
    assert Needs() == Needs(frozenset(), frozenset(), frozenset(), False, False, frozenset(), 0)


@pytest.mark.parametrize(("step", "epoch", "fraction"), [(0, 1, 0.0), (4, 1, 0.4), (5, 2, 0.5), (9, 2, 0.9)])
def test_progress_counts_epochs_from_one_and_ends_below_one(step, epoch, fraction):
    progress = Progress(step, steps_per_epoch=5, epochs=2)
    assert (progress.epoch, progress.fraction) == (epoch, fraction)


def draw(progress, stream="method"):
    return torch.rand(3, generator=progress.generator(stream)).tolist()


def test_progress_generators_depend_on_seed_stream_and_step_alone():
    first = draw(Progress(7, 5, 2, seed=1))
    assert first == draw(Progress(7, 100, 9, seed=1, initial=True))
    others = [
        draw(Progress(8, 5, 2, seed=1)),
        draw(Progress(7, 5, 2, seed=2)),
        draw(Progress(7, 5, 2, seed=1), "other"),
    ]
    assert first not in others


class Half(Loss):
    def forward(self, network, teacher, batch, progress):
        return {"half": network.logits.sum() / 2}


def test_a_loss_has_every_member_that_is_asked_of_it():
    loss, network = Half(), nn.Linear(2, 2)
    assert loss.needs == Needs() and loss.advice == "" and loss.memory_bytes() == 0 and loss.parts == (loss,)
    assert loss.deployed(network) is network and loss.prepare(network, []) is None
    assert loss(Output(torch.ones(1, 4)), None, None, None) == {"half": 2.0}
    with pytest.raises(TypeError, match="abstract"):
        Loss()
