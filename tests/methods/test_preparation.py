from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError
from goodteacher.methods.preparation import PREPARATIONS, Prepared
from goodteacher.methods.table import METHODS, build_method
from rows_features import pair

TEACHERS = ["resnet8", "vgg8", "wrn_16_1", "shufflenetv2"]


def prepare(name, teacher):
    two = pair("resnet8", teacher)
    return two, PREPARATIONS[name].build(two.setting.teacher, two.setting)


def inputs_of(two, prepared):
    return two.batch.views["rotated"] if prepared.views else two.batch.inputs


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("name", PREPARATIONS)
def test_only_the_part_learns(name, teacher):
    two, prepared = prepare(name, teacher)
    before = copy.deepcopy(prepared.teacher.state_dict())
    prepared.train()
    optimizer = torch.optim.Adam([p for p in prepared.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(4):
        terms = prepared.loss(inputs_of(two, prepared), two.batch.labels)
        assert set(terms) == {name}
        optimizer.zero_grad()
        terms[name].backward()
        optimizer.step()
        losses.append(float(terms[name].detach()))
    assert losses[-1] < losses[0]
    assert not prepared.teacher.training and prepared.part.training
    assert all(torch.equal(v, prepared.teacher.state_dict()[k]) for k, v in before.items())
    trained = {n.split(".")[0] for n, p in prepared.named_parameters() if p.requires_grad}
    assert trained == {"part"}


@pytest.mark.parametrize("name", PREPARATIONS)
def test_outputs_add_to_the_teachers_own(name):
    two, prepared = prepare(name, "resnet8")
    x = inputs_of(two, prepared)
    output = prepared.outputs(x, frozenset({"embedding"}))
    torch.testing.assert_close(output.logits, prepared.teacher(x))
    assert output.embedding is not None
    assert not any(z.requires_grad for z in output.extra[PREPARATIONS[name].extra])
    torch.testing.assert_close(prepared.eval()(x), prepared.teacher(x))
    again = PREPARATIONS[name].build(two.setting.teacher, two.setting)
    again.load_state_dict(prepared.state_dict())
    torch.testing.assert_close(again.outputs(x, frozenset()).extra, output.extra)


def test_heads_answer_joint_labels_in_the_order_of_the_view():
    two, prepared = prepare("rotation_heads", "resnet8")
    prepared.train()
    x, labels = two.batch.views["rotated"], two.batch.labels
    answers = prepared.answers(x)
    assert [tuple(z.shape) for z in answers] == [(16, 16)] * 3
    joint = torch.tensor([4 * int(y) + r for y in labels for r in range(4)])
    expected = sum(F.cross_entropy(z, joint) for z in answers)
    torch.testing.assert_close(prepared.loss(x, labels)["rotation_heads"], expected)


def test_factors_are_half_as_wide():
    two, prepared = prepare("paraphraser", "resnet8")
    (factor,) = prepared.outputs(two.batch.inputs, frozenset()).extra["factors"]
    assert tuple(factor.shape) == (4, 32, 8, 8)
    target, again = prepared.answers(two.batch.inputs)
    expected = F.mse_loss(again, target)
    torch.testing.assert_close(prepared.loss(two.batch.inputs, two.batch.labels)["paraphraser"], expected)


@pytest.mark.parametrize("name", PREPARATIONS)
def test_a_step_can_be_timed(name):
    two, prepared = prepare(name, "resnet8")
    prepared.train()
    prepared(two.batch.inputs).square().mean().backward()
    assert next(p for p in prepared.part.parameters()).grad is not None


@pytest.mark.parametrize("name", PREPARATIONS)
def test_networks_without_maps_are_refused(name):
    setting = pair("mlp", "mlp").setting
    with pytest.raises(ConfigError, match=r"maps|chain"):
        PREPARATIONS[name].build(setting.teacher, setting)


WITH = {"labelled": {"labelled": {"per_class": 4}}}


def test_methods_name_rows_of_the_table():
    setting = pair("resnet8", "resnet14").setting
    needed = {name for method in METHODS for name in build_method(WITH.get(method, method), setting).needs.preparation}
    assert needed == set(PREPARATIONS)
    assert all(issubclass(row.build, Prepared) for row in PREPARATIONS.values())
