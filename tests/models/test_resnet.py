import pytest
import torch
from torch import nn
from torch.nn import functional as F

from goodteacher.models.resnet import BasicBlock, CifarResNet
from goodteacher.models.taps import TappedModel


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_block_by_hand() -> None:
    block = BasicBlock(1, 1, 1).eval()
    for conv in (block.conv1, block.conv2):
        nn.init.dirac_(conv.weight)
    x = torch.tensor([[[[-2.0, 3.0]]]])
    # Identity convolutions and untrained BN (up to its epsilon): relu(relu(x) + x).
    torch.testing.assert_close(block(x), torch.tensor([[[[0.0, 6.0]]]]), rtol=1e-4, atol=1e-4)


def test_block_projects_only_where_shapes_change() -> None:
    assert isinstance(BasicBlock(8, 8, 1).shortcut, nn.Identity)
    assert isinstance(BasicBlock(8, 8, 2).shortcut, nn.Sequential)
    assert isinstance(BasicBlock(8, 16, 1).shortcut, nn.Sequential)


def test_wide_stem_projects_in_the_first_stage() -> None:
    assert isinstance(CifarResNet(2, depth=8).stage1[0].shortcut, nn.Identity)
    assert isinstance(CifarResNet(2, depth=8, widths=(32, 64, 128, 256)).stage1[0].shortcut, nn.Sequential)


def test_stages_are_rectified_pre_activations(images: torch.Tensor) -> None:
    model = CifarResNet(5, depth=14).eval()
    out = TappedModel(model)(images, frozenset({"stages", "pre_activations", "embedding"}))
    for stage, before in zip(out.stages, out.pre_activations, strict=True):
        assert (before < 0).any()
        assert torch.equal(stage, F.relu(before))
    torch.testing.assert_close(out.embedding, out.stages[-1].mean((2, 3)))
    torch.testing.assert_close(out.logits, model.fc(out.embedding))


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = CifarResNet(100, depth=20)
    weight = model.stage3[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    assert torch.equal(model.bn1.weight, torch.ones(16))
    assert torch.equal(model.bn1.bias, torch.zeros(16))


def test_every_parameter_learns(images: torch.Tensor) -> None:
    model = CifarResNet(5, depth=8)
    F.cross_entropy(model(images), torch.tensor([0, 1])).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
