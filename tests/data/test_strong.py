import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from goodteacher.data.strong import OPERATIONS, rand_augment


def picture(side=12, channels=3, seed=0, low=20, high=230):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (side, side, channels), generator=generator).byte()


def apply(name, image, strength):
    batch = image.permute(2, 0, 1)[None].float()
    out = OPERATIONS[name](batch, torch.tensor([strength]))
    assert out.shape == batch.shape and out.min() >= 0 and out.max() <= 255
    return out[0].permute(1, 2, 0).numpy()


def pil(image):
    return Image.fromarray(image.numpy())


def enhanced(kind):
    return lambda image, s: np.asarray(getattr(ImageEnhance, kind)(pil(image)).enhance(1 + 0.9 * s))


# PIL truncates where the batched version keeps fractions: one grey level, two after a rounded grey image.
PIL = {
    "autocontrast": (lambda image, s: np.asarray(ImageOps.autocontrast(pil(image))), 1.0),
    "solarise": (lambda image, s: np.asarray(ImageOps.solarize(pil(image), 256 * (1 - abs(s)))), 0.0),
    "posterise": (lambda image, s: np.asarray(ImageOps.posterize(pil(image), 8 - round(4 * abs(s)))), 0.0),
    "brightness": (enhanced("Brightness"), 1.0),
    "colour": (enhanced("Color"), 2.0),
    "contrast": (enhanced("Contrast"), 2.0),
    "sharpness": (enhanced("Sharpness"), 2.0),
}


@pytest.mark.parametrize("strength", [-1.0, -1 / 3, 1 / 3, 0.8, 1.0])
@pytest.mark.parametrize("name", PIL)
def test_operations_on_colours_against_pil(name, strength):
    slow, tolerance = PIL[name]
    image = picture()
    want = slow(image, strength).astype(float)
    got = apply(name, image, strength)
    assert np.abs(got - want).max() <= tolerance
    assert np.abs(want - image.numpy()).max() > tolerance  # the case shows something


def test_smoothing_keeps_the_border():
    image = picture()
    smooth = np.asarray(pil(image).filter(ImageFilter.SMOOTH)).astype(float)
    got = apply("sharpness", image, -1 / 0.9)
    assert np.abs(got - smooth).max() <= 1
    assert np.array_equal(got[0], image.numpy()[0]) and not np.array_equal(got[1], image.numpy()[1])


def slow_equalise(channel):
    values, counts = np.unique(channel, return_counts=True)
    below = np.cumsum(counts) - counts[0]
    table = {v: 255 * b / max(below[-1], 1) for v, b in zip(values, below, strict=True)}
    return np.vectorize(table.get)(channel)


def test_equalise_against_the_cumulative_histogram():
    image = picture(low=60, high=90)
    want = np.stack([slow_equalise(image[..., c].numpy()) for c in range(3)], axis=-1)
    got = apply("equalise", image, 0.3)
    np.testing.assert_allclose(got, want, atol=1e-3)
    assert got.min() == 0 and got.max() == 255


@pytest.mark.parametrize("name", ["equalise", "autocontrast"])
@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_constant_image_has_nothing_to_spread(name, level):
    image = torch.full((6, 6, 3), level, dtype=torch.uint8)
    assert (apply(name, image, 0.3) == level).all()


def slow_warp(image, inverse):
    """Nearest neighbour on pixel centres about the middle; outside is mid-grey."""
    side = image.shape[0]
    out = np.full(image.shape, 128.0)
    for i in range(side):
        for j in range(side):
            x, y = j + 0.5 - side / 2, i + 0.5 - side / 2
            u, v = inverse(x, y, side)
            column, row = math.floor(u + side / 2), math.floor(v + side / 2)
            if 0 <= row < side and 0 <= column < side:
                out[i, j] = image[row, column]
    return out


WARPS = {
    "rotate": lambda s: (
        lambda x, y, side: (
            x * math.cos(s * math.pi / 6) - y * math.sin(s * math.pi / 6),
            x * math.sin(s * math.pi / 6) + y * math.cos(s * math.pi / 6),
        )
    ),
    "shear_x": lambda s: lambda x, y, side: (x + 0.3 * s * y, y),
    "shear_y": lambda s: lambda x, y, side: (x, y + 0.3 * s * x),
    "translate_x": lambda s: lambda x, y, side: (x + 0.45 * s * side, y),
    "translate_y": lambda s: lambda x, y, side: (x, y + 0.45 * s * side),
}


@pytest.mark.parametrize("strength", [-0.37, 0.37, 0.91])
@pytest.mark.parametrize("name", WARPS)
def test_operations_on_places_against_a_loop_over_pixels(name, strength):
    image = picture(11)
    want = slow_warp(image.numpy().astype(float), WARPS[name](strength))
    got = apply(name, image, strength)
    np.testing.assert_allclose(got, want, atol=1e-3)
    assert (want == 128).all(axis=-1).any() or name == "rotate"


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in ("autocontrast", "equalise", "solarise")])
def test_no_strength_leaves_the_image_alone(name):
    image = picture()
    np.testing.assert_allclose(apply(name, image, 0.0), image.numpy(), atol=1e-3)


def test_identity_and_solarise_of_nothing():
    image = picture()
    assert np.array_equal(apply("identity", image, 0.7), image.numpy())
    assert np.array_equal(apply("solarise", image, 0.0), image.numpy())


def draw(batch, seed=0, **options):
    return rand_augment(batch, torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_keep_shape_type_and_repeat(channels):
    batch = torch.stack([picture(8, channels, seed) for seed in range(30)])
    before = batch.clone()
    got = draw(batch)
    assert got.shape == batch.shape and got.dtype == torch.uint8
    assert torch.equal(got, draw(batch)) and not torch.equal(got, draw(batch, 1))
    assert torch.equal(batch, before)


def test_each_image_draws_its_own_operation_and_sign():
    n = 4000
    batch = picture().expand(n, 12, 12, 3).contiguous()
    got = draw(batch, operations=1, magnitude=10.0)
    kinds = {}
    for name in OPERATIONS:
        for sign in (-1, 1):
            out = torch.from_numpy(apply(name, picture(), sign * 10 / 30)).round().byte()
            kinds.setdefault(out.numpy().tobytes(), []).append((name, sign))
    found = dict.fromkeys(kinds, 0)
    for row in got:
        found[row.numpy().tobytes()] += 1
    for key, count in found.items():
        share = len(kinds[key]) / (2 * len(OPERATIONS))
        assert abs(count - n * share) < 4.5 * (n * share * (1 - share)) ** 0.5, kinds[key]


def test_operations_are_applied_one_after_another():
    batch = picture().expand(3000, 12, 12, 3).contiguous()
    assert torch.equal(draw(batch, operations=0), batch)
    one, two = ((draw(batch, operations=k) != batch).flatten(1).any(1).double().mean() for k in (1, 2))
    assert one < two < 1
    generator = torch.Generator().manual_seed(3)
    first = rand_augment(batch, generator, operations=1)
    second = rand_augment(first, generator, operations=1)
    both = draw(batch, 3, operations=2)
    assert (both.int() - second.int()).abs().float().mean() < 1  # one rounding apart
