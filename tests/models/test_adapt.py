from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from goodteacher.base.errors import ConfigError
from goodteacher.base.input_spec import InputSpec
from goodteacher.base.types import Batch, Mixed
from goodteacher.data.augment import normalise
from goodteacher.data.mixing import mix
from goodteacher.models import adapt
from goodteacher.models.adapt import see, seen_by

DRAWS = np.random.default_rng(0)
RAW = torch.from_numpy(DRAWS.integers(0, 256, (4, 6, 8, 3)).astype(np.uint8))  # (N, H, W, C)
MADE = InputSpec("image", (3, 6, 8), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
SAME_SIZE = InputSpec("image", (3, 6, 8), (0.1, 0.2, 0.6), (0.5, 0.4, 0.1))
LARGER = InputSpec("image", (3, 12, 16), (0.1, 0.2, 0.6), (0.5, 0.4, 0.1))
SMALLER = InputSpec("image", (3, 3, 2), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def made(raw=RAW, spec=MADE):
    return normalise(raw, torch.tensor(spec.mean), torch.tensor(spec.std))


def batch(**changes):
    labels = torch.arange(len(RAW)) % 2
    return Batch(**{"inputs": made(), "labels": labels, "indices": torch.arange(len(RAW)), "spec": MADE, **changes})


def by_pixel(raw, spec):
    """Return what a network of a spec would be handed, from raw pictures of its size, number by number."""
    n, height, width, channels = raw.shape
    out = np.zeros((n, channels, height, width))
    for i in range(n):
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    out[i, c, y, x] = (int(raw[i, y, x, c]) / 255 - spec.mean[c]) / spec.std[c]
    return torch.from_numpy(out)


def test_normalisation_is_undone_and_done_again():
    seen = see(made(), MADE, SAME_SIZE)
    torch.testing.assert_close(seen.double(), by_pixel(RAW, SAME_SIZE), rtol=1e-5, atol=1e-5)
    assert seen.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("wanted", [LARGER, SMALLER])
def test_another_size_is_that_of_the_raw_pictures_resized(wanted):
    raw = RAW.permute(0, 3, 1, 2).double() / 255
    resized = functional.interpolate(raw, size=wanted.size, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (wanted.mean, wanted.std))
    seen = see(made(), MADE, wanted)
    assert seen.dtype == torch.float32 and seen.shape == (4, *wanted.shape)
    torch.testing.assert_close(seen.double(), (resized - mean) / std, rtol=1e-4, atol=1e-4)


def test_a_size_by_hand():
    grey = InputSpec("image", (1, 2, 2), (0.5,), (0.5,))
    point = InputSpec("image", (1, 1, 1), (0.0,), (2.0,))
    # 0, 1, 0.2 and 0.8 average to 0.5, which is 0.25 deviations of 2.
    pixels = (torch.tensor([[[[0.0, 1.0], [0.2, 0.8]]]]) - 0.5) / 0.5
    assert see(pixels, grey, point).item() == pytest.approx(0.25)


def test_grey_is_shown_in_colour():
    grey = InputSpec("image", (1, 6, 8), (0.5,), (0.25,))
    raw = RAW[..., :1]
    seen = see(made(raw, grey), grey, SAME_SIZE)
    torch.testing.assert_close(seen.double(), by_pixel(raw.expand(-1, -1, -1, 3), SAME_SIZE), rtol=1e-5, atol=1e-5)


def test_vectors_are_normalised_as_wanted():
    own = InputSpec("vector", (2,), (1.0, 2.0), (2.0, 4.0))
    other = InputSpec("vector", (2,), (3.0, -2.0), (0.5, 1.0))
    # raw (3, -2) is (1, -1) for one and (0, 0) for the other.
    torch.testing.assert_close(see(torch.tensor([[1.0, -1.0]]), own, other), torch.zeros(1, 2))
    torch.testing.assert_close(see(torch.tensor([[0.0, 0.0]]), own, other), torch.tensor([[-4.0, 4.0]]))


def test_nothing_happens_to_inputs_of_ones_own():
    inputs = made()
    twin = InputSpec.read(MADE.stored())
    assert twin is not MADE and see(inputs, MADE, twin) is inputs


@pytest.mark.parametrize("cut", [False, True])
def test_a_mixture_stays_the_mixture_of_what_is_seen(cut):
    chosen = {"mixup": None, "cutmix": 1.0} if cut else {"mixup": 1.0, "cutmix": None}
    plain = batch()
    inputs, mixed = mix(plain.inputs, plain.labels, np.random.default_rng(3), **chosen)
    seen = seen_by(batch(inputs=inputs, mixed=mixed), SAME_SIZE)
    apart, again = mix(seen_by(plain, SAME_SIZE).inputs, plain.labels, np.random.default_rng(3), **chosen)
    assert 0 < mixed.share < 1 and seen.mixed is mixed and mixed.share == again.share
    torch.testing.assert_close(seen.inputs, apart, rtol=1e-5, atol=1e-5)


def test_a_resized_mixture_stays_one_too():
    plain, partners, share = made(), torch.tensor([2, 3, 0, 1]), 0.3
    mixed = Mixed(torch.zeros(4, dtype=torch.int64), share)
    seen = seen_by(batch(inputs=share * plain + (1 - share) * plain[partners], mixed=mixed), LARGER).inputs
    alone = see(plain, MADE, LARGER)
    torch.testing.assert_close(seen, share * alone + (1 - share) * alone[partners], rtol=1e-5, atol=1e-5)


def test_the_batch_itself_is_seen_by_a_network_of_its_spec():
    own = batch(views={"weak": made()})
    for wanted in (None, MADE, InputSpec.read(MADE.stored())):
        assert seen_by(own, wanted) is own
    bare = batch(spec=None)
    assert seen_by(bare, None) is bare and own.seen == {}


def test_each_spec_is_made_once_with_its_views(monkeypatch):
    calls = []
    monkeypatch.setattr(adapt, "see", lambda *given: calls.append(given[2]) or see(*given))
    rotated = made().repeat_interleave(4, dim=0)
    shared = batch(views={"weak": made().flip(3), "rotated": rotated})
    first = seen_by(shared, LARGER)
    assert seen_by(shared, InputSpec.read(LARGER.stored())) is first and calls == [LARGER] * 3
    other = seen_by(shared, SMALLER)
    assert other is not first and len(calls) == 6 and set(shared.seen) == {LARGER, SMALLER}
    assert torch.equal(first.views["weak"], see(made().flip(3), MADE, LARGER))
    assert torch.equal(first.views["rotated"], see(rotated, MADE, LARGER)) and len(first.views["rotated"]) == 16
    assert first.spec == LARGER and first.labels is shared.labels and first.indices is shared.indices
    assert seen_by(first, LARGER) is first and torch.equal(shared.inputs, made())


def test_views_keep_what_distinguishes_them():
    seen = seen_by(batch(views={"weak": made() * 0}), SAME_SIZE)
    # The mean of what was made, as it is normalised elsewhere: (0.5 - 0.1) / 0.5, (0.4 - 0.2) / 0.4, (0.3 - 0.6) / 0.1
    values = seen.views["weak"].mean(dim=(0, 2, 3))
    torch.testing.assert_close(values, torch.tensor([0.8, 0.5, -3.0]))


VECTORS = InputSpec("vector", (2,), (0.0, 0.0), (1.0, 1.0))


@pytest.mark.parametrize(
    ("inputs", "spec", "wanted", "received"),
    [
        (made(), MADE, InputSpec("image", (1, 6, 8), (0.0,), (1.0,)), r"images of shape \(1, 6, 8\)"),
        (torch.zeros(4, 2), VECTORS, InputSpec("vector", (3,), (0.0,) * 3, (1.0,) * 3), r"vectors of shape \(3,\)"),
        (made(), MADE, VECTORS, r"vectors of shape \(2,\)"),
        (torch.zeros(4, 2), VECTORS, MADE, r"images of shape \(3, 6, 8\)"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(inputs, spec, wanted, received):
    with pytest.raises(ConfigError, match=rf"^a network: must take the problem's .*, got {received}; "):
        seen_by(batch(inputs=inputs, spec=spec), wanted)


def test_a_batch_of_unknown_make_is_refused_in_a_sentence():
    said = "^a batch without an input spec: cannot be shown to a network that has one"
    with pytest.raises(ConfigError, match=said):
        seen_by(batch(spec=None), MADE)
