from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.methods.connectors import (
    Regressor,
    check_maps,
    check_widths,
    factor_decoder,
    factor_encoder,
    pool_to_smaller,
    wide,
)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((3, 8, 8), (5, 8, 8)),
        ((3, 8, 8), (5, 4, 4)),
        ((3, 4, 4), (5, 8, 8)),
        ((3, 8, 8), (5, 6, 6)),
        ((3, 8, 6), (5, 6, 6)),
    ],
)
def test_a_regressor_answers_the_teachers_shape(student, teacher):
    for activation in (True, False):
        out = Regressor(student, teacher, activation=activation)(torch.randn(2, *student))
        assert tuple(out.shape) == (2, *teacher)
        assert (float(out.detach().min()) >= 0) is activation


def test_a_regressor_cannot_enlarge_by_any_factor():
    with pytest.raises(ConfigError, match="twice as large"):
        Regressor((3, 4, 4), (5, 16, 16))


def test_pooling_goes_to_the_smaller_map_on_each_axis():
    a, b = torch.arange(16.0).view(1, 1, 4, 4), torch.ones(1, 1, 2, 8)
    first, second = pool_to_smaller(a, b)
    assert first.shape == second.shape == (1, 1, 2, 4)
    torch.testing.assert_close(first[0, 0, 0], (a[0, 0, 0] + a[0, 0, 1]) / 2)
    assert pool_to_smaller(a, a)[0] is a


def test_factors_keep_the_size_of_the_map():
    x = torch.randn(2, 6, 4, 4)
    factor = factor_encoder(6, 3, normalised=True)(x)
    assert factor.shape == (2, 3, 4, 4)
    assert factor_decoder(3, 6)(factor).shape == x.shape


def test_half_precision_is_widened_and_nothing_else():
    assert wide(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert wide(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


def test_checks_name_what_is_wrong():
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ShapeError, match=r"student must have shape|student: must have shape"):
        check_maps(student=x[0])
    with pytest.raises(ShapeError, match="empty"):
        check_maps(student=x[:, :0])
    with pytest.raises(ShapeError, match="same examples"):
        check_maps(student=x, teacher=x[:1])
    with pytest.raises(ShapeError, match="same number of features"):
        check_widths(student=x, teacher=x[:, :2])
