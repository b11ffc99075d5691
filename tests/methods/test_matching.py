from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.methods.matching import dist, ttm, wttm
from rows_logits import at_epoch, fake_step, method


def draw(seed=0, n=8, classes=5):
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def test_dist_all_but_vanishes_for_equal_networks():
    assert 0 <= float(dist(draw(), draw())) < 1e-4


def test_dist_of_opposite_networks():
    # With two classes p - 1/2 changes its sign, so that every correlation is -1: T² (2 β + 2 γ).
    z = draw(classes=2)
    assert float(dist(z, -z, beta=1.0, gamma=0.5, temperature=2.0)) == pytest.approx(4 * (2 + 1), rel=1e-5)


def test_dist_asks_for_less_than_equality():
    # Rows of the student that are mixtures of the teacher's with the uniform distribution correlate perfectly.
    q = draw().softmax(dim=1)
    mixed = (0.3 * q + 0.7 / 5).log()
    assert float(dist(mixed, q.log(), gamma=0.0, temperature=1.0)) < 1e-5


def test_dist_of_one_example_is_finite():
    z = draw(n=1).requires_grad_(True)
    loss = dist(z, draw(1, n=1), beta=0.0, gamma=2.0, temperature=4.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(32.0) and float(z.grad.abs().max()) == 0.0


@pytest.mark.parametrize("loss", [ttm, wttm])
def test_the_students_optimum_is_the_softened_teacher(loss):
    teacher = draw()
    student = (teacher / 3).requires_grad_(True)
    value = loss(student, teacher, temperature=3.0)
    value.backward()
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-12) and float(student.grad.abs().max()) < 1e-12


def test_wttm_weighs_smooth_teachers_more():
    student = draw(n=1)
    sure, unsure = torch.tensor([[1e3, 0.0, 0.0, 0.0, 0.0]]).double(), torch.zeros(1, 5).double()
    ratio = lambda teacher: float(wttm(student, teacher, temperature=4.0) / ttm(student, teacher, temperature=4.0))  # noqa: E731
    assert ratio(sure) == pytest.approx(1.0)
    assert ratio(unsure) == pytest.approx(5 ** (1 - 1 / 4))


def test_methods_have_their_published_weights():
    student, teacher, batch = fake_step()
    own, theirs = student.logits, teacher.logits
    expected = {
        "dist": (method("dist"), dist(own, theirs, beta=2.0, gamma=2.0, temperature=4.0)),
        "ttm": (method("ttm"), 45 * ttm(own, theirs, temperature=10.0)),
        "wttm": (method("wttm"), 4 * wttm(own, theirs, temperature=5.0)),
    }
    for name, (loss, value) in expected.items():
        terms = loss(student, teacher, batch, at_epoch(1))
        assert list(terms) == [name]
        torch.testing.assert_close(terms[name], value)
    heavy = method("dist", beta=1.0, intra=0.0, temperature=1.0)(student, teacher, batch, at_epoch(1))["dist"]
    torch.testing.assert_close(heavy, dist(own, theirs, beta=1.0, gamma=0.0, temperature=1.0))


@pytest.mark.parametrize(
    "build",
    [
        lambda: method("dist", beta=-1.0),
        lambda: method("dist", intra=-1.0),
        lambda: method("dist", temperature=0.0),
        lambda: method("ttm", alpha=-1.0),
        lambda: method("wttm", temperature=0.0),
        lambda: dist(draw(), draw(), beta=-1.0),
        lambda: dist(draw(), draw(), gamma=-1.0),
        lambda: ttm(draw(), draw(), temperature=0.0),
        lambda: wttm(draw(), draw(), temperature=-1.0),
    ],
)
def test_options_out_of_range(build):
    with pytest.raises(ConfigError, match="must be a number"):
        build()
