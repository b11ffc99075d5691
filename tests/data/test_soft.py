from dataclasses import replace

import numpy as np
import pytest
import torch

from goodteacher.base.errors import DataError
from goodteacher.data.arrays import problem_from_arrays
from goodteacher.data.problem import Problem, Split
from goodteacher.data.soft import settled

WHAT = "truth"


def softmax(rows, classes, seed=0, spread=3.0):
    return (torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)).double() * spread).softmax(dim=1)


@pytest.mark.parametrize("classes", [2, 100, 1000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("widened", [None, torch.float32, torch.float64])
def test_half_precision_is_brought_to_one_and_said(classes, dtype, widened):
    exact = softmax(500, classes)
    half = exact.to(dtype)
    rows, note = settled(half if widened is None else half.to(widened), torch.arange(500) + 7, WHAT)
    assert rows.dtype == torch.float32
    assert (rows.double().sum(dim=1) - 1).abs().max() < 1e-6
    assert (rows.double() - exact).abs().max() < (1e-3 if dtype == torch.float16 else 1e-2)
    sums = half.double().sum(dim=1)
    worst = int((sums - 1).abs().argmax())
    if (sums[worst] - 1).abs() > 1e-4:
        assert (
            note
            == f"truth: in half precision, rows divided by their sums (the worst is {sums[worst]:.6g} in row {worst + 7})"
        )


def test_a_softmax_that_was_computed_in_half_precision_passes():
    half = (torch.randn(2000, 1000) * 3).half().softmax(dim=1)
    assert (half.double().sum(dim=1) - 1).abs().max() > 1e-4
    assert settled(half, torch.arange(2000), WHAT)[1]


def test_tiny_probabilities_of_very_many_classes_may_be_lost():
    exact = torch.full((2, 50_000), 0.5 / 49_999, dtype=torch.float64)
    exact[:, 0] = 0.5
    lost = exact.clone()
    lost[:, 1:] = 2e-8  # which half precision has no number for
    lost[:, 0] = 1 - lost[:, 1:].sum(dim=1)
    rows, note = settled(lost.half(), torch.arange(2), WHAT)
    assert note and torch.allclose(rows.sum(dim=1), torch.ones(2))


def test_full_precision_stays_as_it_is_bit_by_bit():
    table = softmax(100, 10).float()
    table[3] *= 1 + 9e-5
    rows, note = settled(table, torch.arange(100), WHAT)
    assert rows is table and note == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_rows_that_are_wrong_are_named_with_their_sum(dtype):
    table = softmax(100, 10).to(dtype)
    table[17] *= 1.25
    with pytest.raises(
        DataError, match=r"sum to 1, got 1\.2[45]\d* in row 117, the worst of \d+ such rows; divide each row"
    ):
        settled(table, torch.arange(100) + 100, WHAT)


def test_decimals_that_were_cut_off_are_no_half_precision():
    with pytest.raises(DataError, match=r"got 0\.999 in row 0, the worst of 1 such rows; divide each row by its sum"):
        settled(torch.tensor([[0.333, 0.333, 0.333]]), torch.arange(1), WHAT)


def test_counts_are_votes():
    with pytest.raises(DataError, match=r"got 9 in row 1, .*; give counts as votes_train, votes_val or votes_test"):
        settled(torch.tensor([[3.0, 4.0], [4.0, 5.0]]), torch.arange(2), WHAT)


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "nan"), (float("inf"), "inf"), (-0.5, "-0.5")])
def test_numbers_that_are_no_probabilities_are_named(value, text):
    table = torch.full((4, 2), 0.5)
    table[2, 1] = value
    with pytest.raises(DataError, match=rf"non-negative and sum to 1, got {text} in row 2, column 1"):
        settled(table, torch.arange(4), WHAT)


def test_a_problem_takes_and_notes_them_once():
    p = softmax(40, 100).half().numpy()
    x, y = np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 100
    tables = {"p_train": np.tile(p, (5, 1)), "p_test": np.tile(p, (5, 1))}
    problem = problem_from_arrays({"x_train": x, "y_train": y, "x_test": x, "y_test": y, **tables}, validation=0.4)
    for part in (problem.train, problem.validation, problem.test):
        assert part.truth.dtype == torch.float32
        assert torch.allclose(part.truth, torch.from_numpy(tables["p_train"]).float()[part.indices], atol=1e-3)
        assert (part.truth.double().sum(dim=1) - 1).abs().max() < 1e-6
    assert len(problem.notes) == 3 and all("in half precision" in note for note in problem.notes)
    assert replace(problem, name="again").notes == problem.notes


def test_a_problem_of_ones_own_takes_them_too():
    part = Split(torch.randn(6, 4), torch.arange(6) % 2, torch.arange(6), torch.full((6, 2), 0.5).half())
    problem = Problem("own", part, part, part, ("a", "b"))
    assert problem.train.truth.dtype == torch.float32 and problem.notes == () and problem.fingerprint
