import pytest
import torch
from torch import nn
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError
from goodteacher.models.resnet_large import Bottleneck, ResNet
from goodteacher.models.taps import TappedModel

MAPS = frozenset({"stem", "stages", "pre_activations", "embedding"})


def test_bottleneck_by_hand() -> None:
    block = Bottleneck(4, 4, 1).eval()
    nn.init.zeros_(block.conv3.weight)
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(block(x), F.relu(x))
    assert block.conv1.out_channels == 1


def test_bottleneck_strides_in_its_middle() -> None:
    block = Bottleneck(8, 16, 2)
    assert [c.stride[0] for c in (block.conv1, block.conv2, block.conv3)] == [1, 2, 1]
    assert isinstance(block.shortcut, nn.Sequential)
    assert block(torch.randn(2, 8, 6, 6)).shape == (2, 16, 3, 3)


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_stages_are_rectified_pre_activations(stem: str) -> None:
    model = ResNet(3, depth=18, stem=stem).eval()
    out = TappedModel(model)(torch.randn(1, 3, 32, 32), MAPS)
    for stage, before in zip(out.stages, out.pre_activations, strict=True):
        assert (before < 0).any()
        assert torch.equal(stage, F.relu(before))
    torch.testing.assert_close(out.embedding, out.stages[-1].mean((2, 3)))


def test_initialisation() -> None:
    torch.manual_seed(0)
    weight = ResNet(3, depth=18).stage3[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("depth", [18, 50])
def test_every_parameter_learns(depth: int) -> None:
    torch.manual_seed(0)
    model = ResNet(3, depth=depth, stem="imagenet")
    F.cross_entropy(model(torch.randn(4, 3, 64, 64)), torch.tensor([0, 1, 2, 0])).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_impossible_options() -> None:
    with pytest.raises(ConfigError, match="18, 34, 50"):
        ResNet(3, depth=20)
    with pytest.raises(ConfigError, match="did you mean 'imagenet'"):
        ResNet(3, depth=18, stem="imagent")
