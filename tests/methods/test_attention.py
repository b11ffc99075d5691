from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.methods.attention import at
from rows_features import PAIRS, pair, teaches
from rows_logits import method


@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("form", ["code", "paper"])
def test_teaches(names, form):
    two = pair(*names)
    teaches(two, method("at", two.setting, form=form), {"at"})


def test_the_term_is_the_weighted_sum_over_stages():
    two = pair("resnet8", "resnet14")
    loss = method("at", two.setting)
    student, teacher = two.outputs(loss)
    total = sum(at(s, t) for s, t in zip(student.stages, teacher.stages, strict=True))
    torch.testing.assert_close(two.terms(loss)["at"], 1000 * total)


def test_what_is_undefined_is_refused():
    two = pair("resnet8", "resnet14")
    with pytest.raises(ConfigError, match="maps"):
        method("at", pair("mlp", "mlp").setting)
    with pytest.raises(ConfigError, match="power"):
        method("at", two.setting, power=0.5)
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        method("at", two.setting, form="papr")
    with pytest.raises(ConfigError, match="beta"):
        method("at", two.setting, beta=-1.0)


def test_dead_maps_have_finite_gradients():
    x = torch.zeros(2, 3, 4, 4, requires_grad=True)
    at(x, torch.randn(2, 3, 4, 4)).backward()
    assert torch.isfinite(x.grad).all()
