import math

import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.data.gaussian import _distinct_signs, bayes_distribution, gaussian_problem


def density(x, mean, variance):
    return math.prod(
        math.exp(-((a - b) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
        for a, b in zip(x, mean, strict=True)
    )


def test_bayes_distribution_against_the_densities():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).double()
    means = torch.tensor([[0.0, 1, 0, -1], [1, 1, 1, 1], [-1, 0, 0, 1]]).double()
    p = bayes_distribution(x, means, 2.0)
    for row, example in zip(p.tolist(), x.tolist(), strict=True):
        parts = [density(example, mean, 2.0) for mean in means.tolist()]
        assert row == pytest.approx([part / sum(parts) for part in parts], rel=1e-12)


def test_bayes_distribution_far_out_is_finite_and_exact():
    p = bayes_distribution(torch.tensor([[1e4], [-1e4]]), torch.tensor([[1.0], [-1.0]]), 1.0)
    assert p.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert bayes_distribution(torch.tensor([[300.0]]), torch.tensor([[1.0], [-1.0]]), 1.0)[
        0, 1
    ].item() == pytest.approx(math.exp(-600))


def test_bayes_distribution_refuses_shapes():
    with pytest.raises(ShapeError, match=r"x and means: must have shapes \(N, D\) and \(C, D\)"):
        bayes_distribution(torch.zeros(3, 2), torch.zeros(3, 4), 1.0)
    with pytest.raises(ConfigError, match="noise_variance"):
        bayes_distribution(torch.zeros(3, 2), torch.zeros(3, 2), 0.0)


def test_truth_is_calibrated_on_drawn_labels():
    # If p* is the distribution the labels were drawn from, (label frequency - p*) is noise of known size in every bin.
    test = gaussian_problem(train=10, validation=10, test=60000, dimension=6, seed=1).test
    p, hit = test.truth.double().flatten(), torch.nn.functional.one_hot(test.labels, 3).double().flatten()
    bins = (p * 10).long().clamp_max(9)
    for b in range(10):
        here = bins == b
        deviation = (hit[here] - p[here]).sum() / (p[here] * (1 - p[here])).sum().sqrt()
        assert here.sum() > 500 and abs(float(deviation)) < 4
    accuracy = (test.truth.argmax(1) == test.labels).double().mean()
    assert abs(float(accuracy - test.truth.double().max(1).values.mean())) < 4 * 0.5 / math.sqrt(60000)


def test_variance_and_means_are_as_documented():
    problem = gaussian_problem(train=30000, validation=10, test=10, mean_scale=4.0, noise_variance=6.0)
    for label in range(3):
        own = problem.train.inputs.tensor[problem.train.labels == label].double()
        assert torch.allclose(own.var(dim=0), torch.tensor(6.0).double(), rtol=0.1)
        nearest = (own.mean(dim=0) / 4).round() * 4
        assert torch.allclose(own.mean(dim=0), nearest, atol=0.15) and nearest.abs().max() == 4
    counts = torch.bincount(problem.train.labels) / 30000
    assert (counts - 1 / 3).abs().max() < 0.015


def test_splits_are_disjoint_rows_of_one_draw():
    problem = gaussian_problem(train=50, validation=20, test=30)
    rows = torch.cat([problem.train.indices, problem.validation.indices, problem.test.indices])
    assert rows.tolist() == list(range(100))
    assert all(split.truth.shape == (len(split), 3) for split in (problem.train, problem.validation, problem.test))
    assert problem.augment == "none" and problem.knows_truth


def test_seed_decides_everything():
    sizes = {"train": 50, "validation": 20, "test": 30}
    first = gaussian_problem(**sizes, seed=5).fingerprint
    assert first == gaussian_problem(**sizes, seed=5).fingerprint != gaussian_problem(**sizes, seed=6).fingerprint


def test_means_differ_even_where_chance_would_repeat_them():
    rows = _distinct_signs(9, 2, seed=0)
    assert sorted(map(tuple, rows.tolist())) == [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    assert np.array_equal(rows, _distinct_signs(9, 2, seed=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "classes: must be a whole number of at least 2, got 1"),
        ({"classes": 4, "dimension": 1}, r"classes: must be at most 3\^1 = 3"),
        ({"dimension": 0}, "dimension: must be"),
        ({"train": 2.5}, "train: must be a whole number"),
        ({"validation": 0}, "validation: must be"),
        ({"noise_variance": 0.0}, "noise_variance: must be"),
        ({"mean_scale": float("nan")}, "mean_scale: must be"),
    ],
)
def test_option_errors(options, message):
    with pytest.raises(ConfigError, match=message):
        gaussian_problem(**options)
