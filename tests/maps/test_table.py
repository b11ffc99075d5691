import json
from pathlib import Path

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.maps.chain import Chain, FitChain
from goodteacher.maps.label_mix import FitLabelMix, LabelMix
from goodteacher.maps.linear import FitLinear, Linear
from goodteacher.maps.proxy_maps import FitProxy, Proxy
from goodteacher.maps.table import FITTED, MAPS, parse_map
from goodteacher.maps.target_map import FitIdentity, Identity
from goodteacher.maps.temperature import (
    FitTemperature,
    FitVectorTemperature,
    Temperature,
    VectorTemperature,
)
from goodteacher.maps.top_k import FitTopK, TopK
from goodteacher.maps.views import ViewAverage


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


def planted(temperatures, n=20000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(n, len(temperatures), generator=generator)
    z = z - z.mean(1, keepdim=True)
    return z, torch.multinomial((z / torch.tensor(temperatures)).softmax(1), 1, generator=generator).squeeze(1)


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
def test_parse_map_with_options_and_chains(spec, want):
    got = parse_map(spec)
    assert got == want and repr(got) == repr(want)


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
def test_mistakes_in_options_and_chains(spec, text):
    with pytest.raises(ConfigError) as caught:
        parse_map(spec)
    assert text in str(caught.value)


def test_every_map_names_its_source():
    assert all(row.source for row in MAPS.values())


def test_every_map_is_in_the_documents():
    root = Path(__file__).parent.parent.parent
    for page in ("METHODS.md", "docs/objectives_and_maps.md"):
        text = (root / page).read_text()
        assert [name for name in MAPS if f"`{name}`" not in text] == []
