import pytest
import torch
from torch import nn
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError
from goodteacher.models.mobilenet import InvertedResidual, MobileNetV1, MobileNetV2
from goodteacher.models.taps import TappedModel

MAPS = frozenset({"stem", "stages", "pre_activations", "embedding"})


def test_residual_only_between_equal_shapes() -> None:
    x = torch.randn(2, 4, 6, 6)
    for block, shape in [
        (InvertedResidual(4, 4, 1, 6), (2, 4, 6, 6)),
        (InvertedResidual(4, 4, 2, 6), (2, 4, 3, 3)),
        (InvertedResidual(4, 5, 1, 6), (2, 5, 6, 6)),
    ]:
        nn.init.zeros_(block.branch[-2].weight)
        expected = x if shape == (2, 4, 6, 6) else torch.zeros(shape)
        assert torch.equal(block(x), expected)


def test_bottlenecks_are_linear_and_their_own_pre_activations() -> None:
    out = TappedModel(MobileNetV2(3).eval())(torch.randn(2, 3, 32, 32), MAPS)
    assert all((stage < 0).any() for stage in out.stages)
    assert all(torch.equal(a, b) for a, b in zip(out.stages, out.pre_activations, strict=True))
    assert (out.stem >= 0).all()


def test_relu_does_not_saturate_at_six() -> None:
    model = MobileNetV2(3).eval()
    out = TappedModel(model)(100 * torch.randn(2, 3, 32, 32), MAPS)
    assert out.stem.max() > 6


def test_widths() -> None:
    assert MobileNetV2(3, width=0.1).fc.in_features == 1280
    assert MobileNetV2(3, width=1.5).fc.in_features == 1920
    assert MobileNetV2(3, expansion=2).stage2[0][0].branch[0].out_channels == 24


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = MobileNetV2(100)
    assert model.last[0].weight.std().item() == pytest.approx((2 / 1280) ** 0.5, rel=0.02)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not model.fc.bias.any()


@pytest.mark.parametrize("options", [{"width": 0.01}, {"expansion": 0}, {"stem_stride": 3}])
def test_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="MobileNetV2"):
        MobileNetV2(3, **options)


def test_v1_stages_are_rectified_pre_activations() -> None:
    out = TappedModel(MobileNetV1(3).eval())(torch.randn(1, 3, 64, 64), MAPS)
    for stage, before in zip(out.stages, out.pre_activations, strict=True):
        assert (before < 0).any()
        assert torch.equal(stage, F.relu(before))
    torch.testing.assert_close(out.embedding, out.stages[-1].mean((2, 3)))


@pytest.mark.parametrize("build", [MobileNetV1, MobileNetV2])
def test_every_parameter_learns(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = build(3)
    F.cross_entropy(model(torch.randn(4, 3, 64, 64)), torch.tensor([0, 1, 2, 0])).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
