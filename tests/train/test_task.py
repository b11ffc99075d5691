from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import distributed, nn

from goodteacher.base.input_spec import InputSpec
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Setting
from goodteacher.data.mixing import mix
from goodteacher.methods.table import build_method
from goodteacher.models.adapt import see
from goodteacher.models.mlp import MLP
from goodteacher.models.resnet import CifarResNet
from goodteacher.models.taps import TappedModel, Taps, tap_shapes
from goodteacher.objectives.table import build_objective
from goodteacher.train.averages import PredictionAverages
from goodteacher.train.task import Task

C, N = 5, 6
PROGRESS = Progress(2, 4, 3)
MADE = InputSpec("image", (1, 8, 8), (0.5,), (0.25,))
OTHER = InputSpec("image", (3, 6, 6), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
LABELS, ROWS = torch.arange(N) % C, torch.arange(N)


@pytest.fixture(autouse=True)
def _compiled_afresh():
    yield
    torch.compiler.reset()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch(**changes):
    return Batch(**{"inputs": draw(N, 1, 8, 8), "labels": LABELS, "indices": ROWS, "spec": MADE, **changes})


def network(channels=1):
    torch.manual_seed(1)
    return CifarResNet(C, depth=8, channels=channels, widths=(4, 4, 8, 8))


def setting(student, shape):
    torch.manual_seed(2)
    teacher = CifarResNet(C, depth=8, channels=shape[0], widths=(4, 8, 8, 16))
    shapes = [tap_shapes(net, torch.zeros(2, *shape))[1] for net in (student, teacher)]
    return Setting(C, 40, *shapes, student, teacher, labels=torch.arange(40) % C), teacher


def pair(method, channels=1, shape=(1, 8, 8)):
    """Return a student, its loss, and what its teacher answers to inputs."""
    student = network(channels)
    given, teacher = setting(student, shape)
    torch.manual_seed(3)
    loss = build_method(method, given)
    tapped = TappedModel(teacher.eval())

    def answer(inputs, views=()):
        with torch.no_grad():
            out = tapped(inputs, loss.needs.teacher)
            return Output(
                out.logits, out.embedding, out.stages, out.pre_activations, out.stem,
                views={name: tapped(view) for name, view in dict(views).items()},
            )  # fmt: skip

    return student, loss, answer


def same(one, other):
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", ["kd", "at + kd", "vid", "srrl"])
def test_terms_are_the_loss_of_the_tapped_output(method):
    student, loss, answer = pair(method)
    given = batch()
    teacher = answer(given.inputs)
    twin, other = copy.deepcopy(student), copy.deepcopy(loss)
    terms = Task(student, loss)(given, teacher, PROGRESS)
    by_hand = other(TappedModel(twin)(given.inputs, loss.needs.network), teacher, given, PROGRESS)
    assert same(terms, by_hand) and all(term.requires_grad for term in terms.values())


def test_a_term_by_hand():
    task = Task(linear := nn.Linear(2, 2, bias=False), build_objective("cross_entropy", Setting(2)))
    linear.weight.data = torch.eye(2)
    two = Batch(torch.tensor([[0.0, 0.0], [np.log(3.0), 0.0]]).float(), torch.tensor([0, 1]), torch.arange(2))
    # −log ½ and −log ¼
    assert task(two, None, PROGRESS)["cross_entropy"].item() == pytest.approx((np.log(2) + np.log(4)) / 2)


def test_the_losss_parameters_train_with_the_networks():
    student, loss, answer = pair("vid")
    task, given = Task(student, loss), batch()
    sum(task(given, answer(given.inputs), PROGRESS).values()).backward()
    assert all(p.grad is not None for p in (*student.parameters(), *loss.parameters()))
    assert len(list(loss.parameters())) > 0
    assert {*task.parameters()} == {*student.parameters(), *loss.parameters()}


def test_a_mixed_batch_has_both_labels_in_their_shares():
    student, loss, answer = pair("at + kd")
    plain = batch()
    inputs, mixed = mix(plain.inputs, LABELS, np.random.default_rng(4), mixup=1.0, cutmix=None)
    given, teacher = batch(inputs=inputs, mixed=mixed), answer(inputs)
    twin, share = copy.deepcopy(student), mixed.share
    terms = Task(student, loss)(given, teacher, PROGRESS)
    output = TappedModel(twin)(inputs, loss.needs.network)
    own, others = (loss(output, teacher, batch(inputs=inputs, labels=y), PROGRESS) for y in (LABELS, mixed.labels))
    assert 0 < share < 1 and not torch.equal(own["cross_entropy"], others["cross_entropy"])
    assert same(terms, {name: share * own[name] + (1 - share) * others[name] for name in own})


def test_views_are_run_through_the_network_too():
    student, loss, answer = pair("mlkd")
    given = batch(views={"strong": draw(N, 1, 8, 8, seed=5), "weak": draw(N, 1, 8, 8, seed=6)})
    assert loss.needs.views == {"strong"}
    teacher = answer(given.inputs, {"strong": given.views["strong"]})
    twin = TappedModel(copy.deepcopy(student))
    terms = Task(student, loss)(given, teacher, PROGRESS)
    plain = twin(given.inputs, loss.needs.network)
    by_hand = loss(Output(plain.logits, views={"strong": twin(given.views["strong"])}), teacher, given, PROGRESS)
    assert same(terms, by_hand)


class Counted(Loss):
    """A loss that says what it was handed."""

    def __init__(self, needs):
        super().__init__()
        self.needs, self.handed = needs, []

    def forward(self, network, teacher, batch, progress):
        self.handed.append((network, teacher, batch, progress))
        return {"sum": network.logits.sum()}


def test_a_network_sees_the_batch_through_its_own_spec():
    student, loss, answer = pair("at + kd", channels=3, shape=OTHER.shape)
    given = batch()
    seen = see(given.inputs, MADE, OTHER)
    teacher, twin = answer(seen), copy.deepcopy(student)
    terms = Task(student, loss, spec=OTHER)(given, teacher, PROGRESS)
    by_hand = loss(TappedModel(twin)(seen, loss.needs.network), teacher, batch(inputs=seen), PROGRESS)
    assert same(terms, by_hand) and list(given.seen) == [OTHER]


def test_views_are_seen_through_the_spec_too():
    loss = Counted(Needs(views=frozenset({"strong"})))
    given = batch(views={"strong": draw(N, 1, 8, 8, seed=5)})
    student = network(3)
    twin = TappedModel(copy.deepcopy(student))
    Task(student, loss, spec=OTHER)(given, None, PROGRESS)
    ((output, _, handed, _),) = loss.handed
    assert handed.inputs.shape == (N, *OTHER.shape) == handed.views["strong"].shape and handed.spec == OTHER
    twin(handed.inputs)  # batch statistics move in this order
    assert torch.equal(output.views["strong"].logits, twin(see(given.views["strong"], MADE, OTHER)).logits)


def test_in_bf16_the_network_computes_in_bf16_and_the_loss_in_fp32():
    student, loss, answer = pair("at + kd")
    given = batch()
    teacher, twin = answer(given.inputs), copy.deepcopy(student)
    terms = Task(student, loss, precision="bf16")(given, teacher, PROGRESS)
    with torch.autocast("cpu", torch.bfloat16):
        output = TappedModel(twin)(given.inputs, loss.needs.network)
    assert output.logits.dtype == torch.bfloat16 == output.stages[0].dtype
    by_hand = loss(output, teacher, given, PROGRESS)
    assert same(terms, by_hand) and {t.dtype for t in terms.values()} == {torch.float32}


def test_the_network_is_not_run_for_a_loss_that_runs_it_itself():
    calls, loss = [], Counted(Needs(output=False))
    student = nn.Linear(2, 2)
    student.register_forward_hook(lambda *_: calls.append(1))
    Task(student, loss)(Batch(draw(3, 2), LABELS[:3], ROWS[:3]), None, PROGRESS)
    assert calls == [] and loss.handed[0][0].logits.numel() == 0


def test_predictions_of_plain_training_are_averaged_and_none_of_initialisation():
    averages = PredictionAverages(N, 1.0, torch.device("cpu"))
    student = network().eval()
    task, given = Task(student, Counted(Needs()), predictions=averages), batch()
    task(given, None, Progress(0, 4, 3, initial=True))
    assert averages.rows is None
    task(given, None, PROGRESS)
    torch.testing.assert_close(averages.table(), student(given.inputs).softmax(dim=1))


def test_values_are_not_looked_at_in_a_step():
    task = Task(nn.Linear(2, 2), build_objective("brier", Setting(2)))
    given = Batch(torch.full((3, 2), float("nan")), torch.zeros(3, dtype=torch.int64), ROWS[:3])
    assert all(term.isnan() for term in task(given, None, PROGRESS).values())


def gradients(task, step, given, teacher):
    task.zero_grad()
    terms = step(given, teacher, PROGRESS)
    sum(terms.values()).backward()
    return terms, [p.grad for p in task.parameters()]


@pytest.mark.parametrize("method", ["kd", "at + kd", "vid"])
def test_compiled_it_gives_the_same_terms_and_gradients(method):
    student, loss, answer = pair(method)
    given = batch()
    teacher = answer(given.inputs)
    plain, compiled = Task(student, loss), Task(copy.deepcopy(student), copy.deepcopy(loss))
    graphs = []

    def backend(graph, example):
        graphs.append(graph)
        return graph.forward

    compiled.compile(backend=backend)
    for _ in range(2):  # a second time with what is compiled by then
        terms, expected = gradients(plain, plain, given, teacher)
        found, other = gradients(compiled, compiled, given, teacher)
        assert same(terms, found) and all(map(torch.equal, expected, other))
    assert graphs and all(map(torch.equal, student.state_dict().values(), compiled.network.state_dict().values()))
    assert list(plain.state_dict()) == list(compiled.state_dict())


@pytest.fixture
def group(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("method", ["kd", "at + kd", "vid"])
def test_distributed_over_one_process_it_gives_the_same_gradients(group, method):
    student, loss, answer = pair(method)
    given = batch()
    teacher = answer(given.inputs)
    plain, other = Task(student, loss), Task(copy.deepcopy(student), copy.deepcopy(loss))
    replica = other.distribute()
    terms, expected = gradients(plain, plain, given, teacher)
    found, averaged = gradients(other, replica, given, teacher)
    assert same(terms, found) and all(map(torch.equal, expected, averaged))


def test_a_replica_waits_for_no_parameter_that_a_step_leaves_out(group):
    student = MLP(C, input_shape=(1, 8, 8), widths=(4,))
    student.register_parameter("idle", nn.Parameter(torch.zeros(2)))
    task = Task(student, build_objective("cross_entropy", Setting(C)))
    replica = task.distribute()
    for _ in range(2):  # the second step would wait for ever, or raise
        sum(replica(batch(), None, PROGRESS).values()).backward()
    assert student.idle.grad is None and student.fc.weight.grad is not None


class Plain(nn.Module):
    """A network whose answer to an example hangs on no other example."""

    taps = Taps(stages=("maps",), head="fc")

    def __init__(self, width):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU())
        self.fc = nn.Linear(width, C)

    def forward(self, x):
        return self.fc(self.maps(x).mean((2, 3)))


def tiny():
    """Return a task whose terms are means over examples, with a loss that has parameters, and its whole batch."""
    torch.manual_seed(7)
    student, teacher = Plain(3), Plain(6)
    inputs = draw(8, 1, 6, 6)
    shapes = [tap_shapes(net, inputs)[1] for net in (student, teacher)]
    loss = build_method({"at": {"beta": 1.0}, "ctkd": None}, Setting(C, 8, *shapes, student, teacher))
    with torch.no_grad():
        answer = TappedModel(teacher)(inputs, loss.needs.teacher)
    return Task(student, loss), Batch(inputs, torch.arange(8) % C, torch.arange(8)), answer


def half_a_step(rank, meeting, folder):
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    task, whole, answer = tiny()
    rows = slice(4 * rank, 4 * rank + 4)
    given = Batch(whole.inputs[rows], whole.labels[rows], whole.indices[rows])
    teacher = Output(answer.logits[rows], stages=tuple(stage[rows] for stage in answer.stages))
    _, found = gradients(task, task.distribute(), given, teacher)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_processes_with_half_a_batch_each_have_the_gradients_of_the_whole(tmp_path):
    torch.multiprocessing.spawn(half_a_step, args=(tmp_path / "meeting", tmp_path), nprocs=2)
    task, whole, answer = tiny()
    _, expected = gradients(task, task, whole, answer)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(map(torch.equal, one, other)) and len(one) == len(expected) == 5
    for found, wanted in zip(one, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert any(float(g.abs().max()) > 1e-3 for g in expected)


def test_taps_may_be_named_by_hand():
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, C))
    loss = Counted(Needs(network=frozenset({"stages"})))
    Task(student, loss, taps=Taps(stages=("2",)))(batch(), None, PROGRESS)
    assert loss.handed[0][0].stages[0].shape == (N, 3) and loss.handed[0][3] is PROGRESS
