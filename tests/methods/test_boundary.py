from __future__ import annotations

import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError
from goodteacher.methods.boundary import AB, ab
from rows_features import PAIRS, pair, teaches


@pytest.mark.parametrize("names", PAIRS)
def test_teaches_in_the_initialisation_only(names):
    two = pair(*names)
    method = AB(two.setting)
    assert method.needs.initial_epochs == 30
    teaches(two, method, {"ab"}, initial=True)
    assert two.terms(method) == {}


def test_the_length_of_the_initialisation_is_an_option():
    setting = pair("resnet8", "resnet14").setting
    assert AB(setting, initial_epochs=2).needs.initial_epochs == 2
    assert AB.needs.initial_epochs == 30
    with pytest.raises(ConfigError, match="initial_epochs"):
        AB(setting, initial_epochs=0)


def test_equal_shapes_need_no_connector_and_shallow_maps_weigh_less():
    two = pair("resnet8", "resnet14")
    method = AB(two.setting, beta=2.0)
    assert all(isinstance(c, nn.Identity) for c in method.connectors)
    student, teacher = two.outputs(method)
    maps = zip((0.25, 0.5, 1.0), student.pre_activations, teacher.pre_activations, strict=True)
    expected = 2 * 0.003 * sum(w * ab(s, t) for w, s, t in maps)
    torch.testing.assert_close(two.terms(method, initial=True)["ab"], expected)


def test_only_the_teachers_signs_count():
    s, t = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(ab(s, t), ab(s, 9 * t))
    assert float(ab(2 * torch.sign(t), t)) == 0.0
