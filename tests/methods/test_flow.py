from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.methods.flow import FSP, KDSVD, fsp, kdsvd
from rows_features import CROSS, DEEP, FAMILY, pair, teaches


def test_fsp_teaches_in_the_initialisation_only():
    two = pair(*FAMILY)
    method = FSP(two.setting, initial_epochs=3)
    assert method.needs.initial_epochs == 3
    assert method.needs.network == {"stem", "stages"}
    teaches(two, method, {"fsp"}, initial=True)
    assert two.terms(method) == {}


def test_kdsvd_teaches():
    two = pair(*FAMILY)
    teaches(two, KDSVD(two.setting), {"kdsvd"})
    teaches(two, KDSVD(two.setting, vectors=2), {"kdsvd"})


@pytest.mark.parametrize("names", [CROSS, DEEP])
@pytest.mark.parametrize("method", [FSP, KDSVD])
def test_unequal_widths_are_refused(names, method):
    with pytest.raises(ConfigError, match="equal widths"):
        method(pair(*names).setting)


def test_unequal_maps_are_refused_by_the_functions():
    x, y = torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, 4)
    for loss in (fsp, kdsvd):
        with pytest.raises(ShapeError, match="features"):
            loss(x, x, y, x)


def test_equal_networks_have_no_loss():
    a, b = torch.randn(3, 4, 6, 6), torch.randn(3, 5, 3, 3)
    assert float(fsp(a, b, a, b)) == 0.0
    assert float(kdsvd(a, b, a, b)) == pytest.approx(0.0, abs=1e-10)


def test_singular_vectors_of_deep_and_dead_maps_have_finite_gradients():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    first, second = draw(2, 8, 2, 2).relu(), draw(2, 40, 2, 2).relu()
    second[:, 3:] = 0
    first[0] = 0
    inputs = [x.requires_grad_() for x in (first, second)]
    kdsvd(*inputs, draw(2, 8, 2, 2), draw(2, 40, 2, 2)).backward()
    assert all(torch.isfinite(x.grad).all() for x in inputs)


def test_too_few_stages_are_refused():
    setting = pair(*FAMILY).setting
    setting.network_shapes["stages"] = setting.network_shapes["stages"][:1]
    with pytest.raises(ConfigError, match="two stages"):
        KDSVD(setting)
    with pytest.raises(ConfigError, match="vectors"):
        KDSVD(pair(*FAMILY).setting, vectors=0)
