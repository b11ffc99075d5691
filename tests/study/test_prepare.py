from __future__ import annotations

import pytest
import torch

from goodteacher.base.input_spec import InputSpec
from goodteacher.base.seeds import seeded
from goodteacher.base.types import Batch, Output, Progress
from goodteacher.data.augment import rotations
from goodteacher.models.adapt import see
from goodteacher.models.taps import TappedModel
from goodteacher.study.build import build_network, build_prepared, measure
from goodteacher.study.prepare import PreparationLoss, PreparedTeacher
from goodteacher.train.task import Task

C, SHAPE, N = 4, (1, 8, 8), 5
NET = {"resnet8": {"widths": [4, 4, 6, 8]}}
MADE = InputSpec("image", SHAPE, (0.5,), (0.25,))
OTHER = InputSpec("image", SHAPE, (0.1,), (0.5,))
PROGRESS = Progress(0, 2, 1)


def prepared(name):
    with seeded(0, "init"):
        return build_prepared({name: {}}, measure(build_network(NET, C, SHAPE), SHAPE), C)


def batch(**changes):
    inputs = torch.randn(N, *SHAPE, generator=torch.Generator().manual_seed(1))
    given = {"inputs": inputs, "labels": torch.arange(N) % C, "indices": torch.arange(N), "spec": MADE}
    return Batch(**{**given, "views": {"rotated": rotations(inputs)}, **changes})


@pytest.mark.parametrize(("name", "view"), [("paraphraser", None), ("rotation_heads", "rotated")])
def test_the_loss_is_the_additions_own_on_the_view_it_asks_for(name, view):
    network = prepared(name)
    loss = PreparationLoss(network)
    assert loss.needs.views == ({view} if view else set()) and not loss.needs.output and not loss.needs.uses_teacher
    given = batch()
    terms = loss(Output(torch.zeros(0)), None, given, PROGRESS)
    by_hand = network.loss(given.views[view] if view else given.inputs, given.labels)
    assert list(terms) == list(by_hand) == [name] and torch.equal(terms[name], by_hand[name])


@pytest.mark.parametrize("name", ["paraphraser", "rotation_heads"])
def test_a_step_trains_the_addition_and_leaves_the_teacher(name):
    network = prepared(name)
    loss = PreparationLoss(network)
    assert (
        list(loss.parameters()) == [] and loss.state_dict() == {}
    )  # the network in training is no part of its own loss
    task = Task(network.train(), loss)
    sum(task(batch(), None, PROGRESS).values()).backward()
    assert all(p.grad is not None for p in network.part.parameters())
    assert all(p.grad is None for p in network.teacher.parameters()) and not network.teacher.training


@pytest.mark.parametrize(("name", "extra"), [("paraphraser", "factors"), ("rotation_heads", "heads")])
def test_a_prepared_teacher_answers_with_what_was_added(name, extra):
    network = prepared(name)
    teacher = PreparedTeacher(network)
    network.train()  # whoever holds it may have switched it
    given = batch()
    answer = teacher(given, frozenset({"embedding"}))
    plain = TappedModel(network.teacher.eval())(given.inputs, frozenset({"embedding"}))
    assert torch.equal(answer.logits, plain.logits) and torch.equal(answer.embedding, plain.embedding)
    assert set(answer.extra) == {extra} and set(answer.views) == {"rotated"}
    again = network.outputs(given.views["rotated"], frozenset())
    assert torch.equal(answer.views["rotated"].logits, again.logits)
    assert all(map(torch.equal, answer.views["rotated"].extra[extra], again.extra[extra]))
    assert not answer.logits.requires_grad and not any(p.requires_grad for p in network.parameters())
    assert not network.training


def test_it_sees_the_batch_through_its_own_spec():
    network = prepared("paraphraser")
    given = batch()
    answer = PreparedTeacher(network, spec=OTHER)(given, frozenset())
    seen = see(given.inputs, MADE, OTHER)
    assert torch.equal(answer.logits, network.teacher(seen)) and not torch.equal(
        answer.logits, network.teacher(given.inputs)
    )
    assert torch.equal(answer.views["rotated"].logits, network.teacher(see(given.views["rotated"], MADE, OTHER)))


def test_in_bf16_it_answers_in_bf16():
    answer = PreparedTeacher(prepared("paraphraser"), "bf16")(batch(), frozenset())
    assert answer.logits.dtype == torch.bfloat16
