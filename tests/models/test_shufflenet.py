import pytest
import torch
from torch import nn
from torch.nn import functional as F

from goodteacher.models.checkpoints import import_weights
from goodteacher.models.shufflenet import DownUnit, ShuffleNetV1, ShuffleNetV2, ShuffleUnit, SplitUnit
from goodteacher.models.taps import TappedModel
from references_models import Weights, mix, shuffle_v1, shuffle_v2

MAPS = frozenset({"stem", "stages", "pre_activations", "embedding"})


def test_shuffle_takes_channels_from_each_group_in_turn() -> None:
    channels = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert nn.ChannelShuffle(3)(channels).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(mix(channels, 3), nn.ChannelShuffle(3)(channels))


def test_unit_adds_or_stands_beside_the_input() -> None:
    x = torch.rand(2, 12, 4, 4)
    same, down = ShuffleUnit(12, 12, 1, 3).eval(), ShuffleUnit(12, 24, 2, 3).eval()
    for unit in (same, down):
        nn.init.zeros_(unit.branch[-2].weight)
    assert torch.equal(same(x), x)
    assert not down(x)[:, :12].any()
    torch.testing.assert_close(down(x)[:, 12:], F.avg_pool2d(x, 3, 2, 1))


def test_split_unit_leaves_half_of_the_channels_alone() -> None:
    x = torch.rand(2, 8, 4, 4)
    y = SplitUnit(8).eval()(x)
    assert torch.equal(y[:, ::2], x[:, :4])
    assert not torch.equal(y[:, 1::2], x[:, 4:])


def test_down_unit_halves_the_map() -> None:
    assert DownUnit(6, 10)(torch.randn(2, 6, 8, 8)).shape == (2, 10, 4, 4)


def test_v1_stages_are_rectified_pre_activations() -> None:
    out = TappedModel(ShuffleNetV1(3).eval())(torch.randn(2, 3, 32, 32), MAPS)
    for stage, before in zip(out.stages, out.pre_activations, strict=True):
        assert (before < 0).any()
        assert torch.equal(stage, F.relu(before))


def test_v2_pre_activations_are_read_before_the_shuffle() -> None:
    out = TappedModel(ShuffleNetV2(3).eval())(torch.randn(2, 3, 32, 32), MAPS)
    for stage, before in zip(out.stages, out.pre_activations, strict=True):
        half = stage.shape[1] // 2
        assert (before[:, :half] >= 0).all()
        assert (before[:, half:] < 0).any()
        assert torch.equal(stage, mix(F.relu(before), 2))


@pytest.mark.parametrize(("build", "reference"), [(ShuffleNetV1, shuffle_v1), (ShuffleNetV2, shuffle_v2)])
def test_gradients_agree_with_the_reference(build: type[nn.Module], reference: object) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weights = Weights(seed=4)
    reference(weights, images, classes=5)
    model = build(5).double().eval()
    import_weights(model, "shuffle", weights.state)
    leaf = weights.state["conv1.weight"].requires_grad_()
    (reference(weights, images, classes=5).logits ** 2).sum().backward()
    (model(images) ** 2).sum().backward()
    assert leaf.grad.abs().max() > 0
    torch.testing.assert_close(model.conv1.weight.grad.float(), leaf.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("build", [ShuffleNetV1, ShuffleNetV2])
def test_every_parameter_learns(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = build(3)
    F.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0])).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
