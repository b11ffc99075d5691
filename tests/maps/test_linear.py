import numpy as np
import pytest
import torch

from goodteacher.maps.linear import Linear, project_to_simplex


def slow_projection(row):
    low, high = min(row) - 1, max(row)
    for _ in range(200):
        tau = (low + high) / 2
        low, high = (tau, high) if sum(max(v - tau, 0) for v in row) > 1 else (low, tau)
    return [max(v - tau, 0) for v in row]


@pytest.mark.parametrize("scale", [0.1, 1.0, 50.0])
def test_projection_against_bisection(scale):
    x = scale * torch.randn(50, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    got = project_to_simplex(x)
    np.testing.assert_allclose(got, [slow_projection(row) for row in x.tolist()], atol=1e-12)
    assert got.min() >= 0
    torch.testing.assert_close(got.sum(1), torch.ones(50, dtype=torch.float64))


def test_projection_is_idempotent_nearest_and_blind_to_a_constant():
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    q = project_to_simplex(x)
    torch.testing.assert_close(project_to_simplex(q), q)
    torch.testing.assert_close(project_to_simplex(x + 7), q)
    others = torch.distributions.Dirichlet(torch.ones(4, dtype=torch.float64)).sample((500,))
    assert ((x - q).square().sum(1)[:, None] <= (x[:, None] - others).square().sum(2) + 1e-12).all()


def test_projection_by_hand_and_of_huge_logits():
    assert project_to_simplex(torch.tensor([[0.6, 0.6], [3.0, 0.0], [0.2, 0.3]])).tolist() == [
        pytest.approx([0.5, 0.5]),
        [1.0, 0.0],
        pytest.approx([0.45, 0.55]),
    ]
    assert project_to_simplex(torch.tensor([[1e9, 1e9, 0.0]])).tolist() == [[0.5, 0.5, 0.0]]


def test_linear_map_hands_over_the_projection():
    z = torch.randn(20, 5, generator=torch.Generator().manual_seed(3)) * 10
    got = Linear(4.0)(z)
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got.softmax(1), project_to_simplex(z / 4))
    assert Linear(1.0)(torch.tensor([[1.0, 0.0]])).softmax(1).tolist() == [[1.0, pytest.approx(0, abs=1e-37)]]
