import pytest
import torch

from goodteacher.maps.top_k import TopK

P = torch.tensor([[0.5, 0.3, 0.15, 0.05]])


def test_the_largest_are_kept():
    spread, drop = TopK(2)(P.log()).softmax(1), TopK(2, "drop")(P.log()).softmax(1)
    assert spread[0].tolist() == pytest.approx([0.5, 0.3, 0.1, 0.1])
    assert drop[0].tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-30)
    for rest in ("spread", "drop"):
        torch.testing.assert_close(TopK(4, rest)(P.log()).softmax(1), P)
        torch.testing.assert_close(TopK(9, rest)(P.log()).softmax(1), P)
        extreme = TopK(2, rest)(torch.tensor([[1e4, -1e4, 0.0, 0.0]]))
        assert torch.isfinite(extreme).all()
