from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.methods.relations import pkt, rkd, rkd_angle, rkd_distance, sp
from rows_logits import at_epoch, fake_step, method

RELATIONS = [pkt, sp, rkd_distance, rkd_angle, rkd]


def draw(n=6, width=7, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_batch_of_one_has_no_relations(loss, dtype):
    f = draw(1).to(dtype).requires_grad_(True)
    value = loss(f, draw(1, 9, seed=1).to(dtype))
    value.backward()
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-6) and float(f.grad.abs().max()) < 1e-6


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_examples_are_finite(loss, value):
    # A student whose embedding has died answers zeros for all; two examples may also simply coincide.
    for f in (torch.full((5, 4), value), torch.cat([draw(3, 4).float(), torch.full((2, 4), value)])):
        f.requires_grad_(True)
        result = loss(f, draw(5, 4, seed=2).float())
        result.backward()
        assert torch.isfinite(result) and torch.isfinite(f.grad).all() and float(f.grad.abs().max()) < 1e4


@pytest.mark.parametrize("loss", RELATIONS)
def test_widths_may_differ(loss):
    assert torch.isfinite(loss(draw(width=3), draw(width=11, seed=1)))


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, rkd])
def test_rkd_sees_shape_alone(loss):
    rotation = torch.linalg.qr(draw(7, 7, seed=3)).Q
    f, g = draw(), draw(seed=1)
    torch.testing.assert_close(loss(2.5 * f @ rotation + 4, g), loss(f, g))


def test_rkd_weighs_25_and_50():
    f, g = draw(), draw(seed=1)
    torch.testing.assert_close(rkd(f, g), 25 * rkd_distance(f, g) + 50 * rkd_angle(f, g))
    torch.testing.assert_close(
        rkd(f, g, distance_weight=1.0, angle_weight=2.0), rkd_distance(f, g) + 2 * rkd_angle(f, g)
    )


def test_distances_of_near_and_far_examples_survive_float32():
    # Through the Gram matrix, a distance of 1e-2 at 1e4 from the origin would be lost.
    f = torch.tensor([[1e4, 0.0], [1e4 + 0.01, 0.0], [1e4, 0.03]])
    g = draw(3, 2, seed=1).float()
    assert float(rkd_distance(f, g)) == pytest.approx(float(rkd_distance(f.double(), g.double())), rel=1e-3)


def test_weights_of_the_methods():
    student, teacher, batch = fake_step()
    expected = {
        "pkt": (method("pkt"), 30000 * pkt(student.embedding, teacher.embedding)),
        "sp": (method("sp"), 3000 * sp(student.stages[-1], teacher.stages[-1])),
        "rkd": (method("rkd"), rkd(student.embedding, teacher.embedding)),
    }
    for name, (loss, value) in expected.items():
        terms = loss(student, teacher, batch, at_epoch(1))
        assert list(terms) == [name]
        torch.testing.assert_close(terms[name], value)
        tap = "stages" if name == "sp" else "embedding"
        assert loss.needs.network == loss.needs.teacher == {tap} and loss.needs.uses_teacher


def test_pkt_is_a_mean_over_pairs():
    # So that the same rows four times over weigh a quarter each.
    f, g = draw(), draw(seed=1)
    torch.testing.assert_close(pkt(f.repeat(4, 1), g.repeat(4, 1)) * 24, pkt(f, g) * 6, rtol=1e-4, atol=0)


def test_what_does_not_fit_is_refused():
    for loss in (pkt, rkd_distance, rkd_angle, rkd):
        with pytest.raises(ShapeError, match="embedding"):
            loss(draw(), draw(5))
        with pytest.raises(ShapeError, match="embedding"):
            loss(draw()[:, :, None], draw())
    with pytest.raises(ShapeError, match="map"):
        sp(draw(), draw(5))
    with pytest.raises(ShapeError, match="map"):
        sp(draw()[0], draw())
    builds = (
        ("pkt", {"beta": -1.0}),
        ("sp", {"beta": -1.0}),
        ("rkd", {"distance_weight": -1.0}),
        ("rkd", {"angle_weight": -1.0}),
    )
    for name, options in builds:
        with pytest.raises(ConfigError, match=next(iter(options))):
            method(name, **options)
    with pytest.raises(ConfigError, match="distance_weight"):
        rkd(draw(), draw(), distance_weight=-1.0)
