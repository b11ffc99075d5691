from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.types import Setting
from goodteacher.methods.congruence import CC, cc, cc_kernel
from rows_logits import at_epoch, fake_setting, fake_step


def draw(n=6, width=7, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_batch_of_one_has_no_neighbours():
    f = draw(1).requires_grad_(True)
    loss = cc(f, draw(1, seed=1))
    loss.backward()
    assert float(loss.detach()) == 0.0 and float(f.grad.abs().max()) == 0.0
    assert torch.isfinite(cc_kernel(f, draw(1, seed=1)))


def test_cc_depends_on_scale_and_on_order():
    f, g = draw(), draw(seed=1)
    torch.testing.assert_close(cc(2 * f, 2 * g), 4 * cc(f, g))
    order = [3, 0, 5, 1, 4, 2]
    assert float(cc(f[order], g[order])) != pytest.approx(float(cc(f, g)), rel=1e-3)


def test_a_long_series_is_the_gaussian_kernel():
    f, g = draw(), draw(seed=1)
    kernel = lambda h: (-0.7 * torch.cdist(F.normalize(h), F.normalize(h)).square()).exp()  # noqa: E731
    exact = (kernel(f) - kernel(g)).square().mean()
    torch.testing.assert_close(cc_kernel(f, g, sharpness=0.7, order=20), exact)
    rough = abs(float(cc_kernel(f, g, sharpness=0.7, order=1)) - float(exact))
    better = abs(float(cc_kernel(f, g, sharpness=0.7, order=4)) - float(exact))
    assert better < rough


def test_the_method_trains_both_embeddings():
    student, teacher, batch = fake_step()
    for form, loss in (("pairs", cc), ("kernel", cc_kernel)):
        method = CC(fake_setting(), form=form)
        terms = method(student, teacher, batch, at_epoch(1))
        assert list(terms) == ["cc"]
        own, theirs = method.student(student.embedding), method.teacher(teacher.embedding)
        torch.testing.assert_close(terms["cc"], 0.02 * loss(own, theirs))
        terms["cc"].backward()
        weights = [method.student.weight, method.teacher.weight]
        assert all(float(w.grad.abs().max()) > 0 for w in weights)


def test_published_count_of_parameters():
    shapes = {"embedding": ((64,),)}
    method = CC(Setting(100, network_shapes=shapes, teacher_shapes=shapes))
    assert sum(p.numel() for p in method.parameters()) == 16640


def test_what_does_not_fit_is_refused():
    for loss in (cc, cc_kernel):
        for other in (draw(5), draw(width=8)):
            with pytest.raises(ShapeError, match="embedding"):
                loss(draw(), other)
    with pytest.raises(ConfigError, match="embedding"):
        CC(Setting(10))
    for options in (
        {"beta": -1.0},
        {"form": "triples"},
        {"dimensions": 0},
        {"sharpness": 0.0},
        {"order": 0},
    ):
        with pytest.raises(ConfigError, match=next(iter(options))):
            CC(fake_setting(), **options)
