import pytest
import torch

from goodteacher.base.errors import ShapeError
from goodteacher.objectives.penalties import negative_entropy


def test_range_from_even_to_sure():
    z = torch.tensor([[0.0, 0, 0, 0], [1e4, 0, 0, 0]])
    each = negative_entropy(z, reduction="none")
    assert each.tolist() == [pytest.approx(-1.3862943), 0.0]
    torch.testing.assert_close(negative_entropy(z), each.mean())


def test_its_gradient_spreads_the_prediction():
    z = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    negative_entropy(z).backward()
    p = z.detach().softmax(1)
    torch.testing.assert_close(z.grad, p * (p.log() - (p * p.log()).sum()))
    assert z.grad[0, 0] > 0 > z.grad[0, 2]


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match=r"logits: must have shape \(N, C\)"):
        negative_entropy(torch.zeros(3))
