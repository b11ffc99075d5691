import math

import pytest
import torch

import references
from goodteacher.base.errors import ConfigError
from goodteacher.base.probability import (
    brier_score,
    cross_entropy,
    entropy,
    kl,
    log_probabilities,
    log_soften,
    nll,
    one_hot,
    reduce,
    soften,
    squared_distance,
)

Z = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], dtype=torch.float64)
Y = torch.tensor([0, 1])


def test_reduce():
    x = torch.tensor([1.0, 2.0, 6.0])
    assert reduce(x, "mean") == 3 and reduce(x, "sum") == 9 and reduce(x, "none") is x
    with pytest.raises(ConfigError, match=r"reduction: must be 'mean', 'sum' or 'none', got 'batchmean'\."):
        reduce(x, "batchmean")


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_softening_against_the_definition(temperature):
    want = [references.softmax(row, temperature) for row in Z.tolist()]
    assert soften(Z, temperature).tolist() == [pytest.approx(row, rel=1e-12) for row in want]
    torch.testing.assert_close(log_soften(Z, temperature).exp(), soften(Z, temperature))


def test_a_tensor_of_temperatures_is_broadcast():
    each = log_soften(Z, torch.tensor([[2.0], [0.5]], dtype=torch.float64))
    torch.testing.assert_close(each, torch.stack([log_soften(Z[0], 2.0), log_soften(Z[1], 0.5)]))


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan])
def test_temperatures_are_positive_numbers(temperature):
    with pytest.raises(ConfigError, match=r"temperature: must be a number in \(0, inf\]"):
        soften(Z, temperature)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_and_returned_in_float32(dtype):
    half = Z.to(dtype)
    for got in (log_soften(half), log_probabilities(half.softmax(1))):
        assert got.dtype == torch.float32
    torch.testing.assert_close(log_soften(half), log_soften(half.float()), rtol=0, atol=0)
    assert log_soften(Z).dtype == torch.float64


def test_extreme_logits_stay_finite():
    log_p = log_soften(torch.tensor([[1e4, -1e4]]))
    assert log_p.tolist() == [[0.0, -2e4]]
    assert kl(log_p, log_p).item() == 0 and entropy(log_p).item() == 0
    assert nll(log_p, torch.tensor([1])).item() == 2e4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_probabilities_of_a_zero_is_finite_and_comes_back_as_zero(dtype):
    p = torch.tensor([[1.0, 0.0], [0.25, 0.75]], dtype=dtype)
    log_p = log_probabilities(p)
    assert log_p.dtype == dtype and torch.isfinite(log_p).all()
    torch.testing.assert_close(log_p.softmax(1), p)
    assert log_p[0, 1] == math.log(torch.finfo(dtype).tiny)


def test_kl_by_hand_and_where_the_reference_has_no_mass():
    q, p = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.25, 0.25, 0.5]])
    assert kl(q.log(), p.log()).item() == pytest.approx(math.log(2))
    assert kl(p.log(), q.log()).item() == math.inf


def test_kl_is_cross_entropy_minus_entropy():
    log_q, log_p = log_soften(Z), log_soften(Z.flip(0))
    torch.testing.assert_close(kl(log_q, log_p), cross_entropy(log_q.exp(), log_p) - entropy(log_q))
    assert (kl(log_q, log_p) > 0).all()


def test_cross_entropy_counts_zero_times_minus_infinity_as_zero():
    target, log_p = torch.tensor([[1.0, 0.0]]), torch.tensor([[math.log(0.5), -math.inf]])
    assert cross_entropy(target, log_p).item() == pytest.approx(math.log(2))


def test_entropy_of_even_and_certain_rows():
    log_p = torch.tensor([[0.25] * 4, [1.0, 0.0, 0.0, 0.0]]).log()
    assert entropy(log_p).tolist() == [pytest.approx(math.log(4)), 0.0]


def test_nll_and_brier_by_hand():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]])
    assert nll(p.log(), Y).tolist() == [pytest.approx(-math.log(0.7)), pytest.approx(-math.log(0.2))]
    assert brier_score(p, Y).tolist() == [pytest.approx(0.09 + 0.04 + 0.01), pytest.approx(0.49 + 0.64 + 0.01)]
    assert brier_score(torch.tensor([[0.0, 1.0]]), torch.tensor([0])).item() == 2


def test_squared_distance_and_one_hot():
    assert squared_distance(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, -2.0]])).tolist() == [25.0]
    rows = one_hot(Y, 3)
    assert rows.tolist() == [[1, 0, 0], [0, 1, 0]] and rows.dtype == torch.float32
    assert brier_score(Z, Y).dtype == torch.float64
