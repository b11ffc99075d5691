from __future__ import annotations

import numpy as np
import pytest
import torch

from goodteacher.data.mixing import blend, cut_box, mix, paste

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(6, 3, 8, 12, generator=GENERATOR).contiguous(memory_format=torch.channels_last)
LABELS = torch.arange(6)
PARTNERS = torch.tensor([3, 0, 5, 1, 4, 2])


def draws(seed=0):
    return np.random.default_rng(seed)


def test_a_blend_by_hand():
    mixed = blend(IMAGES, PARTNERS, 0.7)
    torch.testing.assert_close(mixed[2], 0.7 * IMAGES[2] + 0.3 * IMAGES[5])
    torch.testing.assert_close(mixed[4], IMAGES[4])  # its own partner
    assert torch.equal(blend(IMAGES, PARTNERS, 1.0), IMAGES)


@pytest.mark.parametrize(
    ("share", "centre", "box"),
    [
        (0.75, (4, 6), (2, 6, 3, 9)),  # half of each side
        (0.75, (0, 11), (0, 2, 8, 12)),  # clipped at a corner
        (1.0, (4, 6), (4, 4, 6, 6)),  # nothing
        (0.0, (4, 6), (0, 8, 0, 12)),  # everything
    ],
)
def test_a_rectangle_has_the_share_it_is_asked_for_until_clipped(share, centre, box):
    assert cut_box(8, 12, share, centre) == box


def test_a_pasted_rectangle_counts_by_its_pixels():
    mixed, share = paste(IMAGES, PARTNERS, (0, 2, 9, 12))
    assert share == 1 - 6 / 96
    for n, partner in enumerate(PARTNERS.tolist()):
        assert torch.equal(mixed[n, :, 0:2, 9:12], IMAGES[partner, :, 0:2, 9:12])
        assert torch.equal(mixed[n, :, 2:], IMAGES[n, :, 2:]) and torch.equal(mixed[n, :, :, :9], IMAGES[n, :, :, :9])
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("options", [{"mixup": 0.5, "cutmix": None}, {"mixup": None, "cutmix": 0.5}])
def test_labels_and_share_belong_to_what_was_mixed(options):
    # Images that say which example each pixel comes from.
    marked = LABELS.float()[:, None, None, None].expand(6, 3, 8, 12).contiguous()
    for seed in range(20):
        mixed, what = mix(marked, LABELS, draws(seed), **options)
        mean = what.share * LABELS + (1 - what.share) * what.labels
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), mean.float())
        assert 0 <= what.share <= 1 and sorted(what.labels.tolist()) == LABELS.tolist()


def is_cut(mixed):
    return torch.isin(mixed, torch.arange(6.0)).all()


def test_one_of_two_ways_is_drawn_by_a_fair_coin():
    marked = LABELS.float()[:, None, None, None].expand(6, 1, 8, 8).contiguous()
    cut = [bool(is_cut(mix(marked, LABELS, draws(s), mixup=1.0, cutmix=1.0)[0])) for s in range(400)]
    assert 160 < sum(cut) < 240
    assert not any(is_cut(mix(marked, LABELS, draws(s), mixup=1.0, cutmix=None)[0]) for s in range(20))
    assert all(is_cut(mix(marked, LABELS, draws(s), mixup=None, cutmix=1.0)[0]) for s in range(20))


def test_shares_are_drawn_from_the_beta_distribution():
    shares = np.array([mix(IMAGES, LABELS, draws(s), mixup=0.4, cutmix=None)[1].share for s in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(0.25 / (2 * 0.4 + 1), rel=0.08)
