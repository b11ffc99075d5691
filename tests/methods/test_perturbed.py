from __future__ import annotations

import math

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.methods.logits import kd
from goodteacher.methods.perturbed import ptloss
from goodteacher.methods.table import build_method
from rows import tensor
from rows_logits import at_epoch, fake_setting, fake_step, method

TEACHER = (0.6, 0.25, 0.1, 0.05)


def proxy(teacher, coefficients):
    """The optimum on the simplex, by bisection on λ and, inside, on each q_c: p_c g(q_c) = λ with g falling."""

    def slope(q):
        return 1 / q + sum((m + 1) * e * (1 - q) ** m for m, e in enumerate(coefficients))

    def solve(falling, low, high):
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if falling(middle) > 0 else (low, middle)
        return low

    def at(multiplier):
        return [solve(lambda q, p=p: p * slope(q) - multiplier, 1e-15, 1.0) for p in teacher]

    return at(solve(lambda multiplier: sum(at(multiplier)) - 1, 1e-6, 1e3))


def gradient_at(student_probabilities, coefficients):
    z = torch.tensor([student_probabilities], dtype=torch.float64).log().requires_grad_(True)
    teacher = torch.tensor([TEACHER], dtype=torch.float64).log()
    ptloss(z, teacher, coefficients=coefficients).backward()
    return z.grad


@pytest.mark.parametrize(
    ("coefficients", "expected"),
    [
        ((0.3, -0.4, 0.5), (0.6047, 0.2530, 0.0959, 0.0464)),
        ((0.7,), (0.6638, 0.2176, 0.0798, 0.0388)),
        ((0.0, 0.0), TEACHER),
    ],
)
def test_the_optimum_is_the_proxy_teacher(coefficients, expected):
    q = proxy(TEACHER, coefficients)
    assert q == pytest.approx(expected, abs=5e-5)
    # In p the gradient is proportional to 1 there; in the logits it is zero.
    assert float(gradient_at(q, coefficients).abs().max()) < 1e-12
    away = proxy(TEACHER, (-0.5,))
    assert float(gradient_at(away, coefficients).abs().max()) > 1e-3


def test_one_coefficient_has_a_closed_form():
    q = proxy(TEACHER, (0.7,))
    multiplier = TEACHER[0] / q[0] + 0.7 * TEACHER[0]
    assert q == pytest.approx([p / (multiplier - 0.7 * p) for p in TEACHER])


def test_the_series_it_perturbs():
    for p in (0.2, 0.5, 0.9):
        assert -sum((1 - p) ** m / m for m in range(1, 401)) == pytest.approx(math.log(p), abs=1e-8)
    # Taking off the coefficients 1/m leaves the tail of the series.
    student, teacher = tensor([0.4, 0.6]).log(), tensor([0.3, 0.7]).log()
    loss = ptloss(student, teacher, coefficients=[-1.0, -1 / 2, -1 / 3])
    tail = sum(q * (1 - p) ** m / m for q, p in ((0.3, 0.4), (0.7, 0.6)) for m in range(4, 401))
    entropy = -(0.3 * math.log(0.3) + 0.7 * math.log(0.7))
    assert float(loss) == pytest.approx(tail - entropy, abs=1e-10)


def test_coefficients_of_each_class():
    student, teacher, _ = fake_step()
    own, theirs = student.logits, teacher.logits
    shared = ptloss(own, theirs, coefficients=[0.2, -0.1])
    torch.testing.assert_close(ptloss(own, theirs, coefficients=torch.tensor([[0.2, -0.1]] * 5)), shared)
    one = torch.zeros(5, 2)
    one[3] = torch.tensor([0.2, -0.1])
    doubt = 1 - own.softmax(1)[:, 3]
    extra = (theirs.softmax(1)[:, 3] * (0.2 * doubt - 0.1 * doubt**2)).mean()
    torch.testing.assert_close(
        ptloss(own, theirs, coefficients=one), kd(own, theirs, temperature=1.0) + extra, rtol=1e-5, atol=1e-6
    )


def test_method():
    student, teacher, batch = fake_step()
    terms = method("ptloss")(student, teacher, batch, at_epoch(1))
    assert list(terms) == ["ptloss"]
    torch.testing.assert_close(terms["ptloss"], kd(student.logits, teacher.logits, temperature=1.0))
    built = build_method({"ptloss": {"coefficients": [[0.1, 0.2]] * 5, "alpha": 2}}, fake_setting())
    expected = 2 * ptloss(student.logits, teacher.logits, coefficients=[0.1, 0.2])
    torch.testing.assert_close(built(student, teacher, batch, at_epoch(1))["ptloss"], expected)


@pytest.mark.parametrize(
    "coefficients", [[], [[]], torch.zeros(4, 2), torch.zeros(5, 2, 1), 0.3, [float("nan")], [float("inf")]]
)
def test_bad_coefficients_are_refused(coefficients):
    student, teacher, _ = fake_step()
    with pytest.raises(ShapeError, match="coefficients"):
        ptloss(student.logits, teacher.logits, coefficients=coefficients)


def test_bad_options_are_refused():
    for coefficients in ((), (float("nan"),), ((0.1,), (0.1, 0.2)), ("a",)):
        with pytest.raises(ShapeError, match="coefficients"):
            method("ptloss", coefficients=coefficients)
    with pytest.raises(ConfigError, match="alpha"):
        method("ptloss", alpha=-1.0)
