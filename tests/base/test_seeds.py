import itertools

import numpy as np
import pytest
import torch

from goodteacher.base.seeds import derive, numpy_stream, seeded, torch_stream


def test_derived_seeds_are_fixed_for_all_time():
    assert derive(0, "order", 1) == 610367673687440295
    assert derive(7, "init") == 6637165765339535468


def test_derived_seeds_differ_by_seed_name_counters_and_their_order():
    keys = [(s, n, *c) for s in range(4) for n in ("init", "order") for c in ((), (0,), (1,), (0, 1), (1, 0), (10,))]
    values = {derive(*key) for key in keys}
    assert len(values) == len(keys) and all(0 <= v < 2**63 for v in values)


@pytest.mark.parametrize("stream", [torch_stream, numpy_stream])
def test_streams_repeat_and_do_not_correlate(stream):
    def draw(*key):
        source = stream(*key)
        if isinstance(source, torch.Generator):
            return torch.randn(4000, generator=source).numpy()
        return source.standard_normal(4000)

    keys = [(0, "init"), (1, "init"), (0, "order"), (0, "order", 0), (0, "order", 1)]
    rows = [draw(*key) for key in keys]
    assert np.array_equal(rows[0], draw(*keys[0]))
    for a, b in itertools.combinations(rows, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(4000)


def test_seeded_repeats_and_puts_the_global_generator_back():
    torch.manual_seed(5)
    want = torch.rand(4)
    torch.manual_seed(5)
    with seeded(3, "init"):
        inside = torch.rand(4)
    assert torch.equal(torch.rand(4), want)
    with seeded(3, "init"):
        assert torch.equal(torch.rand(4), inside)
    with seeded(3, "init", 1):
        assert not torch.equal(torch.rand(4), inside)


def test_seeded_puts_back_after_an_error():
    torch.manual_seed(5)
    want = torch.rand(4)
    torch.manual_seed(5)
    with pytest.raises(KeyError), seeded(0, "init"):
        torch.rand(9)
        raise KeyError
    assert torch.equal(torch.rand(4), want)
