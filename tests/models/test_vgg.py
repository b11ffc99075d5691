import pytest
import torch
from torch import nn
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError
from goodteacher.models.taps import TappedModel
from goodteacher.models.vgg import VGG

SMALL = ((4,), (6, 6), (8,), (10,), (12, 14))
MAPS = frozenset({"stem", "stages", "pre_activations", "embedding"})


@pytest.mark.parametrize(
    ("size", "heights"),
    [(32, [32, 16, 8, 4, 4]), (64, [64, 32, 16, 8, 4]), (48, [48, 24, 12, 6, 6]), (8, [8, 4, 2, 1, 1])],
)
def test_the_fourth_pool_is_for_64_only(size: int, heights: list[int]) -> None:
    out = TappedModel(VGG(3, blocks=SMALL).eval())(torch.randn(2, 3, size, size), MAPS)
    assert [m.shape[2] for m in (out.stem, *out.stages)] == heights
    assert out.logits.shape == (2, 3)


def test_stages_are_rectified_pre_activations() -> None:
    model = VGG(3, blocks=SMALL).eval()
    out = TappedModel(model)(torch.randn(2, 3, 32, 32), MAPS)
    assert [m.shape[1] for m in out.stages] == [6, 8, 10, 14]
    for stage, before in zip(out.stages, out.pre_activations, strict=True):
        assert (before < 0).any()
        assert torch.equal(stage, F.relu(before))
    torch.testing.assert_close(out.embedding, out.stages[-1].mean((2, 3)))


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = VGG(100, blocks=((64,), (64,), (64,), (64,), (256, 256)))
    last = model.stage4.block[3]
    assert last.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert not any(m.bias.any() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.03)


def test_every_parameter_learns() -> None:
    model = VGG(3, blocks=SMALL)
    F.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0])).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad.any() for name, p in model.named_parameters() if name.endswith("weight"))


@pytest.mark.parametrize("blocks", [((4,), (4,)), ((4,), (4,), (), (4,), (4,))])
def test_impossible_blocks(blocks: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ConfigError, match="five tuples"):
        VGG(3, blocks=blocks)
