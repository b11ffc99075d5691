from __future__ import annotations

import pytest
import torch
from torch import nn

from goodteacher.base.compose import Joined
from goodteacher.base.errors import ConfigError
from goodteacher.base.seeds import seeded
from goodteacher.base.types import Setting
from goodteacher.data.facts import Facts
from goodteacher.methods.labels import HardLabels
from goodteacher.methods.preparation import Prepared
from goodteacher.models.custom import hand_over
from goodteacher.models.table import build_model
from goodteacher.study.build import (
    build_loss,
    build_network,
    build_prepared,
    check_classes,
    draft,
    drafting,
    loss_in_training,
    measure,
    network_in_training,
    outline,
    rebuild,
    setting_of,
    student_in,
)
from goodteacher.study.prepare import PreparationLoss
from goodteacher.study.runspec import RunSpec
from goodteacher.study.teaching import Teaching

C, SHAPE = 4, (1, 8, 8)
MLP = {"mlp": {"widths": [6, 5]}}
NET = {"resnet8": {"widths": [4, 4, 6, 8]}}
BIG = {"resnet8": {"widths": [4, 6, 8, 10]}}
FACTS = Facts("f" * 16, C, SHAPE, 20, is_image=True, knows_truth=False, has_votes=False)


def spec(kind="student", model=NET, loss=None, **changes):
    given = {"gamma": 0.0, "recipe": {"epochs": 1}, "keep": "last", "seed": 0, "problem": "f" * 16}
    return RunSpec(kind, model, loss or {"kd": {"alpha": 0.9, "temperature": 4.0}}, **{**given, **changes})


def made(model=NET, shape=SHAPE):
    with seeded(0, "init"):
        return build_network(model, C, shape)


def same(one, other):
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_a_network_is_that_of_the_table():
    with seeded(0, "init"):
        by_table = build_model("resnet8", classes=C, input_shape=SHAPE, widths=(4, 4, 6, 8))
    assert same(made().state_dict(), by_table.state_dict())
    assert build_network(MLP, C, (7,)).hidden[0][0].weight.shape == (6, 7)


def test_what_taps_read_is_measured():
    found = measure(network := made(), SHAPE)
    assert found.network is network and found.classes == C
    assert found.shapes == {
        "stem": ((4, 8, 8),),
        "embedding": ((8,),),
        "stages": ((4, 8, 8), (6, 4, 4), (8, 2, 2)),
        "pre_activations": ((4, 8, 8), (6, 4, 4), (8, 2, 2)),
    }
    assert measure(made(MLP), SHAPE).shapes["embedding"] == ((5,),)


@pytest.mark.parametrize("training", [True, False])
def test_a_network_is_left_as_it_came(training):
    network = made().train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure(network, SHAPE)
    assert network.training == training and same(before, network.state_dict())


class Drawn(nn.Module):
    """Draws its weights as PyTorch's own layers do, and looks at them."""

    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(64, classes)
        self.noise = nn.Parameter(torch.empty(3).normal_())
        self.total = float(self.fc.weight.detach().abs().sum())

    def forward(self, x):
        return self.fc(x.flatten(1))


def test_drafts_draw_no_numbers():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    for model in (NET, MLP, {"wrn_16_1": {}}, {"mobilenetv2_0.1": {}}, {"vgg8": {}}):
        shape = (3, 32, 32) if next(iter(model)) in ("vgg8", "mobilenetv2_0.1") else SHAPE
        found, real = draft(model, C, shape), measure(made(model, shape), shape)
        assert (found.classes, found.shapes) == (C, real.shapes)
        assert [v.shape for v in found.network.state_dict().values()] == [
            v.shape for v in real.network.state_dict().values()
        ]
    assert torch.equal(before, torch.random.get_rng_state())
    seen = []
    with drafting(["resnet8"]):
        start = torch.random.get_rng_state()
        for make in (lambda: nn.Linear(3, 3), lambda: nn.Conv2d(1, 2, 3), lambda: torch.empty(4).normal_()):
            make()
        nn.init.kaiming_normal_(torch.empty(3, 3))
        nn.init.trunc_normal_(torch.empty(3, 3))
        seen.append(torch.equal(start, torch.random.get_rng_state()))
    assert seen == [True]


def test_a_users_own_network_gets_its_numbers_and_the_generators_are_as_they_were():
    torch.manual_seed(5)
    name = hand_over(Drawn(C))
    before = torch.random.get_rng_state()
    found = draft({name: {}}, C, SHAPE)
    assert torch.equal(before, torch.random.get_rng_state())
    assert (
        float(found.network.fc.weight.detach().abs().sum()) == pytest.approx(found.network.total)
        and found.network.total > 0
    )
    with drafting([name]):
        assert Drawn(C).noise.abs().sum() > 0
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_generators_are_as_they_were_after_a_failure_too():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    with pytest.raises(ZeroDivisionError), drafting(["a:b"]):
        torch.randn(3)
        raise ZeroDivisionError
    assert torch.equal(before, torch.random.get_rng_state())
    assert nn.Linear(2, 2).weight.abs().sum() > 0  # and numbers are drawn again


class Picky(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(9, classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


def test_a_model_that_does_not_take_the_inputs_is_refused_in_a_sentence():
    name = hand_over(Picky(C))
    said = rf"^model '{name}': must take inputs of shape \(1, 8, 8\), got RuntimeError: mat1 and mat2 .*\.$"
    with pytest.raises(ConfigError, match=said) as refused:
        draft({name: {}}, C, SHAPE)
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="takes images"):
        draft(NET, C, (7,))
    with pytest.raises(ConfigError, match="did you mean 'widths'"):
        draft({"mlp": {"width": [3]}}, C, SHAPE)


def test_a_network_of_other_classes_is_refused_in_a_sentence():
    check_classes(draft(NET, C, SHAPE), C, "resnet8")
    with pytest.raises(ConfigError, match=r"^model 'resnet8': must answer the problem's 5 classes, got 4\.$"):
        check_classes(draft(NET, C, SHAPE), 5, "resnet8")


def test_an_outline_holds_no_numbers_at_all():
    network = outline({"resnet50": {}}, C, (3, 32, 32))
    assert {p.device.type for p in network.parameters()} == {"meta"}
    with seeded(0, "init"):
        wanted = build_model("mlp", classes=C, input_shape=SHAPE)
    assert sum(p.numel() for p in outline({"mlp": {}}, C, SHAPE).parameters()) == sum(
        p.numel() for p in wanted.parameters()
    )


def test_what_a_loss_must_know_of_a_pair():
    own, other = measure(made(), SHAPE), measure(made(BIG), SHAPE)
    labels = torch.arange(20) % C
    found = setting_of(own, other, classes=C, examples=20, labels=labels, student=own)
    assert (found.network, found.teacher, found.student) == (own.network, other.network, own.network)
    assert found.network_shapes == own.shapes == found.student_shapes and found.teacher_shapes == other.shapes
    assert found.labels is labels and (found.classes, found.examples) == (C, 20)
    assert setting_of(None, None, classes=C) == Setting(C)


@pytest.mark.parametrize(
    ("kind", "parts", "gamma", "kinds"),
    [
        ("teacher", {"brier": {}}, 0.0, None),
        ("student", {"none": {}}, 1.0, HardLabels),
        ("student", {"kd": {}}, 0.1, Joined),
        ("student", {"dist": {}}, 0.0, None),
    ],
)
def test_the_labels_share_is_added_where_there_is_one(kind, parts, gamma, kinds):
    loss = build_loss(kind, parts, gamma, Setting(C))
    if kinds is not None:
        assert type(loss) is kinds
    hard = [part for part in loss.parts if type(part) is HardLabels]
    assert len(hard) == (1 if gamma > 0 else 0)
    assert loss.needs.uses_teacher == (kind == "student" and list(parts) != ["none"])


def test_the_network_and_the_loss_of_a_student():
    teacher = measure(made(BIG), SHAPE)
    one = spec(loss={"fitnet": {}}, gamma=1.0)
    network = network_in_training(one, FACTS, None)
    loss = loss_in_training(one, network, FACTS, teacher)
    assert network.fc.weight.shape == (C, 8) and [type(p).__name__ for p in loss.parts] == ["HardLabels", "FitNet"]
    sees = {"kind": "image", "shape": (3, 16, 16), "mean": (0.0,) * 3, "std": (1.0,) * 3}
    coloured = network_in_training(spec(inputs=sees), FACTS, None)
    assert coloured.conv1.weight.shape[1] == 3
    assert loss_in_training(spec(inputs=sees), coloured, FACTS, teacher).needs.uses_teacher


def test_a_network_of_other_classes_has_no_loss():
    wrong = build_network(NET, C + 1, SHAPE)
    with pytest.raises(ConfigError, match="must answer the problem's 4 classes, got 5"):
        loss_in_training(spec(), wrong, FACTS, None)


def test_a_preparation_trains_an_addition_to_its_teacher():
    teacher = measure(made(BIG), SHAPE)
    one = spec("preparation", BIG, {"paraphraser": {}}, teaching=Teaching("network", ("t",)))
    network = network_in_training(one, FACTS, teacher)
    assert isinstance(network, Prepared) and network.teacher is teacher.network
    assert {p.requires_grad for p in network.teacher.parameters()} == {False}
    assert isinstance(loss_in_training(one, network, FACTS, teacher), PreparationLoss)
    assert build_prepared({"rotation_heads": {}}, measure(made(BIG), SHAPE), C).views == {"rotated"}


def test_the_student_that_an_objective_names():
    asked = []

    def build_it(model):
        asked.append(model)
        return measure(made(model), SHAPE)

    assert student_in({"brier": {}}, build_it) is None and asked == []
    found = student_in({"sftn": {"student": {"resnet8": {"widths": [4, 4, 6, 8]}}}}, build_it)
    assert found.classes == C and asked == [NET]


def never():
    raise AssertionError("no teacher is asked for where the network holds nothing of it")


def test_a_plain_run_is_rebuilt_without_its_teacher():
    for one in (spec(), spec("teacher", MLP, {"brier": {}}), spec(loss={"fitnet": {}, "kd": {}}, gamma=1.0)):
        again, first = rebuild(one, FACTS, never), network_in_training(one, FACTS, None)
        assert list(again.state_dict()) == list(first.state_dict())


def test_what_simkd_hands_over_is_rebuilt():
    teacher = measure(made(BIG).eval(), SHAPE)
    one = spec(loss={"simkd": {}})
    network = network_in_training(one, FACTS, None)
    deployed = loss_in_training(one, network, FACTS, teacher).deployed(network).eval()
    asked = []
    again = rebuild(one, FACTS, lambda: asked.append(1) or measure(made(BIG).eval(), SHAPE))
    assert asked == [1] and type(again) is type(deployed) and type(again) is not type(network)
    again.load_state_dict(deployed.state_dict())
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.eval()(x), deployed(x))


def test_a_preparation_is_rebuilt_with_its_teacher():
    one = spec("preparation", BIG, {"rotation_heads": {}}, teaching=Teaching("network", ("t",)))
    first = network_in_training(one, FACTS, measure(made(BIG), SHAPE))
    again = rebuild(one, FACTS, lambda: measure(build_network(BIG, C, SHAPE), SHAPE))
    again.load_state_dict(first.state_dict())
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.eval()(x), first.teacher(x)) and len(list(again.part.parameters())) > 0
