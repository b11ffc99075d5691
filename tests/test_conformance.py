"""Every loss, and every row of the tables, through the same checks; what is new is a row in `rows_*.py`."""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import replace

import pytest
import torch

import rows_maps
from conformance import OPTIONS, ROWS
from goodteacher import losses
from goodteacher.base.compose import build_parts, checked_options, option_defaults
from goodteacher.base.errors import ConfigError, GoodteacherError, ShapeError
from goodteacher.base.types import Loss
from goodteacher.maps.table import MAPS, fitted_from, parse_map, written_out
from goodteacher.maps.target_map import Fit, TargetMap, kind_of
from goodteacher.methods.preparation import PREPARATIONS
from goodteacher.methods.table import METHODS
from goodteacher.objectives.table import OBJECTIVES
from rows import C, N, Row
from rows_features import FAMILY, pair

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def having(*properties):
    """Rows that declare a property."""
    chosen = [row for row in ROWS if all(p in row.holds for p in properties)]
    return pytest.mark.parametrize("row", chosen, ids=lambda row: row.name)


def draw(row: Row, seed: int = 0, n: int = N):
    return row.make(torch.Generator().manual_seed(seed), n)


def call(row: Row, inputs, **more):
    return row.call(**inputs, **row.options, **more)


def tensors(row: Row, inputs):
    return {k: v for k, v in inputs.items() if k in (*row.student, *row.teacher)}


def with_gradient(row: Row, inputs):
    return {k: v.detach().clone().requires_grad_(k in (*row.student, *row.teacher)) for k, v in inputs.items()}


@rows
def test_value_worked_by_hand(row):
    assert float(call(row, row.value)) == pytest.approx(row.expected, rel=1e-6, abs=1e-9)


@rows
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_slow_reference(row, seed):
    inputs = draw(row, seed)
    assert float(call(row, inputs)) == pytest.approx(float(row.reference(**inputs, **row.options)), rel=1e-7, abs=1e-10)


@rows
def test_gradient_in_float64(row):
    inputs = draw(row, 3)
    for name in row.student:
        x = inputs[name].clone().requires_grad_(True)
        assert torch.autograd.gradcheck(
            lambda v, name=name: call(row, {**inputs, name: v}), (x,), eps=1e-6, atol=row.tolerance, rtol=1e-3
        )


@rows
def test_no_gradient_into_the_teacher(row):
    inputs = with_gradient(row, draw(row, 4))
    call(row, inputs).backward()
    for name in row.teacher:
        assert inputs[name].grad is None or float(inputs[name].grad.abs().max()) == 0.0
    for name in row.student:
        assert float(inputs[name].grad.abs().max()) > 0.0


@pytest.mark.parametrize("row", [r for r in ROWS if r.reduces], ids=lambda row: row.name)
def test_reductions_agree(row):
    inputs = draw(row, 5)
    each = call(row, inputs, reduction="none")
    assert each.shape == (N,)
    torch.testing.assert_close(call(row, inputs, reduction="mean"), each.mean())
    torch.testing.assert_close(call(row, inputs, reduction="sum"), each.sum())
    with pytest.raises(ConfigError, match="reduction"):
        call(row, inputs, reduction="median")


@having("batch")
def test_order_of_examples_does_not_matter(row):
    inputs = draw(row, 6)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    moved = {k: v[order] if isinstance(v, torch.Tensor) and v.shape[:1] == (N,) else v for k, v in inputs.items()}
    torch.testing.assert_close(call(row, moved), call(row, inputs))


@having("classes")
def test_order_of_classes_does_not_matter(row):
    inputs = draw(row, 7)
    order = torch.randperm(C, generator=torch.Generator().manual_seed(2))
    moved = {k: v[:, order] if k in tensors(row, inputs) else v for k, v in inputs.items()}
    if "labels" in moved:
        moved["labels"] = order.argsort()[inputs["labels"]]
    torch.testing.assert_close(call(row, moved), call(row, inputs))


@having("shift")
def test_a_constant_on_an_examples_logits_does_not_matter(row):
    inputs = draw(row, 8)
    for name in tensors(row, inputs):
        shift = torch.linspace(-3, 7, N, dtype=torch.float64)[:, None]
        torch.testing.assert_close(call(row, {**inputs, name: inputs[name] + shift}), call(row, inputs))


@having("scale")
def test_a_positive_factor_does_not_matter(row):
    inputs = draw(row, 9)
    for name in tensors(row, inputs):
        torch.testing.assert_close(
            call(row, {**inputs, name: inputs[name] * 3.7}), call(row, inputs), rtol=1e-5, atol=1e-7
        )


@having("zero")
def test_vanishes_when_the_student_equals_the_teacher(row):
    inputs = draw(row, 10)
    student, teacher = row.zero_pair
    inputs[student] = inputs[teacher].clone()
    inputs = with_gradient(row, inputs)
    loss = call(row, inputs)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-9)
    loss.backward()
    assert float(inputs[student].grad.abs().max()) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("row", [r for r in ROWS if r.extreme], ids=lambda row: row.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_inputs_stay_finite(row, dtype):
    for sign in (1.0, -1.0):
        inputs = draw(row, 11)
        for name in tensors(row, inputs):
            inputs[name] = (torch.sign(inputs[name]) * 1e4 * sign).to(dtype)
        inputs = with_gradient(row, inputs)
        loss = call(row, inputs)
        loss.backward()
        assert math.isfinite(float(loss.detach()))
        assert all(torch.isfinite(inputs[name].grad).all() for name in row.student)


@rows
def test_half_precision(row):
    inputs = draw(row, 12)
    exact = float(call(row, inputs))
    half = {k: v.to(torch.bfloat16) if k in tensors(row, inputs) else v for k, v in inputs.items()}
    assert float(call(row, half)) == pytest.approx(exact, rel=row.half, abs=row.half)


@rows
def test_smallest_batch(row):
    inputs = draw(row, 13, n=row.smallest_batch)
    assert math.isfinite(float(call(row, inputs)))


@rows
def test_nan_is_refused(row):
    for name in (*row.student, *row.teacher):
        inputs = draw(row, 14)
        inputs[name] = inputs[name].clone()
        inputs[name].view(-1)[0] = float("nan")
        with pytest.raises(ShapeError, match="finite"):
            call(row, inputs)


@rows
def test_integers_are_refused(row):
    for name in (*row.student, *row.teacher):
        inputs = draw(row, 15)
        inputs[name] = inputs[name].long()
        with pytest.raises(ShapeError, match="floating-point"):
            call(row, inputs)


@rows
def test_wrong_shapes_are_refused(row):
    name = row.student[0]
    inputs = draw(row, 16)
    for wrong in (
        inputs[name][0],
        inputs[name][:-1] if len(row.student + row.teacher) > 1 or "labels" in inputs else inputs[name][0],
    ):
        with pytest.raises(GoodteacherError, match="shape"):
            call(row, {**inputs, name: wrong})


@pytest.mark.parametrize("row", [r for r in ROWS if "labels" in r.value], ids=lambda row: row.name)
def test_wrong_labels_are_refused(row):
    inputs = draw(row, 17)
    for labels in (inputs["labels"].int(), inputs["labels"][:-1], inputs["labels"] + C, inputs["labels"] - C):
        with pytest.raises(ShapeError, match="labels"):
            call(row, {**inputs, "labels": labels})


def test_every_listed_loss_has_a_row():
    covered = {row.covers or row.call.__name__ for row in ROWS}
    assert sorted(set(losses.__all__) - covered) == []


def require_a_row(what, name, known, where):
    if name not in known:
        pytest.fail(f"{what} '{name}' has no conformance row: add one of that name, or in stands_for, to tests/{where}")


STOOD_FOR = {name for row in ROWS for name in (row.name, *row.stands_for)}
methods = pytest.mark.parametrize("name", METHODS)
objectives = pytest.mark.parametrize("name", OBJECTIVES)


@methods
def test_every_method_has_a_row(name):
    require_a_row("method", name, STOOD_FOR, "rows_*.py")


@objectives
def test_every_objective_has_a_row(name):
    require_a_row("objective", name, STOOD_FOR, "rows_teachers.py")


@pytest.mark.parametrize("name", MAPS)
def test_every_map_has_a_row(name):
    require_a_row("map", name, {row.name for row in rows_maps.ROWS}, "rows_maps.py")


def test_a_row_of_a_table_without_a_conformance_row_is_named():
    with pytest.raises(pytest.fail.Exception, match="method 'new' has no conformance row: add one of that name"):
        require_a_row("method", "new", STOOD_FOR, "rows_*.py")


def test_rows_stand_for_rows_of_the_tables():
    assert [n for row in ROWS for n in row.stands_for if n not in METHODS and n not in OBJECTIVES] == []
    assert [n for row in rows_maps.ROWS for n in row.name.split(" + ") if n not in MAPS] == []


def check_members(loss, row, setting):
    """What is true of every loss of a table, whatever it computes."""
    assert isinstance(loss, Loss) and row.source
    assert (type(loss).deployed is not Loss.deployed) == row.deploys
    assert (type(loss).prepare is not Loss.prepare) == loss.needs.prepares
    assert loss.memory_bytes() == 0 or loss.needs.examples
    own = {id(p) for network in (setting.network, setting.teacher) for p in network.parameters()}
    assert not own & {id(p) for p in loss.parameters()}, "the optimiser would hold the network's parameters twice"
    options = {k: v for k, v in option_defaults(row.build).items() if v is not inspect.Parameter.empty}
    written = json.loads(json.dumps(options))
    assert json.loads(json.dumps(checked_options("x", row.build, written))) == written


@methods
def test_a_method_on_two_networks(name):
    two = pair(*FAMILY)
    (loss,) = build_parts({name: OPTIONS.get(name, {})}, METHODS, two.setting)
    check_members(loss, METHODS[name], two.setting)
    prepared = [PREPARATIONS[p].build(two.setting.teacher, two.setting) for p in loss.needs.preparation]
    staged = loss.needs.initial_epochs > 0
    terms = two.terms(loss, step=100, initial=staged, prepared=prepared[0] if prepared else None)
    teaches_something(two, terms)
    assert not staged or two.terms(loss) == {}


@objectives
def test_an_objective_on_a_network(name):
    two = pair(*FAMILY)
    setting = replace(two.setting, student=two.setting.teacher, student_shapes=two.setting.teacher_shapes)
    (loss,) = build_parts({name: OPTIONS.get(name, {})}, OBJECTIVES, setting)
    check_members(loss, OBJECTIVES[name], setting)
    assert not loss.needs.uses_teacher
    if loss.needs.prepares:
        loss.prepare(setting.network, [two.batch])
    two.terms(loss)
    with torch.no_grad():  # what is compared with the past has none at first, and then the same
        next(setting.network.parameters()).mul_(1.1)
    terms = two.terms(loss, step=100)
    teaches_something(two, terms)


def teaches_something(two, terms):
    assert terms and all(term.shape == () and torch.isfinite(term) for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    first = next(two.setting.network.parameters()).grad
    assert torch.isfinite(first).all() and float(first.abs().max()) > 0
    assert all(p.grad is None for p in two.setting.teacher.parameters())


maps = pytest.mark.parametrize("row", rows_maps.ROWS, ids=lambda row: row.name)


@maps
def test_a_map_by_hand(row):
    fitted, z = fitted_from(row.kind, row.state), torch.tensor(row.logits, dtype=torch.float64)
    labels = torch.tensor([row.label])
    mapped = fitted.of_views(z[:, None], labels) if z.dim() == 2 else fitted(z[None], labels)
    assert mapped.softmax(dim=1)[0].tolist() == pytest.approx(row.want, abs=row.tolerance)
    assert fitted.views == (len(z) - 1 if z.dim() == 2 else 0)


@maps
def test_a_map_fitted_kept_and_read_again(row):
    generator = torch.Generator().manual_seed(0)
    z, y = 2 * torch.randn(60, len(row.want), generator=generator), torch.arange(60) % len(row.want)
    words = written_out({row.name: row.options})
    assert written_out(json.loads(json.dumps(words, sort_keys=True))) == words
    unfitted = parse_map(words)
    fitted = unfitted.fit(torch.stack([z] * (1 + unfitted.views)) if unfitted.views else z, y)
    assert kind_of(fitted) == row.kind and isinstance(fitted, TargetMap) and isinstance(unfitted, Fit)
    again = fitted_from(kind_of(fitted), json.loads(json.dumps(fitted.state())))
    assert again == fitted and torch.equal(again(z, y), fitted(z, y))
    order = torch.randperm(60, generator=generator)
    torch.testing.assert_close(fitted(z[order], y[order]), fitted(z, y)[order])
    assert torch.equal(fitted(z, y), fitted(z)) != fitted.uses_labels


@maps
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_map_of_extreme_logits_is_a_distribution(row, dtype):
    fitted = fitted_from(row.kind, row.state)
    z = torch.eye(len(row.want)) * 2e4 - 1e4
    mapped = fitted(z.to(dtype), torch.arange(len(z)))
    assert torch.isfinite(mapped).all()
    torch.testing.assert_close(mapped.float().softmax(dim=1).sum(dim=1), torch.ones(len(z)))
