import pytest
import torch
from torch import nn
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError
from goodteacher.models.taps import TappedModel
from goodteacher.models.wide_resnet import PreActivationBlock, WideResNet


def test_identity_passes_the_raw_map_and_projection_the_activated_one() -> None:
    same, wider = PreActivationBlock(1, 1, 1).eval(), PreActivationBlock(1, 2, 1).eval()
    nn.init.zeros_(same.conv2.weight)
    nn.init.zeros_(wider.conv2.weight)
    nn.init.ones_(wider.shortcut.weight)
    x = torch.tensor([[[[-2.0, 3.0]]]])
    assert torch.equal(same(x), x)
    torch.testing.assert_close(wider(x), torch.tensor([[[[0.0, 3.0]], [[0.0, 3.0]]]]), rtol=1e-4, atol=1e-4)


def test_stages_are_raw_and_pre_activations_their_next_normalisation() -> None:
    model = WideResNet(5, depth=16, width=2).eval()
    images = torch.randn(2, 3, 32, 32)
    out = TappedModel(model)(images, frozenset({"stem", "stages", "pre_activations", "embedding"}))
    assert torch.equal(out.stem, model.conv1(images))
    assert all((stage < 0).any() for stage in out.stages)
    norms = (model.stage2[0].bn1, model.stage3[0].bn1, model.bn1)
    for stage, before, norm in zip(out.stages, out.pre_activations, norms, strict=True):
        assert torch.equal(before, norm(stage))
    torch.testing.assert_close(out.embedding, out.pre_activations[-1].relu().mean((2, 3)))


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = WideResNet(10, depth=16, width=4)
    assert model.stage3[1].conv2.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert not model.fc.bias.any()


def test_every_parameter_learns() -> None:
    model = WideResNet(5, depth=16, width=1)
    F.cross_entropy(model(torch.randn(2, 3, 32, 32)), torch.tensor([0, 1])).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("depth", [15, 4, -2])
def test_impossible_depths(depth: int) -> None:
    with pytest.raises(ConfigError, match="6n"):
        WideResNet(2, depth=depth, width=1)


def test_impossible_width() -> None:
    with pytest.raises(ConfigError, match="width"):
        WideResNet(2, depth=16, width=0)
