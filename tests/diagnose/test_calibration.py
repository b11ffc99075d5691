import pytest
import torch

from goodteacher.base.errors import ConfigError, DataError, ShapeError
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.diagnose.calibration import (
    classwise_calibration_error,
    confidence_gaps,
    cross_fitted,
    expected_calibration_error,
    reliability,
)
from goodteacher.maps.temperature import fit_temperature

# Confidences .95 .85 .85 .55 .58: right, right, wrong, wrong, right.
P = torch.tensor([[0.95, 0.05], [0.15, 0.85], [0.85, 0.15], [0.45, 0.55], [0.58, 0.42]])
Y = torch.tensor([0, 1, 1, 0, 0])


def test_reliability_in_bins_of_equal_width():
    curve = reliability(P, Y, bins=10)
    assert curve.confidence.tolist() == pytest.approx([0.565, 0.85, 0.95])
    assert curve.accuracy.tolist() == pytest.approx([0.5, 0.5, 1.0])
    assert curve.share.tolist() == pytest.approx([0.4, 0.4, 0.2])


def test_reliability_in_bins_of_equal_mass():
    curve = reliability(P, Y, bins=2, binning="mass")
    assert curve.share.tolist() == pytest.approx([0.6, 0.4])
    assert curve.confidence.tolist() == pytest.approx([0.66, 0.9])
    assert curve.accuracy.tolist() == pytest.approx([2 / 3, 0.5])


def test_ece_by_hand():
    wide = 0.4 * 0.065 + 0.4 * 0.35 + 0.2 * 0.05
    assert expected_calibration_error(P, Y, bins=10) == pytest.approx(wide, rel=1e-6)
    assert expected_calibration_error(P, Y, bins=1) == pytest.approx(abs(0.6 - 3.78 / 5), rel=1e-6)
    heavy = 0.6 * abs(2 / 3 - 0.66) + 0.4 * abs(0.5 - 0.9)
    assert expected_calibration_error(P, Y, bins=2, binning="mass") == pytest.approx(heavy, abs=1e-6)


def test_bins_are_closed_on_the_right():
    p = torch.tensor([[0.75, 0.25], [0.76, 0.24], [1.0, 0.0]], dtype=torch.float64)
    assert reliability(p, torch.tensor([0, 0, 0]), bins=4).share.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_more_bins_than_examples():
    curve = reliability(P, Y, bins=50, binning="mass")
    assert curve.share.tolist() == pytest.approx([0.2] * 5)
    assert curve.confidence.tolist() == pytest.approx([0.55, 0.58, 0.85, 0.85, 0.95])


def simulated(temperature=1.0, n=20000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(n, 10, generator=generator)
    return z, torch.multinomial((z / temperature).softmax(1), 1, generator=generator).squeeze(1)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_a_calibrated_network_shows_almost_none_and_a_sharpened_one_much(binning):
    z, y = simulated()
    assert expected_calibration_error(z.softmax(1), y, binning=binning) < 0.015
    gap = (3 * z).softmax(1)
    want = float(gap.max(1).values.mean() - (gap.argmax(1) == y).float().mean())
    assert expected_calibration_error(gap, y, binning=binning) == pytest.approx(want, abs=0.01)
    assert want > 0.2


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_the_parts_of_the_calibration_error_add_up_to_it(binning):
    z, y = simulated(2.0, n=500)
    for p in (z.softmax(1), (0.2 * z).softmax(1), (5 * z).softmax(1)):
        over, under = confidence_gaps(p, y, binning=binning)
        assert (
            over + under == pytest.approx(expected_calibration_error(p, y, binning=binning)) and min(over, under) >= 0
        )


def test_too_sure_and_not_sure_enough():
    z, y = simulated()
    over, under = confidence_gaps((3 * z).softmax(1), y)
    assert over > 0.2 > 0.01 > under
    over, under = confidence_gaps((z / 3).softmax(1), y)
    assert under > 0.2 > 0.01 > over


def test_over_and_under_by_hand():
    # Bins of .55 and .58 (one of two right), .85 twice (one right), .95 (right).
    over, under = confidence_gaps(P, Y, bins=10)
    assert over == pytest.approx(0.4 * 0.065 + 0.4 * 0.35) and under == pytest.approx(0.2 * 0.05)


def classwise_slowly(p, y, bins):
    total = 0.0
    for c in range(p.shape[1]):
        for k in range(bins):
            held = [i for i in range(len(y)) if k / bins < p[i, c] <= (k + 1) / bins]
            if held:
                gap = sum(float(y[i] == c) - float(p[i, c]) for i in held) / len(held)
                total += len(held) / len(y) * abs(gap)
    return total / p.shape[1]


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_classwise_error_against_loops(bins):
    z, y = simulated(2.0, n=120)
    p = z.double().softmax(1)
    assert classwise_calibration_error(p, y, bins=bins) == pytest.approx(classwise_slowly(p, y, bins))


def test_classwise_error_sees_what_the_top_probability_hides():
    p = torch.tensor([[0.6, 0.4, 0.0]] * 10)
    y = torch.tensor([0] * 6 + [2] * 4)
    assert expected_calibration_error(p, y) == pytest.approx(0, abs=1e-7)
    assert classwise_calibration_error(p, y) == pytest.approx(0.8 / 3)


def test_mistakes():
    with pytest.raises(ConfigError, match="binning: must be a known name, got 'wide'"):
        reliability(P, Y, binning="wide")
    with pytest.raises(ConfigError, match="bins"):
        reliability(P, Y, bins=0)
    with pytest.raises(ShapeError, match="labels"):
        reliability(P, Y[:3])
    with pytest.raises(ConfigError, match="bins"):
        classwise_calibration_error(P, Y, bins=0)
    with pytest.raises(ShapeError, match="labels"):
        classwise_calibration_error(P, Y[:3])
    with pytest.raises(DataError, match="cross-fitting: needs at least 2 held-out examples, got 1"):
        cross_fitted(P[:1], Y[:1])


def scored_at(z, y, temperature, score):
    log_p = log_soften(z.double(), temperature)
    return brier_score(log_p.exp(), y) if score == "brier" else nll(log_p, y)


@pytest.mark.parametrize("score", ["brier", "nll"])
def test_an_example_is_scored_at_a_temperature_that_never_saw_its_label(score):
    z, y = simulated(3.0, n=60)
    before, temperatures = cross_fitted(z, y, score=score)
    for i in range(0, 60, 7):
        other = y.clone()
        other[i] = (y[i] + 1) % 10
        after, moved = cross_fitted(z, other, score=score)
        kept = [a for a, b in zip(temperatures, moved, strict=True) if a == b]
        assert len(kept) == 1
        assert before[i] == scored_at(z, y, kept[0], score)[i]
        assert after[i] == scored_at(z, other, kept[0], score)[i]
        untouched = before == after
        untouched[i] = True
        assert int(untouched.sum()) == 30


def test_cross_fitting_does_not_reward_a_network_for_fitting_noise():
    # Labels that have nothing to do with the logits: fitted where it is scored, a temperature looks better than the evens.
    gains = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        z, y = torch.randn(30, 3, generator=generator), torch.randint(3, (30,), generator=generator)
        crossed = cross_fitted(z, y, score="nll")[0].mean()
        inside = scored_at(z, y, fit_temperature(z, y, score="nll"), "nll").mean()
        gains.append(float(crossed - inside))
    assert sum(gains) / len(gains) > 0.02


def test_both_halves_are_scored_once_and_the_seed_decides_them():
    z, y = simulated(2.0, n=400)
    scores, temperatures = cross_fitted(z, y)
    each = torch.stack([scored_at(z, y, t, "brier") for t in temperatures])
    assert temperatures[0] != temperatures[1]
    first, second = (scores == row for row in each)
    assert (first | second).all() and 190 <= int(first.sum()) <= 210
    assert torch.equal(scores, cross_fitted(z, y)[0]) and scores.dtype == torch.float64
    assert not torch.equal(scores, cross_fitted(z, y, seed=1)[0])


def test_the_planted_temperature_is_recovered_in_both_halves():
    z, y = simulated(2.5)
    assert cross_fitted(z, y)[1] == pytest.approx((2.5, 2.5), rel=0.06)
