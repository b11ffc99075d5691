from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

import references_teachers as slow
from goodteacher.base.compose import parse
from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Batch, Needs, Output, Progress, Setting
from goodteacher.models.table import build_model
from goodteacher.models.taps import TappedModel, tap_shapes
from goodteacher.objectives import scores
from goodteacher.objectives.student_friendly import StudentFriendly, paired_stages, student_named, transform
from goodteacher.objectives.table import OBJECTIVES, build_objective

CLASSES = 10
PAIRS = [
    ("resnet14", "resnet8"),
    ("wrn_16_2", "resnet8"),
    ("vgg8", "mobilenetv2_0.1"),
    ("vgg8", "mobilenetv2"),
    ("resnet8x4", "shufflenetv1"),
    ("resnet8", "shufflenetv2"),
    ("resnet8", "vgg8"),
    ("resnet18", "resnet8"),
]


@dataclass(frozen=True)
class Case:
    """A teacher in training, what its objective is told, and a batch."""

    teacher: nn.Module
    setting: Setting
    batch: Batch

    def objective(self, **options):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return StudentFriendly(self.setting, student="whoever", **options)

    def output(self) -> Output:
        return TappedModel(self.teacher)(self.batch.inputs, StudentFriendly.needs.network)

    def terms(self, objective, output=None):
        return objective(output or self.output(), None, self.batch, Progress(0, 1, 1))


def case(teacher="resnet14", student="resnet8", *, n=4, size=32):
    shape = (3, size, size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = [build_model(name, classes=CLASSES, input_shape=shape) for name in (teacher, student)]
    inputs = torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))
    shapes = [tap_shapes(network, inputs[:2])[1] for network in networks]
    setting = Setting(
        CLASSES, network_shapes=shapes[0], network=networks[0], student=networks[1], student_shapes=shapes[1]
    )
    return Case(networks[0], setting, Batch(inputs, torch.arange(n) % CLASSES, torch.arange(n)))


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_teacher_and_branches_learn(names):
    given = case(*names)
    objective = given.objective()
    terms = given.terms(objective)
    assert list(terms) == ["cross_entropy", "branch_divergence", "branch_cross_entropy"]
    assert all(term.shape == () and torch.isfinite(term) and term > 0 for term in terms.values())
    sum(terms.values()).backward()
    for parameter in (next(given.teacher.parameters()), *objective.parameters()):
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()
    assert next(given.teacher.parameters()).grad.abs().max() > 0
    assert all(p.grad is None for p in given.setting.student.parameters())


@pytest.mark.parametrize(
    ("names", "sites"),
    [
        (("resnet14", "resnet8"), (0, 1)),
        (("vgg8", "mobilenetv2_0.1"), (0, 1, 2)),
        (("resnet8", "vgg8"), (1, 2)),  # maps of 32, 16, 8 and of 16, 8, 4, 4
        (("vgg8", "resnet8"), (0,)),
        (("resnet18", "resnet8"), (0, 1)),
        (("resnet8", "resnet18"), (0, 1, 2)),
    ],
)
def test_where_branches_begin(names, sites):
    objective = case(*names).objective()
    assert objective.sites == sites and len(objective.branches) == len(sites)
    assert objective.needs == StudentFriendly.needs == Needs(network=frozenset({"stages"}), weighs_classes=True)


def test_branches_hold_the_students_blocks():
    given = case()
    objective = given.objective()
    block2 = 16 * 32 * 9 + 64 + 32 * 32 * 9 + 64 + 16 * 32 + 64
    block3 = 32 * 64 * 9 + 128 + 64 * 64 * 9 + 128 + 32 * 64 + 128
    head = 64 * 10 + 10
    first, second = 16 * 16 + 32, 32 * 32 + 64
    counts = [sum(p.numel() for p in branch.parameters()) for branch in objective.branches]
    assert counts == [first + block2 + block3 + head, second + block3 + head] == [73_194, 59_466]
    assert not {id(p) for p in objective.parameters()} & {id(p) for p in given.setting.student.parameters()}
    assert torch.equal(objective.branches[1][1][0][0].conv1.weight, given.setting.student.stage3[0].conv1.weight)


def test_a_branch_whose_transform_changes_nothing_is_the_student():
    given = case("resnet8", "resnet8")
    student = given.setting.student.eval()
    objective = given.objective().eval()
    for branch in objective.branches:
        branch[0] = nn.Identity()
    output = TappedModel(student)(given.batch.inputs, StudentFriendly.needs.network)
    for branch, read in zip(objective.branches, output.stages, strict=False):
        torch.testing.assert_close(branch(read), output.logits)
    assert given.terms(objective, output)["branch_divergence"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("term", ["branch_divergence", "branch_cross_entropy"])
def test_each_part_of_the_branches_moves_the_teacher(term):
    given = case()
    output = given.output()
    terms = given.terms(given.objective(), output)
    into_maps = torch.autograd.grad(terms[term], output.stages[:2], retain_graph=True)
    assert all(gradient.abs().max() > 0 for gradient in into_maps)
    (into_logits,) = torch.autograd.grad(terms[term], output.logits, allow_unused=True, retain_graph=True)
    assert (into_logits is not None) == (term == "branch_divergence")
    (into_first,) = torch.autograd.grad(terms[term], given.teacher.conv1.weight)
    assert into_first.abs().max() > 0


def test_without_branch_weights_it_is_cross_entropy():
    given = case()
    output = given.output()
    total = sum(given.terms(given.objective(weight_kl=0, weight_ce=0), output).values())
    plain = scores.cross_entropy(output.logits, given.batch.labels)
    assert torch.equal(total, plain)
    weights = list(given.teacher.parameters())
    both = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in (total, plain)]
    assert all(torch.equal(one, two) for one, two in zip(*both, strict=True))


@pytest.mark.parametrize(
    "weights",
    [{}, {"weight_teacher": 0.5, "weight_kl": 2.0, "weight_ce": 0.25, "temperature": 3.0}],
)
def test_against_a_slow_reference(weights):
    given = case()
    objective = given.objective(**weights).eval()
    output = given.output()
    branches = [branch(output.stages[i]) for i, branch in zip(objective.sites, objective.branches, strict=True)]
    names = {"weight_teacher": "teacher", "weight_kl": "divergence", "weight_ce": "label", "temperature": "temperature"}
    want = slow.student_friendly(
        output.logits.detach(),
        [z.detach() for z in branches],
        given.batch.labels,
        **{names[k]: v for k, v in weights.items()},
    )
    total = sum(given.terms(objective, output).values())
    assert total.item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    given = case()
    objective = given.objective().eval()
    exact = given.output()
    half = Output(exact.logits.detach().to(dtype), stages=tuple(x.detach().to(dtype) for x in exact.stages))
    terms, want = given.terms(objective, half), given.terms(objective, exact)
    assert all(term.dtype == torch.float32 for term in terms.values())
    torch.testing.assert_close(terms, want, rtol=0.03, atol=0.03)


def test_a_network_at_chance_is_given_advice():
    assert "half the lr" in case().objective().advice
    built = build_objective({"sftn": {"student": "resnet8"}, "lipschitz": None}, case().setting)
    assert built.advice == StudentFriendly.advice


def trained(given, objective, steps):
    parameters = [*given.teacher.parameters(), *objective.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    losses = []
    for _ in range(steps):
        total = sum(given.terms(objective).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    return losses


def test_it_learns_and_resumes_exactly():
    given = case()
    objective = given.objective()
    losses = trained(given, objective, 6)
    assert losses[-1] < losses[0]
    state = copy.deepcopy((given.teacher.state_dict(), objective.state_dict()))
    went_on = trained(given, objective, 2)
    other = case()
    resumed = other.objective()
    assert set(resumed.state_dict()) == set(state[1]) and all(key.startswith("branches.") for key in state[1])
    other.teacher.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    assert trained(other, resumed, 2) == went_on


def test_transforms_give_the_students_shape():
    for teacher, student, kind in (
        ((8, 16, 16), (4, 16, 16), nn.ReLU),
        ((8, 16, 16), (4, 8, 8), nn.ReLU),
        ((8, 32, 32), (4, 8, 8), nn.ReLU),
        ((8, 8, 8), (4, 16, 16), nn.Upsample),
        ((8, 7, 7), (4, 4, 4), nn.AdaptiveAvgPool2d),
        ((8, 8, 4), (4, 4, 4), nn.AdaptiveAvgPool2d),
        ((8, 2, 8), (4, 4, 4), nn.AdaptiveAvgPool2d),
    ):
        module = transform(teacher, student)
        assert module(torch.randn(2, *teacher)).shape == (2, *student) and isinstance(module[-1], kind)
        assert module[0].kernel_size == ((3, 3) if len(module) == 3 and teacher[1:] != student[1:] else (1, 1))


def test_pairs_of_stages():
    three, four = [(8, 32, 32), (8, 16, 16), (8, 8, 8)], [(4, 16, 16), (4, 8, 8), (4, 4, 4), (4, 4, 4)]
    assert paired_stages(three, [(4, 5, 5)] * 3) == [(0, 0), (1, 1)]
    assert paired_stages(three, four) == [(1, 0), (2, 1)] and paired_stages(four, three) == [(0, 1)]
    assert paired_stages(four, [(9, 8, 8), (9, 4, 4), (9, 2, 2)]) == [(1, 0), (3, 1)]


@pytest.mark.parametrize(
    ("teacher", "student", "text"),
    [
        ([(8, 32, 32)], [(8, 32, 32)], "at least two, or with maps of one size before the student's last, "
         "got maps of 32x32 in the teacher and 32x32 in the student; choose another"),
        ([(8, 32, 32), (8, 16, 16)], [(8, 28, 28), (8, 14, 14), (8, 7, 7)], "got maps of 32x32 16x16 in the teacher and "),
        ([], [(8, 8, 8), (8, 4, 4)], "got maps of none in the teacher"),
        ([(8,), (8,)], [(8,), (8,)], "needs maps (D, H, W) after the stages of both networks, got shapes ((8,), (8,)) and"),
    ],
)  # fmt: skip
def test_stages_that_do_not_pair(teacher, student, text):
    with pytest.raises(ConfigError) as caught:
        paired_stages(teacher, student)
    assert text in str(caught.value)


def test_refused_pairs():
    given = case()
    with torch.random.fork_rng():
        mlp = build_model("mlp", classes=CLASSES, input_shape=(3, 32, 32))
        small = build_model("resnet18_imagenet", classes=CLASSES, input_shape=(3, 32, 32))
    vectors, of_small = (tap_shapes(network, torch.zeros(2, 3, 32, 32))[1] for network in (mlp, small))
    cases = [
        (replace(given.setting, student=mlp, student_shapes=vectors), "the student of objective 'sftn': needs a network that is"),
        (replace(given.setting, network_shapes=vectors), "needs maps"),
        (replace(given.setting, network_shapes={}), "got maps of none in the teacher"),
        (replace(given.setting, student_shapes={}), r"Setting.student_shapes: must describe the student's 3 stages, got \(\)"),
        (replace(given.setting, student=None), r"needs the student's network .*; pass Setting\(student=model"),
        (replace(given.setting, network_shapes=of_small), "8x8 4x4 2x2 1x1 in the teacher"),
    ]  # fmt: skip
    for setting, text in cases:
        with pytest.raises(ConfigError, match=text):
            StudentFriendly(setting, student="resnet8")


def test_the_student_a_user_names():
    assert student_named({"sftn": {"student": "resnet8"}}) == ("resnet8", {})
    assert student_named({"sftn": {"student": {"mobilenetv2": {"width": 0.25}}}}) == ("mobilenetv2", {"width": 0.25})
    assert student_named({"cross_entropy": {}, "lipschitz": {}}) is None
    parts = parse({"sftn": {"student": {"resnet8": None}, "weight_kl": "2"}}, OBJECTIVES, "objective")
    assert parts == {"sftn": {"student": {"resnet8": None}, "weight_kl": 2.0}} and student_named(parts) == (
        "resnet8",
        {},
    )
    built = build_objective({"sftn": {"student": "resnet8", "weight_kl": 2}, "lipschitz": None}, case().setting)
    assert built.needs.network == {"stages"} and len(list(built.parameters())) > 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "objective 'sftn': needs to know the student it makes a teacher for, got none; write {sftn: {student: MODEL}}"),
        ({"student": 3}, "option 'student' of objective 'sftn': must be str, Mapping, None, got 3."),
        ({"student": {"a": {}, "b": {}}}, "must be a model's name, or a mapping from one name to its options"),
        ({"student": {"resnet8": 3}}, "model 'resnet8': takes a mapping from option to value, got 3."),
        ({"student": "resnet8", "weight_teacher": 0}, "weight_teacher: must be a number in (0, inf]"),
        ({"student": "resnet8", "weight_kl": -1}, "weight_kl: must be"),
        ({"student": "resnet8", "weight_ce": -1}, "weight_ce: must be"),
        ({"student": "resnet8", "temperature": 0}, "temperature: must be"),
    ],
)  # fmt: skip
def test_mistakes(options, text):
    with pytest.raises(ConfigError) as caught:
        build_objective({"sftn": options}, Setting(CLASSES))
    assert text in str(caught.value)
