"""Every loss through the same checks; a new loss is a row in `conformance.py`."""

from __future__ import annotations

import math

import pytest
import torch

from conformance import ROWS
from goodteacher.base.errors import ConfigError, GoodteacherError, ShapeError
from rows import C, N, Row

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
    from goodteacher import losses

    covered = {row.covers or row.call.__name__ for row in ROWS}
    assert sorted(set(losses.__all__) - covered) == []
