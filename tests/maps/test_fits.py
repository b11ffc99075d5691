import json

import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.maps.fits import (
    FitLabelMix,
    FitTopK,
    FitVectorTemperature,
    LabelMix,
    Linear,
    TopK,
    VectorTemperature,
    fit_vector_temperature,
    project_to_simplex,
)
from goodteacher.maps.proxy_maps import FitProxy, Proxy
from goodteacher.maps.table import (
    FITTED,
    MAPS,
    Chain,
    FitChain,
    FitIdentity,
    FitTemperature,
    Identity,
    Temperature,
    fit_temperature,
    parse_map,
)
from goodteacher.maps.views import ViewAverage

P = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
ALL = [
    Identity(),
    Temperature(2.0),
    Linear(3.0),
    VectorTemperature((1.0, 2.0, 0.5, 1.5)),
    VectorTemperature((1.0, 2.0, 0.5, 1.5), (0.1, 0.0, -0.2, 0.3)),
    Proxy((0.3, -0.4)),
    Proxy(((0.3,), (0.1,), (-0.2,), (0.0,))),
    TopK(2),
    TopK(2, "drop"),
    LabelMix(0.3),
    ViewAverage(2, "logits"),
    Chain((Temperature(2.0), Chain((TopK(3), LabelMix(0.1))))),
    Chain((Temperature(2.0), Chain((ViewAverage(3), TopK(3))))),
]


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


def planted(temperatures, n=20000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(n, len(temperatures), generator=generator)
    z = z - z.mean(1, keepdim=True)
    return z, torch.multinomial((z / torch.tensor(temperatures)).softmax(1), 1, generator=generator).squeeze(1)


@pytest.mark.parametrize("score", ["brier", "nll"])
def test_planted_temperatures_are_found(score):
    want = [0.7, 1.0, 2.0, 3.0]
    z, y = planted(want)
    found, bias = fit_vector_temperature(z, y, score=score)
    assert found.tolist() == pytest.approx(want, rel=0.1) and bias.tolist() == [0.0] * 4


def test_a_planted_bias_is_found():
    z, y = planted([1.0, 2.0, 1.0])
    shifted = z - torch.tensor([0.8, 0.0, -0.3])
    shifted = shifted - shifted.mean(1, keepdim=True)
    fitted = FitVectorTemperature("nll", bias=True).fit(shifted, y)
    want = (z / torch.tensor([1.0, 2.0, 1.0])).softmax(1)
    assert (fitted(shifted).softmax(1) - want).abs().mean() < 0.02
    assert fitted.bias[0] > 0.3 > fitted.bias[2]


@pytest.mark.parametrize("score", ["brier", "nll"])
def test_a_temperature_each_is_no_worse_than_one_for_all(score):
    z, y = planted([0.5, 1.0, 4.0], n=500)
    own, one = FitVectorTemperature(score).fit(z, y), fit_temperature(z, y, score=score)

    def value(logits):
        log_p = log_soften(logits)
        return float((brier_score(log_p.exp(), y) if score == "brier" else nll(log_p, y)).mean())

    assert value(own(z.double())) < value(z.double() / one)


def test_the_prior_tames_separable_examples():
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


def test_the_largest_are_kept():
    spread, drop = TopK(2)(P.log()).softmax(1), TopK(2, "drop")(P.log()).softmax(1)
    assert spread[0].tolist() == pytest.approx([0.5, 0.3, 0.1, 0.1])
    assert drop[0].tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-30)
    for rest in ("spread", "drop"):
        torch.testing.assert_close(TopK(4, rest)(P.log()).softmax(1), P)
        torch.testing.assert_close(TopK(9, rest)(P.log()).softmax(1), P)
        extreme = TopK(2, rest)(torch.tensor([[1e4, -1e4, 0.0, 0.0]]))
        assert torch.isfinite(extreme).all()


def test_the_label_takes_its_share_and_only_where_it_is_given():
    mixed = LabelMix(0.2)(P.log(), torch.tensor([2]))
    assert mixed.softmax(1)[0].tolist() == pytest.approx([0.4, 0.24, 0.32, 0.04])
    z = P.log()
    assert LabelMix(0.2)(z) is z
    torch.testing.assert_close(LabelMix(0.0)(z, torch.tensor([2])).softmax(1), P)
    assert LabelMix(1.0)(z, torch.tensor([2])).softmax(1)[0].tolist() == pytest.approx([0, 0, 1, 0], abs=1e-30)
    with pytest.raises(ShapeError, match="labels"):
        LabelMix(0.2)(z, torch.tensor([4]))


@pytest.mark.parametrize("fitted", ALL, ids=lambda m: repr(m)[:40])
def test_a_state_goes_through_json_and_back(fitted):
    again = FITTED[type(fitted).__name__](**json.loads(json.dumps(fitted.state())))
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    y = torch.arange(5) % 4
    assert again == fitted
    assert torch.equal(again(z, y), fitted(z, y)) and torch.equal(again(z), fitted(z))
    assert torch.isfinite(fitted(z, y)).all()
    torch.testing.assert_close(fitted(z, y).softmax(1).sum(1), torch.ones(5))
    assert torch.equal(fitted(z, y), fitted(z)) != fitted.uses_labels


def test_every_map_by_its_name():
    z, y = planted([1.0, 2.0, 1.0], n=60)
    for name in MAPS:
        options = {"trials": 3, "order": 2} if name == "pt_proxy" else None
        fitted = parse_map({name: options}).fit(z, y)
        assert type(fitted).__name__ in FITTED and fitted(z, y).shape == z.shape


def test_a_chain_fits_each_map_on_what_those_before_make():
    z, y = planted([2.0, 2.0, 2.0], n=3000)
    chain = parse_map("vector_temperature + temperature + top_k").fit(z, y)
    assert [type(step).__name__ for step in chain.steps] == ["VectorTemperature", "Temperature", "TopK"]
    assert chain.steps[0] == FitVectorTemperature().fit(z, y)
    assert chain.steps[1].temperature == pytest.approx(1.0, abs=0.02)
    torch.testing.assert_close(chain(z), TopK(5)(chain.steps[1](chain.steps[0](z))))
    other = parse_map("temperature + vector_temperature").fit(z, y)
    assert other.steps[0].temperature == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ("temperature + top_k", FitChain({"temperature": FitTemperature(), "top_k": FitTopK()})),
        ({"temperature+top_k": None}, FitChain({"temperature": FitTemperature(), "top_k": FitTopK()})),
        (
            {"top_k + temperature": {"temperature": {"value": 3}, "top_k": {"k": 2}}},
            FitChain({"top_k": FitTopK(2), "temperature": FitTemperature(value=3.0)}),
        ),
        (
            {"identity + label_mix": {"label_mix": None}},
            FitChain({"identity": FitIdentity(), "label_mix": FitLabelMix()}),
        ),
        ({"vector_temperature": {"bias": True}}, FitVectorTemperature(bias=True)),
        ({"pt_proxy": {"search": "gradient", "order": 3}}, FitProxy(order=3, search="gradient")),
    ],
)
def test_parse_map(spec, want):
    got = parse_map(spec)
    assert got == want and repr(got) == repr(want)


def test_a_chain_written_down_with_its_options_is_read_again():
    from dataclasses import asdict

    first = parse_map({"top_k + label_mix": {"label_mix": {"weight": 0.3}}})
    again = parse_map(json.loads(json.dumps({"top_k + label_mix": asdict(first)}, sort_keys=True)))
    assert again == first and list(again.steps) == ["top_k", "label_mix"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("temperature + topk", "map: must be a known name, got 'topk'; did you mean 'top_k'?"),
        ("top_k + top_k", "map: may name each step once, got 'top_k + top_k'."),
        ({"temperature + top_k": {"linear": {}}}, "step of map 'temperature + top_k': must be a known name, got 'linear'"),
        ({"temperature + top_k": 3}, "map 'temperature + top_k': takes a mapping from step to options, got 3."),
        ({"temperature + top_k": {"top_k": {"n": 3}}}, "option of map 'top_k': must be one of its parameters, got 'n'"),
        ({"top_k": {"k": 0}}, "k: must be a number in [1, inf], got 0."),
        ({"top_k": {"rest": "keep"}}, "must be 'spread' or 'drop', got 'keep'."),
        ({"label_mix": {"weight": 2}}, "weight: must be a number in [0, 1], got 2.0."),
        ({"vector_temperature": {"score": "ece"}}, "must be 'brier' or 'nll', got 'ece'."),
    ],
)  # fmt: skip
def test_mistakes(spec, text):
    with pytest.raises(ConfigError) as caught:
        parse_map(spec)
    assert text in str(caught.value)


def test_direct_mistakes():
    z, y = planted([1.0, 1.0], n=10)
    with pytest.raises(ConfigError, match="score"):
        fit_vector_temperature(z, y, score="ece")
    with pytest.raises(ConfigError, match="prior"):
        fit_vector_temperature(z, y, prior=-1.0)
