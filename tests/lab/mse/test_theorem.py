"""The theorem's two identities: in the mean over labels, example by example, and in a tiny run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from goodteacher.data.gaussian import gaussian_problem
from goodteacher_lab.job import Job
from goodteacher_lab.mse.theorem import stops_of, theorem
from goodteacher_lab.mse.theorem_checks import (
    EXAMPLE,
    PAIR,
    SCORES,
    Case,
    Check,
    Gaps,
    check_of,
    combined,
    example_grid,
    gaps_of,
    less,
    rank_correlations,
)
from goodteacher_lab.sizes import SIZES
from goodteacher_lab.table import REPRODUCTIONS


@pytest.fixture(scope="module")
def truth():
    return torch.softmax(torch.randn(400, 3, generator=torch.Generator().manual_seed(0)).double(), dim=1)


@pytest.fixture(scope="module")
def logits():
    return torch.randn(400, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("score", SCORES)
def test_the_gap_vanishes_in_the_expectation_over_labels(truth, logits, score):
    expected = np.zeros(400)
    for label in range(3):
        g = gaps_of(logits, truth, torch.full((400,), label))
        expected += truth[:, label].numpy() * (g.excess[score] - g.distance[score])
    assert np.abs(expected).max() < 1e-12


@pytest.mark.parametrize("score", SCORES)
def test_z_is_standard_normal_over_draws_of_labels(truth, logits, score):
    draws = torch.Generator().manual_seed(2)
    zs = []
    for _ in range(400):
        labels = torch.multinomial(truth, 1, generator=draws).flatten()
        zs.append(check_of([gaps_of(logits, truth, labels)], score).z)
    assert abs(np.mean(zs)) < 4 / 20 and 0.85 < np.std(zs) < 1.15


def test_networks_of_one_draw_are_averaged_before_their_error_is_taken(truth, logits):
    labels = truth.argmax(dim=1)
    g = gaps_of(logits, truth, labels)
    one, twice = check_of([g], "brier"), check_of([g, g], "brier")
    assert twice.error == pytest.approx(one.error)  # and not divided by the root of two: the labels are the same
    both = combined([one, one])
    assert both.error == pytest.approx(one.error / 2**0.5) and both.difference == pytest.approx(one.difference)
    assert one.difference == pytest.approx(one.excess - one.distance)
    assert np.allclose(less(g, g).excess["log"], 0)


def test_a_check_has_the_p_of_the_normal_distribution():
    assert Check(0, 0, 1.96, 1.0).p == pytest.approx(0.05, abs=1e-3)
    assert Check(0, 0, -3.0, 1.5).z == -2


def case(k, problem, *, train, test):
    """A network whose excess is `train` on its own examples and right elsewhere."""
    right = dict.fromkeys(SCORES, (test, test))
    own = dict.fromkeys(SCORES, (train, test))
    return Case(500, 16, "Brier", k, problem, 0, {"train": own, "validation": right, "test": right})


def test_rank_correlations_are_within_draws():
    # Draws differ by far more than networks do: pooled, training scores would seem to rank.
    cases = [case(k, p, train=100 * p - k, test=100 * p + k) for p in (0, 1) for k in range(5)]
    ranks = rank_correlations(cases)
    assert ranks[500, "brier", "training examples", "test"].mean == pytest.approx(-1)
    assert ranks[500, "log", "all test examples", "train"].mean == pytest.approx(1)
    assert ranks[500, "log", "all test examples", "train"].n == 2


def test_the_two_estimates_are_ordered_differently():
    assert all(sum(v) == pytest.approx(1) for v in EXAMPLE.values())
    rows = {row[0]: [float(v) for v in row[2:]] for row in example_grid().rows}
    first, second = rows["estimate 1"], rows["estimate 2"]
    assert first[0] > second[0] > 0 and 0 < first[2] < second[2] and first[1] < second[1]
    assert first[1] - rows["p*"][1] == pytest.approx(first[2], abs=2e-4)


def test_networks_are_taken_at_three_epochs():
    assert stops_of(40) == (5, 13, 40) and stops_of(1) == (1,)
    offered = {str(n) for size in SIZES["mse/theorem"].values() for n in size.train}
    assert set(REPRODUCTIONS["mse/theorem"].choices["train"]) == offered


def test_a_tiny_run_holds_out_of_sample_and_fails_in_sample(tmp_path):
    found = theorem(Job(epochs=12, seeds=2, choices={"train": ("150",)}, out=tmp_path))
    held_out, pairs, training, ranks, example = found.grids
    assert len(held_out.rows) == len(training.rows) == 12 and len(pairs.rows) == 6 and len(example.rows) == 3
    by = {(c["split"], tuple(c["kind"]), c["score"]): c for c in found.data["checks"]}
    assert max(abs(c["z"]) for (split, _, _), c in by.items() if split == "test") < 4.5
    wide = by["train", (150, 256, "cross-entropy"), "brier"]
    assert wide["z"] < -10 and wide["excess"] < 0 < wide["distance"]
    pair = by["test", (150, 64, PAIR), "log"]
    apart = [by["test", (150, 64, name), "log"]["excess"] for name in ("Brier", "cross-entropy")]
    assert pair["excess"] == pytest.approx(apart[0] - apart[1])
    assert len(ranks.rows) == 6 and len(found.data["cases"]) == 3 * 2 * 3 * 2 * 2
    assert "held" in found.verdict and "vega" in next(iter(found.charts.values())) and json.dumps(found.data)


def test_gaps_are_of_the_truth_s_own_precision():
    test = gaussian_problem(train=60, validation=30, test=50).test
    g = gaps_of(test.truth.double().log(), test.truth, test.labels)
    assert all(np.abs(g.excess[s]).max() < 1e-5 and np.abs(g.distance[s]).max() < 1e-5 for s in SCORES)
    assert isinstance(g, Gaps)
