from pathlib import Path

import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.maps.fits import FitLinear, Linear
from goodteacher.maps.table import (
    MAPS,
    TEMPERATURES,
    FitIdentity,
    FitTemperature,
    Identity,
    Temperature,
    fit_temperature,
    parse_map,
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


def test_every_map_is_in_the_documents():
    root = Path(__file__).parent.parent.parent
    for page in ("METHODS.md", "docs/teachers.md"):
        text = (root / page).read_text()
        assert [name for name in MAPS if f"`{name}`" not in text] == []
