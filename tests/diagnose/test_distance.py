import math

import pytest
import torch

from goodteacher.base.errors import ShapeError
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.diagnose.distance import distance_to_truth, distance_to_votes, scores_by_votes


def test_distance_to_truth_by_hand():
    z = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    truth = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    got = distance_to_truth(z, truth)
    assert got["mse"].tolist() == pytest.approx([0.125, 0.5])
    assert got["kl"].tolist() == pytest.approx([0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(2), math.log(2)])
    assert got["mse"].dtype == got["kl"].dtype == torch.float64


def test_temperature_is_that_of_the_teaching():
    z = torch.tensor([[2 * math.log(3.0), 0.0]])
    truth = torch.tensor([[0.75, 0.25]])
    at_two = distance_to_truth(z, truth, temperature=2.0)
    assert at_two["mse"].item() == pytest.approx(0, abs=1e-12) and at_two["kl"].item() == pytest.approx(0, abs=1e-7)
    assert distance_to_truth(z, truth)["mse"].item() == pytest.approx(2 * (0.9 - 0.75) ** 2)


def test_a_distribution_is_at_no_distance_from_itself():
    truth = torch.distributions.Dirichlet(torch.ones(4)).sample((50,))
    got = distance_to_truth(truth.log(), truth)
    assert got["mse"].max() < 1e-12 and got["kl"].abs().max() < 1e-6


def test_shapes_and_distributions_are_checked():
    with pytest.raises(ShapeError, match="logits and truth: must have the same shape"):
        distance_to_truth(torch.zeros(2, 3), torch.full((2, 2), 0.5))
    with pytest.raises(ShapeError, match="truth: every row must be non-negative and sum to 1"):
        distance_to_truth(torch.zeros(2, 2), torch.ones(2, 2))
    with pytest.raises(ShapeError, match="logits and votes"):
        distance_to_votes(torch.zeros(2, 3), torch.ones(2, 2))


def test_distance_to_votes_by_hand():
    z, votes = torch.tensor([[0.0, 0.0]]), torch.tensor([[3, 1]])
    got = distance_to_votes(z, votes)
    assert got["mse_raw"].item() == pytest.approx(0.125)
    assert got["mse"].item() == pytest.approx(0.125 - (1 - 0.625) / 3)
    assert got["kl"].item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    one_sided = distance_to_votes(z, torch.tensor([[4, 0]]))
    assert one_sided["mse"].item() == one_sided["mse_raw"].item() == pytest.approx(0.5)
    assert one_sided["kl"].item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("voters", [2, 5, 51])
def test_the_correction_takes_out_the_scatter_of_the_votes(voters):
    generator = torch.Generator().manual_seed(voters)
    n = 60000
    people = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    ballots = torch.multinomial(people.expand(n, 3), voters, replacement=True, generator=generator)
    votes = torch.nn.functional.one_hot(ballots, 3).sum(1)
    z = torch.tensor([[0.5, 0.3, -0.2]]).expand(n, 3)
    want = float(distance_to_truth(z[:1], people[None].float())["mse"])
    got = distance_to_votes(z, votes)
    scatter = float(1 - people.square().sum()) / voters
    for value, target in ((got["mse"], want), (got["mse_raw"], want + scatter)):
        assert abs(float(value.mean()) - target) < 4 * float(value.std()) / n**0.5
    assert scatter > 8 * float(got["mse_raw"].std()) / n**0.5


def test_scores_by_votes_are_means_of_the_scores_against_each_vote():
    generator = torch.Generator().manual_seed(0)
    z, votes = torch.randn(9, 4, generator=generator), torch.randint(4, (9, 4), generator=generator)
    votes[:, 0] += 1
    for t in (1.0, 4.0):
        got, log_q = scores_by_votes(z, votes, temperature=t), log_soften(z.double(), t)
        for n in range(9):
            ballots = [c for c in range(4) for _ in range(int(votes[n, c]))]
            rows, labels = log_q[n].expand(len(ballots), 4), torch.tensor(ballots)
            assert got["brier"][n].item() == pytest.approx(brier_score(rows.exp(), labels).mean().item())
            assert got["nll"][n].item() == pytest.approx(nll(rows, labels).mean().item())


def test_one_vote_is_a_label_and_none_is_a_mistake():
    z, y = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 3
    votes = torch.nn.functional.one_hot(y, 3)
    assert torch.allclose(scores_by_votes(z, votes)["brier"], brier_score(z.double().softmax(1), y))
    votes[2] = 0
    with pytest.raises(ShapeError, match="votes: must be at least one per example, got 0 for one of them"):
        scores_by_votes(z, votes)
    with pytest.raises(ShapeError, match="votes: must be at least two per example, got 1 for one of them"):
        distance_to_votes(z[:1], votes[:1])
    with pytest.raises(ShapeError, match="logits and votes"):
        scores_by_votes(z, votes[:, :2])


def test_what_the_scatter_of_votes_adds_to_the_divergence_is_the_same_for_every_teacher():
    generator = torch.Generator().manual_seed(3)
    people = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    ballots = torch.multinomial(people.expand(40000, 3), 3, replacement=True, generator=generator)
    votes = torch.nn.functional.one_hot(ballots, 3).sum(1)
    z = [torch.tensor([row]).expand(40000, 3) for row in ([0.5, 0.3, -0.2], [2.0, 0.0, 0.0])]
    found, true = [distance_to_votes(x, votes)["kl"] for x in z], [distance_to_truth(x[:1], people[None]) for x in z]
    off = found[0] - found[1] - (true[0]["kl"] - true[1]["kl"])
    assert abs(float(off.mean())) < 4 * float(off.std()) / 200
    assert float(found[0].mean()) > float(true[0]["kl"]) + 0.1
