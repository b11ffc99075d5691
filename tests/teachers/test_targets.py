import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.teachers.targets import (
    MAPS,
    TEMPERATURES,
    FitIdentity,
    FitLinear,
    FitTemperature,
    Identity,
    Linear,
    Temperature,
    fit_temperature,
    parse_map,
    project_to_simplex,
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


def test_maps_and_their_states():
    z, y = planted(2.0, n=2000)
    assert Identity()(z) is z and Identity().state() == {}
    assert torch.equal(Temperature(4.0)(z), z / 4) and Temperature(4.0).state() == {"temperature": 4.0}
    assert Linear(3.0).state() == {"target": 3.0}
    assert FitIdentity().fit(z, y) == Identity() and FitLinear(3.0).fit(z, y) == Linear(3.0)
    assert FitTemperature().fit(z, y) == Temperature(fit_temperature(z, y))
    assert FitTemperature("nll").fit(z, y) == Temperature(fit_temperature(z, y, score="nll"))
    assert FitTemperature(value=2.5).fit(z, y) == Temperature(2.5)


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        (None, FitIdentity()),
        ("temperature", FitTemperature()),
        ({"temperature": None}, FitTemperature()),
        ({"temperature": {"score": "nll", "value": 4}}, FitTemperature("nll", 4.0)),
        ({"linear": {"target": "3e1"}}, FitLinear(30.0)),
        ({"identity": {}}, FitIdentity()),
    ],
)
def test_parse_map(spec, want):
    got = parse_map(spec)
    assert got == want and repr(got) == repr(want)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("temprature", "map: must be a known name, got 'temprature'; did you mean 'temperature'?"),
        ({"linear": {}, "identity": {}}, "map: must name one map, got 2 names."),
        ({}, "map: must name one map, got 0 names."),
        ({"linear": 3}, "map 'linear': takes a mapping from option to value, got 3."),
        ({"linear": {"taget": 3}}, "option of map 'linear': must be one of its parameters, got 'taget'; did you mean 'target'?"),
        ({"identity": {"x": 3}}, "option of map 'identity': must be one of its parameters, got 'x'; it has no options."),
        ({"temperature": {"score": "ece"}}, "option 'score' of map 'temperature': must be 'brier' or 'nll', got 'ece'."),
        ({"temperature": {"value": 0}}, "value: must be a number in (0, inf], got 0.0."),
        ({"linear": {"target": -1}}, "target: must be a number in (0, inf], got -1.0."),
    ],
)  # fmt: skip
def test_mistakes(spec, text):
    with pytest.raises(ConfigError) as caught:
        parse_map(spec)
    assert str(caught.value) == text


def test_direct_mistakes():
    z, y = planted(1.0, n=10)
    with pytest.raises(ConfigError, match="score: must be a known name, got 'ece'"):
        fit_temperature(z, y, score="ece")
    with pytest.raises(ConfigError, match="prior"):
        fit_temperature(z, y, prior=-1.0)
    with pytest.raises(ConfigError, match="score"):
        FitTemperature("ece")


def test_every_map_names_its_source():
    assert all(row.source for row in MAPS.values())
