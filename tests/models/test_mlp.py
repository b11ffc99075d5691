import torch
from torch.nn import functional as F

from goodteacher.models.mlp import MLP
from goodteacher.models.taps import TappedModel


def test_by_hand() -> None:
    model = MLP(2, input_shape=(2,), widths=(2,))
    with torch.no_grad():
        model.hidden[0][0].weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 0.0]]))
        model.hidden[0][0].bias.copy_(torch.tensor([0.0, -1.0]))
        model.fc.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, -3.0]]))
        model.fc.bias.copy_(torch.tensor([0.5, 0.0]))
    # Hidden: relu(1 - 3), relu(2 - 1) = 0, 1.
    torch.testing.assert_close(model(torch.tensor([[1.0, 3.0]])), torch.tensor([[1.5, -3.0]]))


def test_images_are_flattened() -> None:
    model = MLP(3, input_shape=(1, 8, 8), widths=(16,))
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(model(x), model(x.flatten(1)))


def test_no_hidden_layer_is_linear() -> None:
    model = MLP(3, input_shape=(4,), widths=())
    a, b = torch.randn(2, 1, 4)
    torch.testing.assert_close(model(a + b), model(a) + model(b) - model.fc.bias)


def test_taps() -> None:
    model = MLP(3, input_shape=(4,), widths=(5, 6))
    out = TappedModel(model)(torch.randn(7, 4), frozenset({"stages", "pre_activations", "embedding"}))
    assert [s.shape for s in out.stages] == [(7, 5), (7, 6)]
    for stage, before in zip(out.stages, out.pre_activations, strict=True):
        assert (before < 0).any()
        assert torch.equal(stage, F.relu(before))
    assert torch.equal(out.embedding, out.stages[-1])
