import pytest
import torch
from torch.nn import functional as F

from goodteacher.base.errors import ConfigError
from goodteacher.data.augment import augment, crop_boxes, crop_flip, normalise, resized_crop_flip, rotations
from goodteacher.data.strong import rand_augment


def images(n=6, height=16, width=16, channels=3, seed=0):
    return torch.randint(1, 256, (n, height, width, channels), generator=torch.Generator().manual_seed(seed)).byte()


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def slow_crop_flip(batch, generator, pad_h, pad_w):
    n, height, width, _ = batch.shape
    top = torch.randint(0, 2 * pad_h + 1, (n,), generator=generator).tolist()
    left = torch.randint(0, 2 * pad_w + 1, (n,), generator=generator).tolist()
    mirror = (torch.rand(n, generator=generator) < 0.5).tolist()
    rows = []
    for image, t, l_, m in zip(batch, top, left, mirror, strict=True):
        padded = F.pad(image.permute(2, 0, 1), (pad_w, pad_w, pad_h, pad_h))
        cut = padded[:, t : t + height, l_ : l_ + width]
        rows.append((cut.flip(2) if m else cut).permute(1, 2, 0))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("shape", "pads"),
    [((32, 32, 3), (4, 4)), ((16, 24, 3), (2, 3)), ((8, 8, 1), (1, 1)), ((3, 3, 1), (1, 1)), ((20, 28, 3), (2, 4))],
)
def test_crop_flip_equals_padding_and_slicing_each_image(shape, pads):
    batch = images(40, *shape)
    got = crop_flip(batch, stream(1))
    assert torch.equal(got, slow_crop_flip(batch, stream(1), *pads))
    assert got.dtype == torch.uint8 and not torch.equal(got, batch)


def test_flip_mirrors_half_and_moves_nothing():
    batch = images(2000, 4, 4, 1)
    got = crop_flip(batch, stream(), crop=False)
    same, mirrored = ((got == x).flatten(1).all(1) for x in (batch, batch.flip(2)))
    assert (same | mirrored).all()
    assert abs(int(mirrored.sum()) - 1000) < 4 * (2000 * 0.25) ** 0.5


def test_every_shift_within_the_padding_is_drawn_and_none_beyond():
    batch = torch.zeros(4000, 16, 16, 1, dtype=torch.uint8)
    batch[:, 8, 8] = 255
    got = crop_flip(batch, stream())
    place = got.flatten(1).argmax(1)
    assert (got.flatten(1).amax(1) == 255).all()
    rows, columns = (place // 16).unique().tolist(), (place % 16).unique().tolist()
    assert rows == [6, 7, 8, 9, 10]
    assert columns == [5, 6, 7, 8, 9, 10]  # mirroring about 7.5 reaches one further to the left


@pytest.mark.parametrize("shape", [(32, 32, 3), (20, 28, 3), (64, 48, 1), (8, 8, 3)])
def test_resized_crop_equals_cutting_and_stretching_each_image(shape):
    batch, generator = images(40, *shape), stream(1)
    boxes = crop_boxes(40, *shape[:2], generator)
    mirrored = torch.rand(40, generator=generator) < 0.5
    got = resized_crop_flip(batch, stream(1))
    for image, (top, left, height, width), mirror, view in zip(batch, boxes.tolist(), mirrored, got, strict=True):
        cut = image[top : top + height, left : left + width].permute(2, 0, 1)[None].double()
        want = F.interpolate(cut, size=shape[:2], mode="bilinear", align_corners=False)
        want = (want.flip(3) if mirror else want)[0].permute(1, 2, 0)
        assert (view.double() - want).abs().max() <= 0.51  # the rounding to whole numbers, and float32
    assert got.dtype == torch.uint8 and got.shape == batch.shape and torch.equal(batch, images(40, *shape))


def test_boxes_are_drawn_evenly_over_area_proportion_and_place():
    top, left, height, width = crop_boxes(20_000, 224, 224, stream()).double().unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 224).all() and (left + width <= 224).all()
    share, ratio = height * width / 224**2, width / height
    assert 0.075 < share.min() < 0.085 and share.max() > 0.97 and ratio.min() > 0.74 and ratio.max() < 1.36
    assert abs(float(ratio.log().mean())) < 0.01
    # A box of share s and log ratio r fits where sqrt(s) exp(|r|/2) <= 1: all up to 3/4 do, so that half is even.
    counts = torch.histc(share[share < 0.74], 6, min=0.08, max=0.74)
    assert (counts / counts.mean() - 1).abs().max() < 0.06
    middle = (left + width / 2)[share < 0.2]
    assert abs(float(middle.mean()) - 112) < 3 and middle.min() < 40 and middle.max() > 184


def test_long_images_are_taken_whole_where_no_box_fits():
    boxes = crop_boxes(500, 4, 400, stream())
    assert ((boxes == torch.tensor([0, 0, 4, 400])).all(dim=1)).double().mean() > 0.9
    batch = images(3, 1, 200, 1)
    flipped = resized_crop_flip(batch, stream())
    assert all(torch.equal(v, b) or torch.equal(v, b.flip(1)) for v, b in zip(flipped, batch, strict=True))


def test_rotations_turn_anticlockwise_rows_in_order():
    x = images(2).permute(0, 3, 1, 2).float()
    got = rotations(x)
    for n in range(2):
        for r in range(4):
            assert torch.equal(got[4 * n + r], torch.rot90(x[n], r, (1, 2)))
    assert torch.equal(got[1][:, 0, 0], x[0][:, 0, -1])


def test_normalise_by_hand_in_channels_last():
    batch = images()
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 0.125])
    got = normalise(batch, mean, std)
    want = (batch.double() / 255 - mean) / std
    torch.testing.assert_close(got.permute(0, 2, 3, 1).double(), want, rtol=1e-5, atol=1e-5)
    assert got.shape == (6, 3, 16, 16) and got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert batch.dtype == torch.uint8
    vectors = torch.tensor([[1.0, 4.0]])
    assert normalise(vectors, torch.tensor([1.0, 2.0]), torch.tensor([5.0, 4.0])).tolist() == [[0.0, 0.5]]
    assert vectors.tolist() == [[1.0, 4.0]]


def test_augment_dispatches():
    batch = images()
    before = batch.clone()
    assert augment(batch, "none", stream()) is batch
    assert torch.equal(augment(batch, "flip", stream()), crop_flip(batch, stream(), crop=False))
    assert torch.equal(augment(batch, "crop_flip", stream()), crop_flip(batch, stream()))
    assert torch.equal(augment(batch, "resized_crop_flip", stream()), resized_crop_flip(batch, stream()))
    generator = stream()
    assert torch.equal(augment(batch, "strong", stream()), rand_augment(crop_flip(batch, generator), generator))
    assert torch.equal(batch, before)
    with pytest.raises(ConfigError, match="augmentation: must be a known name, got 'crop'; did you mean 'crop_flip'"):
        augment(batch, "crop", stream())
