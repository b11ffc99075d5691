"""Figure 1 of the toy: its sizes, correlations and verdict, and the whole at a tiny size."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from goodteacher.base.errors import TrainingError
from goodteacher.data.gaussian import gaussian_problem
from goodteacher_lab.job import Job
from goodteacher_lab.mse import toy as mse_toy
from goodteacher_lab.mse.toy import (
    PARTS,
    RECIPE,
    figure1,
    noise_targets,
    stack_of,
    train_stack,
)
from goodteacher_lab.mse.toy_panels import (
    BRIER,
    BRIER_SUM,
    CROSS_ENTROPY,
    NETWORKS,
    PERTURBED,
    SHARE,
    SLOW,
    Point,
    figure_charts,
    figure_grids,
    judge,
    panel_estimates,
    panel_rows,
    pooled,
)
from goodteacher_lab.mse.toy_verdict import figure_verdict
from goodteacher_lab.sizes import SIZES
from goodteacher_lab.table import REPRODUCTIONS


def test_budgets_have_the_paper_s_numbers():
    paper = SIZES["mse/figure1"]["paper"]
    assert (paper.shares, paper.halves, paper.teachers, paper.epochs, paper.test) == (100, 20, 10, 100, 90_000)
    assert (RECIPE.lr, RECIPE.momentum, RECIPE.weight_decay, RECIPE.batch_size) == (5e-4, 0.9, 0.0, 32)
    assert RECIPE.schedule == "constant" and REPRODUCTIONS["mse/figure1"].choices == {"targets": PARTS}
    problem = gaussian_problem(train=50, validation=10, test=10)
    targets = noise_targets(problem, paper, 0, PARTS)
    assert len(targets) == 220 and max(t.settings["share"] for t in targets[100:120]) < 0.5
    assert 0.9 < max(t.settings["share"] for t in targets[:100]) < 1
    assert noise_targets(problem, paper, 0, ("teachers",)) == []


def test_pairs_that_the_axes_order_differently_are_counted():
    # The last two dots: squared distance says 4th before 5th, cross-entropy the contrary, and the students follow the first.
    j = judge([1, 2, 3, 4, 5], [1, 2, 3, 5, 4], [0.9, 0.8, 0.7, 0.6, 0.5])
    assert (
        j.mse.mean == pytest.approx(-1) and j.ce.mean == pytest.approx(-0.9) and j.difference.mean == pytest.approx(0.1)
    )
    assert (j.disagree, j.right) == (1, 1.0) and j.between == pytest.approx(0.9)
    same = judge([1, 2, 3, 4], [2, 4, 6, 8], [0.9, 0.8, 0.7, 0.9])
    assert same.disagree == 0 and np.isnan(same.right) and same.difference.mean == 0


def dots(kind, count, *, lift=0.0):
    """Students that squared distance orders perfectly and cross-entropy not at all."""
    jumble = np.random.default_rng(1).permutation(count)
    of = {} if kind in (SHARE, PERTURBED) else {"mse": 0.1, "kl": 0.2, "accuracy": 0.7}
    return [
        Point(kind, 0.8 - 0.01 * k + lift * (1 + 0.1 * k), 0.01 * k - lift, float(jumble[k]), 0.1 * k, float(jumble[k]), {}, of)
        for k in range(count)
    ]  # fmt: skip


def test_the_verdict_says_which_distance_orders_and_which_teachers_are_better():
    points = [*dots(SHARE, 12), *dots(PERTURBED, 12), *dots(CROSS_ENTROPY, 4), *dots(BRIER, 4, lift=0.05)]
    said = figure_verdict([points])
    assert (
        said.count("squared distance orders better") == 6
        and "that it does not with cross-entropy was not refuted" in said
    )
    assert said.startswith("That accuracy falls with the squared distance held;")
    assert "(better students: held, n = 4 teachers of this draw, p 0.0004 after Holm)" in said
    assert "closer in squared distance" in said
    assert "+5.75" in said and "summed" not in said
    contrary = [*points[:28], *dots(BRIER, 4, lift=-0.05)]
    assert "better students: the contrary held" in figure_verdict([contrary])
    assert figure_verdict([points[:3]]) == "Too few dots to say anything."


def test_of_several_draws_the_draws_are_counted_and_not_their_teachers():
    draws = [[*dots(SHARE, 6), *dots(CROSS_ENTROPY, 4), *dots(BRIER, 4, lift=lift)] for lift in (0.04, 0.05, 0.07)]
    values = pooled(draws)
    assert values[BRIER]["student"] == pytest.approx([0.785 + 1.15 * lift for lift in (0.04, 0.05, 0.07)])
    said = figure_verdict(draws)
    assert "n = 3 draws, p" in said and "(n = 3 draws of the problem)" in said and "of this one draw" not in said
    key = ("as it should be", "noise alone")
    assert panel_estimates(draws)[key]["mse"].n == 3 and panel_estimates(draws[:1])[key]["mse"].n == 6


def test_panels_hold_the_dots_they_should():
    points = [*dots(SHARE, 5), *dots(PERTURBED, 6), *dots(CROSS_ENTROPY, 4), *dots(BRIER_SUM, 4)]
    rows = panel_rows(points)
    assert rows["as the paper drew it", "all"].mse.n == 9  # without the summed Brier teachers, which the paper has not
    assert rows["as it should be", "all"].mse.n == 13 and rows["as it should be", "teachers alone"].mse.n == 8
    assert rows["three perturbations at once", "noise alone"].mse.n == 6
    assert ("three perturbations at once", "all") not in rows
    charts = figure_charts(points)
    assert set(charts) == {"as the paper drew it", "as it should be", "three perturbations at once"}
    assert (
        json.loads(charts["as it should be"])["hconcat"][0]["encoding"]["x"]["title"] == "mean squared distance to p*"
    )
    one, several = figure_grids([points]), figure_grids([points, points])
    assert len(one) == 2 and len(several) == 3 and "n = 2" in several[1].title
    assert len(figure_grids([points[:11]])) == 1  # no teachers, no table of them


def test_a_stack_that_diverges_is_an_error(tmp_path):
    problem = gaussian_problem(train=64, validation=32, test=10)
    job, recipe = Job(out=tmp_path), RECIPE.model_copy(update={"epochs": 1, "lr": 1e30})
    stack = stack_of(mse_toy.networks(2, problem, 0, "student"), problem, problem.train.labels, recipe, job)
    with pytest.raises(TrainingError, match=r"training of students, network 1: stopped making sense in epoch 1"):
        train_stack(stack, "students", job)


@pytest.fixture
def small(monkeypatch):
    """The figure on fewer examples and networks."""
    sizes = SIZES["mse/figure1"]
    monkeypatch.setitem(sizes, "minutes", replace(sizes["minutes"], shares=5, teachers=2, perturbed=5, test=500))
    whole = mse_toy.gaussian_problem
    monkeypatch.setattr(mse_toy, "gaussian_problem", lambda **o: whole(**o, train=320, validation=100))


def test_a_tiny_figure_has_all_panels_and_repeats_itself(tmp_path, small):
    job = Job(epochs=2, seeds=1, out=tmp_path)
    found = figure1(job)
    (points,) = found.data["problems"]
    kinds = [p["kind"] for p in points]
    assert [kinds.count(k) for k in (SHARE, PERTURBED, *NETWORKS)] == [5, 5, 2, 2, 2, 2]
    assert len(found.grids) == 2 and len(found.charts) == 3 and json.dumps(found.data)
    brier, summed, fast, slow = (
        next(p for p in points if p["kind"] == k) for k in (BRIER, BRIER_SUM, CROSS_ENTROPY, SLOW)
    )
    # A smaller gradient or rate takes a network less far from where it began.
    assert brier["mse"] > summed["mse"] and slow["mse"] > fast["mse"]
    assert all(p["ce"] > found.data["entropy of p*"][0] for p in points)
    assert "(100 in the paper)" in found.departures[0]
    # What was trained is read again; a fresh folder trains it again; both give the same.
    assert figure1(job).data == found.data == figure1(replace(job, out=tmp_path / "fresh")).data


def test_parts_can_be_chosen(tmp_path, small):
    found = figure1(Job(epochs=1, choices={"targets": ("perturbed",)}, out=tmp_path))
    assert {p["kind"] for p in found.data["problems"][0]} == {PERTURBED}
    assert len(found.grids) == 1 and list(found.charts) == ["three perturbations at once"]
