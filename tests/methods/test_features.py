from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.methods.features import FT, VID, FitNet, nst
from goodteacher.methods.preparation import PREPARATIONS
from rows_features import CROSS, DEEP, FAMILY, PAIRS, pair, teaches
from rows_logits import method


@pytest.mark.parametrize("names", PAIRS)
def test_teach(names):
    for name in ("fitnet", "nst", "vid"):
        two = pair(*names)
        teaches(two, method(name, two.setting), {name})


@pytest.mark.parametrize("names", [FAMILY, CROSS, DEEP])
@pytest.mark.parametrize("form", ["code", "paper"])
def test_ft_reads_the_prepared_teacher(names, form):
    two = pair(*names)
    prepared = PREPARATIONS["paraphraser"].build(two.setting.teacher, two.setting)
    teaches(two, FT(two.setting, form=form), {"ft"}, prepared=prepared)
    with pytest.raises(ConfigError, match="paraphraser"):
        two.terms(FT(two.setting))


def test_the_hint_is_counted_from_one():
    two = pair(*FAMILY)
    hint = FitNet(two.setting)
    assert hint.regressor.conv.in_channels == two.setting.network_shapes["stages"][1][0]
    for layer in (0, 4):
        with pytest.raises(ConfigError, match="layer"):
            FitNet(two.setting, layer=layer)


def test_networks_without_maps_are_refused():
    setting = pair("mlp", "mlp").setting
    for name in ("fitnet", "nst", "vid", "ft"):
        with pytest.raises(ConfigError, match="maps"):
            method(name, setting)


def test_the_variance_of_vid_starts_at_five_and_trains():
    vid = VID(2, 3)
    variance = F.softplus(vid.rho) + 1e-5
    torch.testing.assert_close(variance, torch.full((3,), 5.0))
    vid(torch.randn(4, 2, 4, 4), torch.randn(4, 3, 4, 4)).backward()
    assert float(vid.rho.grad.abs().min()) > 0
    assert "rho" in dict(vid.named_parameters())
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        vid(torch.randn(4, 3, 4, 4), torch.randn(4, 3, 4, 4))
    with pytest.raises(ConfigError, match="initial_variance"):
        VID(1, 1, initial_variance=0.0)


def test_vid_is_the_likelihood_of_a_gaussian_less_a_constant():
    vid = VID(2, 3, initial_variance=2.0)
    x, y = torch.randn(4, 2, 4, 4), torch.randn(4, 3, 4, 4)
    expected = -torch.distributions.Normal(vid.regressor(x), math.sqrt(2.0)).log_prob(y).mean()
    torch.testing.assert_close(vid(x, y), expected - 0.5 * math.log(2 * math.pi), rtol=1e-5, atol=1e-6)


def test_both_ways_of_nst_agree():
    generator = torch.Generator().manual_seed(0)
    wide_ = torch.randn(2, 20, 4, 4, generator=generator, dtype=torch.float64)
    narrow = torch.randn(2, 15, 4, 4, generator=generator, dtype=torch.float64)
    padded = F.pad(wide_, (0, 1)), F.pad(narrow, (0, 1))  # 20 places more than features, the same directions
    torch.testing.assert_close(nst(wide_, narrow), nst(*padded))
