from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.methods.review import AttentionFusion, ReviewKD, hcl
from rows_features import PAIRS, pair, teaches


@pytest.mark.parametrize("names", [*PAIRS, ("resnet8x4", "wrn_16_1")])
def test_teaches(names):
    two = pair(*names)
    teaches(two, ReviewKD(two.setting), {"reviewkd"}, step=30)


def test_the_weight_grows_by_epochs_from_zero():
    two = pair("resnet8", "resnet14")
    method = ReviewKD(two.setting, beta=5.0)
    at = [float(two.terms(method, step=s, steps_per_epoch=2)["reviewkd"].detach()) for s in (0, 1, 2, 20, 40, 60)]
    assert at[0] == at[1] == 0.0
    full = at[4]
    assert at[2] == pytest.approx(full / 20) and at[3] == pytest.approx(full / 2) and at[5] == pytest.approx(full)
    at_once = ReviewKD(two.setting, warmup=0)
    assert float(two.terms(at_once)["reviewkd"].detach()) > 0


def test_deeper_levels_reach_shallower_ones():
    fusion = AttentionFusion((3, 8, 8), (5, 16, 16), 4, deepest=False)
    x, below = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4, requires_grad=True)
    answer, residual = fusion(x, below)
    assert answer.shape == (2, 5, 16, 16) and residual.shape == (2, 4, 16, 16)
    answer.sum().backward()
    assert float(below.grad.abs().max()) > 0
    deepest = AttentionFusion((3, 1, 1), (5, 1, 1), 4, deepest=True)
    assert deepest(torch.randn(2, 3, 1, 1), None)[0].shape == (2, 5, 1, 1)


def test_levels_pair_pre_activations_and_the_embeddings():
    method = ReviewKD(pair("shufflenetv1", "resnet8x4").setting)
    assert [f.size for f in method.fusions] == [(16, 16), (8, 8), (4, 4), (1, 1)]
    assert [f.size_out for f in method.fusions] == [(32, 32), (16, 16), (8, 8), (1, 1)]
    assert method.fusions[-1].attention is None


def test_single_places_are_compared_once():
    x = torch.randn(2, 3, 1, 1)
    torch.testing.assert_close(hcl(x, 0 * x), x.square().mean())


def test_options_are_checked():
    setting = pair("resnet8", "resnet14").setting
    with pytest.raises(ConfigError, match="warmup"):
        ReviewKD(setting, warmup=-1)
    with pytest.raises(ConfigError, match="maps"):
        ReviewKD(pair("mlp", "mlp").setting)
