from __future__ import annotations

import math

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.probability import log_probabilities
from goodteacher.base.types import Output
from goodteacher.methods.filtered import filter_kd
from goodteacher.methods.logits import kd
from rows_logits import at_epoch, fake_step, method


def test_it_is_kd_from_the_logits_behind_the_table():
    student, teacher, _ = fake_step()
    for temperature in (1.0, 4.0):
        loss = filter_kd(student.logits, teacher.logits.softmax(dim=1), temperature=temperature)
        torch.testing.assert_close(loss, kd(student.logits, teacher.logits, temperature=temperature))


def test_the_released_factor():
    student, teacher, _ = fake_step()
    q = teacher.logits.softmax(dim=1)
    torch.testing.assert_close(filter_kd(student.logits, q, factor=2.0), 2 * filter_kd(student.logits, q))


def test_zeros_in_the_table_count_for_nothing():
    student = torch.zeros(1, 3, requires_grad=True)
    for temperature in (0.5, 1.0):
        loss = filter_kd(student, torch.tensor([[0.0, 1.0, 0.0]]), temperature=temperature)
        assert float(loss.detach()) == pytest.approx(temperature**2 * math.log(3))
    loss.backward()
    assert torch.isfinite(student.grad).all()


def test_the_table_gets_no_gradient_and_may_be_half_precise():
    student, teacher, _ = fake_step()
    q = teacher.logits.softmax(dim=1).requires_grad_(True)
    own = student.logits.clone().requires_grad_(True)
    loss = filter_kd(own, q)
    loss.backward()
    assert q.grad is None and own.grad is not None
    half = filter_kd(own, q.detach().to(torch.bfloat16))
    assert float(half.detach()) == pytest.approx(float(loss.detach()), rel=0.02)


def test_the_order_of_classes_does_not_matter():
    student, teacher, _ = fake_step()
    q, order = teacher.logits.softmax(dim=1), [3, 1, 4, 0, 2]
    torch.testing.assert_close(
        filter_kd(student.logits[:, order], q[:, order], temperature=2.0), filter_kd(student.logits, q, temperature=2.0)
    )


def test_the_method_reads_a_table_that_arrives_as_logits():
    student, _, batch = fake_step()
    q = torch.tensor([[0.5, 0.5, 0.0, 0.0, 0.0]] * 4)
    terms = method("filter")(student, Output(log_probabilities(q)), batch, at_epoch(1))
    assert list(terms) == ["filter"]
    torch.testing.assert_close(terms["filter"], filter_kd(student.logits, q))
    terms = method("filter", alpha=3.0, temperature=2.0, factor=2.0)(
        student, Output(log_probabilities(q)), batch, at_epoch(1)
    )
    torch.testing.assert_close(terms["filter"], 6 * filter_kd(student.logits, q, temperature=2.0))


def test_what_is_no_table_is_refused():
    z = torch.zeros(2, 3)
    for table in (torch.ones(2, 3), torch.tensor([[1.5, -0.5, 0.0]] * 2), torch.eye(3)[:1], torch.ones(2, 3).long()):
        with pytest.raises(ShapeError, match="probabilities"):
            filter_kd(z, table)
    for options in ({"temperature": 0.0}, {"factor": -1.0}, {"alpha": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            method("filter", **options)
    with pytest.raises(ConfigError, match="factor"):
        filter_kd(z, torch.full((2, 3), 1 / 3), factor=-1.0)
