import json

import pytest
import torch

from goodteacher.maps.table import parse_map
from goodteacher.maps.temperature import (
    FitVectorTemperature,
)
from goodteacher.maps.top_k import TopK


def planted(temperatures, n=20000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(n, len(temperatures), generator=generator)
    z = z - z.mean(1, keepdim=True)
    return z, torch.multinomial((z / torch.tensor(temperatures)).softmax(1), 1, generator=generator).squeeze(1)


def test_a_chain_fits_each_map_on_what_those_before_make():
    z, y = planted([2.0, 2.0, 2.0], n=3000)
    chain = parse_map("vector_temperature + temperature + top_k").fit(z, y)
    assert [type(step).__name__ for step in chain.steps] == ["VectorTemperature", "Temperature", "TopK"]
    assert chain.steps[0] == FitVectorTemperature().fit(z, y)
    assert chain.steps[1].temperature == pytest.approx(1.0, abs=0.02)
    torch.testing.assert_close(chain(z), TopK(5)(chain.steps[1](chain.steps[0](z))))
    other = parse_map("temperature + vector_temperature").fit(z, y)
    assert other.steps[0].temperature == pytest.approx(2.0, rel=0.1)


def test_a_chain_written_down_with_its_options_is_read_again():
    from dataclasses import asdict

    first = parse_map({"top_k + label_mix": {"label_mix": {"weight": 0.3}}})
    again = parse_map(json.loads(json.dumps({"top_k + label_mix": asdict(first)}, sort_keys=True)))
    assert again == first and list(again.steps) == ["top_k", "label_mix"]
