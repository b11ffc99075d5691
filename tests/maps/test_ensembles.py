"""Ensembles: the two means, their weights, and what must not move them."""

from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.probability import brier_score
from goodteacher.maps.ensembles import SPACES, fit_weights, mean_of

Z = torch.randn(3, 40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_mean_of_probabilities_by_hand():
    z = torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]], dtype=torch.float64)
    p = torch.tensor([1 / (1 + torch.e**-1), 1 / (1 + torch.e**3)])
    found = mean_of(z, torch.tensor([0.25, 0.75])).softmax(dim=-1)[0, 0]
    assert float(found) == pytest.approx(float(0.25 * p[0] + 0.75 * p[1]), rel=1e-6)


def test_the_mean_of_logits_is_the_geometric_mean():
    found = mean_of(Z, space="logits").softmax(dim=-1)
    slow = Z.softmax(dim=-1).prod(dim=0) ** (1 / 3)
    torch.testing.assert_close(found, slow / slow.sum(dim=-1, keepdim=True))


@pytest.mark.parametrize("space", SPACES)
def test_a_constant_added_to_one_members_rows_changes_nothing(space):
    moved = Z.clone()
    moved[1] += 7.0
    torch.testing.assert_close(mean_of(moved, space=space).softmax(-1), mean_of(Z, space=space).softmax(-1))


@pytest.mark.parametrize("space", SPACES)
def test_one_member_is_itself_and_order_does_not_matter(space):
    torch.testing.assert_close(mean_of(Z[:1], space=space).softmax(-1), Z[0].softmax(-1))
    w = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    turned = mean_of(Z.flip(0), w.flip(0), space=space)
    torch.testing.assert_close(turned.softmax(-1), mean_of(Z, w, space=space).softmax(-1))


@pytest.mark.parametrize("space", SPACES)
def test_extreme_and_half_logits_stay_finite(space):
    z = torch.tensor([[[1e4, -1e4, 0.0]], [[-1e4, 1e4, 0.0]]])
    assert mean_of(z, space=space).isfinite().all()
    assert mean_of(Z.half(), space=space).isfinite().all()


@pytest.mark.parametrize("space", SPACES)
def test_fitted_weights_are_at_a_minimum_on_the_simplex(space):
    y = Z[0].argmax(dim=-1)  # the first member is always right, the others by chance
    w = fit_weights(Z, y, space=space, prior=0.0)
    assert float(w.sum()) == pytest.approx(1) and (w >= 0).all()

    def score(weights):
        return float(brier_score(mean_of(Z, weights, space=space).softmax(-1), y).mean())

    rivals = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64)).sample((200,))
    assert score(w) <= min(score(r) for r in rivals) + 1e-6
    assert score(w) < score(torch.full((3,), 1 / 3, dtype=torch.float64)) - 1e-3


def test_members_that_are_the_same_get_equal_weights():
    w = fit_weights(Z[:1].expand(3, -1, -1), torch.zeros(40, dtype=torch.int64))
    torch.testing.assert_close(w, torch.full((3,), 1 / 3, dtype=torch.float64))


def test_mistakes():
    with pytest.raises(ShapeError, match=r"members: must have shape \(M, N, C\)"):
        mean_of(Z[0])
    with pytest.raises(ShapeError, match=r"weights: must be one per member, \(3,\)"):
        mean_of(Z, torch.ones(2))
    with pytest.raises(ConfigError, match="space"):
        mean_of(Z, space="votes")  # type: ignore[arg-type]
