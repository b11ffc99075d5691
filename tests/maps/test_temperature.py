import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.maps.linear import FitLinear, Linear
from goodteacher.maps.target_map import FitIdentity, Identity
from goodteacher.maps.temperature import (
    TEMPERATURES,
    FitTemperature,
    FitVectorTemperature,
    Temperature,
    VectorTemperature,
    fit_temperature,
    fit_vector_temperature,
)


def planted(temperature, n=40000, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(n, classes, generator=generator)
    return z, torch.multinomial((z / temperature).softmax(1), 1, generator=generator).squeeze(1)


@pytest.mark.parametrize("score", ["brier", "nll"])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_planted_temperature_is_found(score, temperature):
    z, y = planted(temperature)
    assert fit_temperature(z, y, score=score) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("score", ["brier", "nll"])
def test_the_fit_is_the_best_of_a_fine_grid(score):
    z, y = planted(2.0, n=300)
    grid = np.exp(np.linspace(*np.log(TEMPERATURES), 4001))

    def value(t):
        log_p = log_soften(z.double(), float(t))
        return float((brier_score(log_p.exp(), y) if score == "brier" else nll(log_p, y)).sum()) + np.log(t) ** 2 / 2

    best = grid[np.argmin([value(t) for t in grid])]
    assert fit_temperature(z, y, score=score) == pytest.approx(best, rel=0.003)


def test_the_two_scores_differ_where_the_map_does_not_fit():
    z, y = planted(1.0, n=4000)
    wrong = torch.arange(400)
    y[wrong] = (z[wrong].argmax(1) + 1) % 5
    assert fit_temperature(z, y, score="nll") > 1.1 * fit_temperature(z, y, score="brier")


@pytest.mark.parametrize("score", ["brier", "nll"])
def test_the_prior_tames_separable_examples(score):
    y = torch.arange(100) % 4
    z = 5 * torch.nn.functional.one_hot(y, 4).float()
    assert fit_temperature(z, y, score=score, prior=0.0) < 0.2
    assert 0.4 < fit_temperature(z, y, score=score) < 1
    assert fit_temperature(z, y, score=score, prior=100.0) > fit_temperature(z, y, score=score)


def test_the_prior_does_not_show_with_many_examples():
    z, y = planted(3.0, n=5000)
    assert fit_temperature(z, y) == pytest.approx(fit_temperature(z, y, prior=0.0), rel=0.005)


def test_temperatures_stay_in_their_bounds_and_leave_no_gradient():
    y = torch.arange(100) % 2
    z = torch.nn.functional.one_hot(y, 2).float().requires_grad_()
    low = fit_temperature(z, y, prior=0.0)
    high = fit_temperature(-z, y, prior=0.0)
    assert TEMPERATURES[0] <= low < 0.1 and 40 < high <= TEMPERATURES[1] * (1 + 1e-9)
    assert z.grad is None and isinstance(low, float)


def test_maps_and_their_states():
    z, y = planted(2.0, n=2000)
    assert Identity()(z) is z and Identity().state() == {}
    assert torch.equal(Temperature(4.0)(z), z / 4) and Temperature(4.0).state() == {"temperature": 4.0}
    assert Linear(3.0).state() == {"target": 3.0}
    assert FitIdentity().fit(z, y) == Identity() and FitLinear(3.0).fit(z, y) == Linear(3.0)
    assert FitTemperature().fit(z, y) == Temperature(fit_temperature(z, y))
    assert FitTemperature("nll").fit(z, y) == Temperature(fit_temperature(z, y, score="nll"))
    assert FitTemperature(value=2.5).fit(z, y) == Temperature(2.5)


def test_direct_mistakes():
    z, y = planted(1.0, n=10)
    with pytest.raises(ConfigError, match="score: must be a known name, got 'ece'"):
        fit_temperature(z, y, score="ece")
    with pytest.raises(ConfigError, match="prior"):
        fit_temperature(z, y, prior=-1.0)
    with pytest.raises(ConfigError, match="score"):
        FitTemperature("ece")


def planted_each(temperatures, n=20000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(n, len(temperatures), generator=generator)
    z = z - z.mean(1, keepdim=True)
    return z, torch.multinomial((z / torch.tensor(temperatures)).softmax(1), 1, generator=generator).squeeze(1)


@pytest.mark.parametrize("score", ["brier", "nll"])
def test_planted_temperatures_are_found(score):
    want = [0.7, 1.0, 2.0, 3.0]
    z, y = planted_each(want)
    found, bias = fit_vector_temperature(z, y, score=score)
    assert found.tolist() == pytest.approx(want, rel=0.1) and bias.tolist() == [0.0] * 4


def test_a_planted_bias_is_found():
    z, y = planted_each([1.0, 2.0, 1.0])
    shifted = z - torch.tensor([0.8, 0.0, -0.3])
    shifted = shifted - shifted.mean(1, keepdim=True)
    fitted = FitVectorTemperature("nll", bias=True).fit(shifted, y)
    want = (z / torch.tensor([1.0, 2.0, 1.0])).softmax(1)
    assert (fitted(shifted).softmax(1) - want).abs().mean() < 0.02
    assert fitted.bias[0] > 0.3 > fitted.bias[2]


@pytest.mark.parametrize("score", ["brier", "nll"])
def test_a_temperature_each_is_no_worse_than_one_for_all(score):
    z, y = planted_each([0.5, 1.0, 4.0], n=500)
    own, one = FitVectorTemperature(score).fit(z, y), fit_temperature(z, y, score=score)

    def value(logits):
        log_p = log_soften(logits)
        return float((brier_score(log_p.exp(), y) if score == "brier" else nll(log_p, y)).mean())

    assert value(own(z.double())) < value(z.double() / one)


def test_the_prior_tames_separable_examples_of_each_class():
    y = torch.arange(60) % 3
    z = 5 * torch.nn.functional.one_hot(y, 3).float()
    tame, _ = fit_vector_temperature(z, y)
    wild, _ = fit_vector_temperature(z, y, prior=0.0)
    assert (tame > 0.3).all() and (wild < tame).all() and (wild >= 1 / 50 - 1e-12).all()


def test_the_vector_map_is_blind_to_a_constant_and_equals_one_temperature():
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    each = VectorTemperature((1.0, 2.0, 0.5, 1.5))
    torch.testing.assert_close(each(z + 7).softmax(1), each(z).softmax(1))
    torch.testing.assert_close(VectorTemperature((2.0,) * 4)(z).softmax(1), (z / 2).softmax(1))
    assert each(z.to(torch.bfloat16)).dtype == torch.float32


def test_mistakes_in_the_fit():
    z, y = planted_each([1.0, 1.0], n=10)
    with pytest.raises(ConfigError, match="score"):
        fit_vector_temperature(z, y, score="ece")
    with pytest.raises(ConfigError, match="prior"):
        fit_vector_temperature(z, y, prior=-1.0)
