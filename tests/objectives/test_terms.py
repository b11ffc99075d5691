import copy
import math

import pytest
import torch
from torch import nn

from goodteacher.base.checks import trusted_values
from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.objectives.terms import (
    SCHEDULES,
    ConsistencyTable,
    conditional_information,
    consistency,
    lipschitz_penalty,
    negative_entropy,
    schedule_weight,
    top_score_difference,
)


def logits_of(*p):
    return torch.tensor(p, dtype=torch.float64).log()


def test_each_layer_counts_as_published():
    conv = nn.Conv2d(2, 3, 3)
    assert lipschitz_penalty(conv).item() == pytest.approx(conv.weight.abs().sum().item())
    norm = nn.BatchNorm2d(2, eps=1.0)
    norm.weight.data, norm.running_var = torch.tensor([2.0, -9.0]), torch.tensor([3.0, 80.0])
    assert lipschitz_penalty(norm).item() == pytest.approx(1.0)
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    assert lipschitz_penalty(layer).item() == 4.0
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.Sequential(nn.Dropout(), layer), nn.LayerNorm(2))
    assert lipschitz_penalty(net).item() == pytest.approx(conv.weight.abs().sum().item() + 1 + 4)


def test_networks_without_such_layers_count_nothing():
    assert lipschitz_penalty(nn.ReLU()).item() == 0
    assert lipschitz_penalty(nn.BatchNorm1d(3, track_running_stats=False)).item() == 0
    bare = nn.BatchNorm1d(3, affine=False, eps=0.0)
    bare.running_var = torch.tensor([4.0, 0.25, 1.0])
    assert lipschitz_penalty(bare).item() == 2


def test_the_gradient_goes_to_weights_and_scales_only():
    net = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(3, 2))
    net[1].weight.data = torch.tensor([1.0, -5.0, 2.0])
    lipschitz_penalty(net).backward()
    assert (
        torch.equal(net[0].weight.grad, net[0].weight.sign()) and net[0].bias.grad is None and net[3].bias.grad is None
    )
    assert net[1].weight.grad.tolist() == [0.0, pytest.approx(-1, abs=1e-4), 0.0] and net[1].bias.grad is None
    column = net[3].weight.abs().sum(dim=0).argmax()
    assert torch.equal(net[3].weight.grad[:, column], net[3].weight[:, column].sign())
    assert net[3].weight.grad.abs().sum() == 2


def test_half_precision_weights_are_added_up_in_float32():
    layer = nn.Conv2d(64, 64, 3).to(torch.bfloat16)
    got = lipschitz_penalty(layer)
    assert got.dtype == torch.float32 and got.item() == pytest.approx(
        layer.weight.double().abs().sum().item(), rel=1e-5
    )
    layer.weight.data[0] = torch.nan
    with pytest.raises(ShapeError, match="weight: must be finite"):
        lipschitz_penalty(layer)


def test_schedules_by_hand():
    at = lambda kind, epoch: schedule_weight(kind, epoch, 240, 2.0)  # noqa: E731
    assert [at(kind, 1) for kind in SCHEDULES] == [0.0] * 4
    assert at("linear", 2) == pytest.approx(2 * 2 / 240) and at("linear", 120) == 1
    assert at("cosine", 120) == pytest.approx(2 * math.cos(math.pi / 4))
    assert at("cycle", 120) == pytest.approx(2 * math.sqrt(0.75))
    assert [at("step", e) for e in (49, 50, 240)] == [0.0, 2.0, 2.0]
    assert [at(kind, 240) for kind in SCHEDULES] == [2.0] * 4


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("linaer", 1, 2, 1.0), "did you mean 'linear'"),
        (("linear", 0, 2, 1.0), "epoch: must be a number in"),
        (("linear", 3, 2, 1.0), "epoch"),
        (("step", 1, 49, 1.0), "schedule 'step': begins in epoch 50, got a training of 49 epochs"),
    ],
)
def test_schedules_refuse(arguments, text):
    with pytest.raises(ConfigError, match=text):
        schedule_weight(*arguments)


P1, P2, P3 = ((0.7, 0.2, 0.1), (0.1, 0.6, 0.3), (0.2, 0.2, 0.6))


def after(*predictions, table=None):
    table = table or ConsistencyTable(3, 3).double()
    losses = [table(logits_of(p), torch.tensor([1])).item() for p in predictions]
    return table, losses


def test_the_average_counts_the_first_epoch_twice():
    table, losses = after(P1, P2, P3)
    p1, p2, p3 = (torch.tensor(p, dtype=torch.float64) for p in (P1, P2, P3))
    torch.testing.assert_close(table.averages[1], (2 * p1 + p2 + p3) / 4)
    assert table.averages[[0, 2]].abs().sum() == 0 and table.visits.tolist() == [0, 3, 0]
    after_two = (2 * p1 + p2) / 3
    want = [0.0, (p2 - p1).square().sum().item(), (p3 - after_two).square().sum().item()]
    assert losses == pytest.approx(want)


def test_a_constant_prediction_stays_its_own_average():
    table, losses = after(P1, P1, P1, P1)
    torch.testing.assert_close(table.averages[1], torch.tensor(P1, dtype=torch.float64))
    assert losses == pytest.approx([0.0] * 4, abs=1e-15)


def test_an_example_left_out_of_the_first_epoch_starts_when_it_comes():
    table = ConsistencyTable(2, 3).double()
    z = logits_of(P1, P2)
    table(z[:1], torch.tensor([0]))
    loss = table(z.flip(0), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(consistency(z[1:], z[:1].softmax(1)).item() / 2)
    torch.testing.assert_close(table.averages[1], z[0].softmax(0))


def test_evaluation_mode_and_a_look_do_not_change_the_table():
    table, _ = after(P1)
    before = copy.deepcopy(table.state_dict())
    table.eval()(logits_of(P2), torch.tensor([1]))
    consistency(logits_of(P2), table.averages[1:2])
    assert all(torch.equal(value, before[name]) for name, value in table.state_dict().items())


def test_going_on_from_a_state_is_exact():
    straight, losses = after(P1, P2, P3, P2)
    first, _ = after(P1, P2)
    second = ConsistencyTable(3, 3).double()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    _, rest = after(P3, P2, table=second)
    assert rest == losses[2:] and torch.equal(second.averages, straight.averages)


def test_no_gradient_goes_into_the_table():
    table, _ = after(P1)
    z = logits_of(P2).requires_grad_()
    loss = table(z, torch.tensor([1]))
    again = table(z, torch.tensor([1]))
    (loss + again).backward()
    assert not table.averages.requires_grad and table.averages.grad is None and not list(table.parameters())
    p, old = z.detach().softmax(1), torch.tensor([P1], dtype=torch.float64)
    new = (2 * old + p) / 3
    d = 2 * (p - old) + 2 * (p - new)
    torch.testing.assert_close(z.grad, p * (d - (p * d).sum()))


def test_tables_check_what_they_get():
    table = ConsistencyTable(3, 3)
    assert table.memory_bytes() == 3 * 3 * 4 + 3 * 8
    with pytest.raises(ShapeError, match="indices: must be rows of a table of 3 examples, got values from 3 to 3"):
        table(torch.zeros(1, 3), torch.tensor([3]))
    with trusted_values(), pytest.raises(ShapeError, match=r"must have shapes \(N, 3\) and \(N,\)"):
        table(torch.zeros(1, 4), torch.tensor([0]))
    with pytest.raises(ShapeError, match="logits and averages: must have the same shape"):
        consistency(torch.zeros(2, 3), torch.zeros(1, 3))


def test_the_lead_of_the_first_class():
    z = logits_of((0.4, 0.3, 0.2, 0.1))
    assert top_score_difference(z, top=3).item() == pytest.approx(0.4 - 0.25)
    assert top_score_difference(z, top=9).item() == top_score_difference(z, top=4).item() == pytest.approx(0.2)
    z.requires_grad_()
    top_score_difference(z, top=2).backward()
    assert z.grad[0, 0] > 0 > z.grad[0, 1] and abs(float(z.grad[0, 2])) < float(z.grad[0, 1].abs())
    with pytest.raises(ConfigError, match="top"):
        top_score_difference(z, top=1)


def test_conditional_information_is_zero_where_a_class_has_one_prediction():
    z = logits_of((0.7, 0.3), (0.7, 0.3), (0.2, 0.8))
    y = torch.tensor([0, 0, 1])
    centres = torch.tensor([[0.7, 0.3], [0.2, 0.8]], dtype=torch.float64)
    assert conditional_information(z, y, centres).item() == pytest.approx(0, abs=1e-15)
    other = conditional_information(z, 1 - y, centres, reduction="none")
    assert (other > 0).all()


def test_centres_take_no_gradient_and_may_have_zeros():
    z = torch.tensor([[200.0, 0.0]], requires_grad=True)
    centres = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    loss = conditional_information(z, torch.tensor([0]), centres)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all() and centres.grad is None


@pytest.mark.parametrize(
    ("centres", "text"),
    [
        (torch.full((2, 3), 1 / 3), r"centres: must have shape \(2, 2\)"),
        (torch.ones(2, 2), "centres: every row must be non-negative and sum to 1"),
        (torch.zeros(2, 2), "sum to 1"),
        (torch.eye(2).long(), "floating-point"),
    ],
)
def test_centres_are_checked(centres, text):
    with pytest.raises(ShapeError, match=text):
        conditional_information(torch.zeros(1, 2), torch.tensor([0]), centres)


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_extreme_logits_stay_finite_against_centres(value):
    z = torch.tensor([[value, 0.0, 0.0]], requires_grad=True)
    loss = conditional_information(z, torch.tensor([1]), torch.eye(3))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()


def test_negative_entropy_from_even_to_sure():
    z = torch.tensor([[0.0, 0, 0, 0], [1e4, 0, 0, 0]])
    each = negative_entropy(z, reduction="none")
    assert each.tolist() == [pytest.approx(-1.3862943), 0.0]
    torch.testing.assert_close(negative_entropy(z), each.mean())


def test_the_gradient_of_negative_entropy_spreads_the_prediction():
    z = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    negative_entropy(z).backward()
    p = z.detach().softmax(1)
    torch.testing.assert_close(z.grad, p * (p.log() - (p * p.log()).sum()))
    assert z.grad[0, 0] > 0 > z.grad[0, 2]


def test_shapes_of_negative_entropy_are_checked():
    with pytest.raises(ShapeError, match=r"logits: must have shape \(N, C\)"):
        negative_entropy(torch.zeros(3))
