import itertools
import math

import pytest
import torch

from goodteacher.base.errors import ConfigError, DataError, ShapeError
from goodteacher.diagnose.dispersion import conditional_mutual_information, murphy_split, spread, view_consistency


def drawn(n=40, classes=4, seed=0, scale=2.0):
    stream = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, classes, generator=stream, dtype=torch.float64), torch.arange(n) % classes


def slowly(z, y, *, leave_one_out):
    p = z.softmax(1).tolist()
    total, count = 0.0, 0
    for n, row in enumerate(p):
        others = [p[m] for m in range(len(p)) if y[m] == y[n] and (m != n or not leave_one_out)]
        if others:
            centre = [sum(o[c] for o in others) / len(others) for c in range(len(row))]
            total += sum(a * math.log(a / b) for a, b in zip(row, centre, strict=True))
            count += 1
    pairs = [(a, b) for a, b in itertools.product(range(len(p)), repeat=2) if y[a] != y[b]]
    cross = [-sum(u * math.log(v) for u, v in zip(p[a], p[b], strict=True)) for a, b in pairs]
    return total / count, sum(cross) / len(cross)


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_against_loops(leave_one_out):
    z, y = drawn(12, 3)
    y[0] = 2  # classes of unequal size
    got = conditional_mutual_information(z, y, leave_one_out=leave_one_out)
    cmi, separation = slowly(z, y.tolist(), leave_one_out=leave_one_out)
    assert got.cmi == pytest.approx(cmi) and got.separation == pytest.approx(separation)
    assert got.ncmi == pytest.approx(cmi / separation)


def test_zero_only_where_a_class_has_one_prediction():
    rows = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]).double().log()
    y = torch.arange(30) % 3
    assert conditional_mutual_information(rows[y], y).cmi == pytest.approx(0, abs=1e-12)
    z, y = drawn()
    assert conditional_mutual_information(z, y).cmi > 0.1


def test_leaving_one_out_matters_in_small_classes_only():
    z, y = drawn(4000)
    many = [conditional_mutual_information(z, y, leave_one_out=x).cmi for x in (True, False)]
    few = [conditional_mutual_information(z[:8], y[:8], leave_one_out=x).cmi for x in (True, False)]
    assert many[0] == pytest.approx(many[1], rel=0.01) and few[0] > 1.5 * few[1]


def test_a_class_of_one_is_left_out():
    z, y = drawn(9, 3)
    with_one = torch.cat([y[:6] % 2, torch.tensor([2, 0, 1])])
    rest = with_one != 2
    assert conditional_mutual_information(z, with_one).cmi == pytest.approx(
        conditional_mutual_information(z[rest], with_one[rest]).cmi
    )


def test_what_cannot_be_said_is_refused():
    z, y = drawn(4)
    with pytest.raises(DataError, match=r"two examples of a class, got \[1, 1, 1, 1\] examples per class"):
        conditional_mutual_information(z, y)
    with pytest.raises(DataError, match="needs two classes"):
        conditional_mutual_information(z, y * 0)
    with pytest.raises(ShapeError):
        conditional_mutual_information(z, y[:2])


def test_sure_predictions_stay_finite():
    z = torch.tensor([[1e3, 0.0], [0.0, 1e3], [0.0, 1e3], [1e3, 0.0]])
    got = conditional_mutual_information(z, torch.tensor([0, 0, 1, 1]))
    assert math.isfinite(got.cmi) and math.isfinite(got.separation)


def test_spread_by_hand():
    got = spread(torch.tensor([[0.5, 0.4, 0.1], [1 / 3, 1 / 3, 1 / 3]]).log())
    assert got["entropy"].tolist() == pytest.approx([-sum(p * math.log(p) for p in (0.5, 0.4, 0.1)), math.log(3)])
    assert got["effective_classes"][1].item() == pytest.approx(3)
    assert got["top_probability"].tolist() == pytest.approx([0.5, 1 / 3])
    assert got["secondary_deviation"].tolist() == pytest.approx([0.15, 0.0], abs=1e-7)
    assert all(v.shape == (2,) and v.dtype == torch.float64 for v in got.values())


def test_spread_is_that_at_the_temperature_of_teaching():
    z, _ = drawn()
    assert torch.equal(spread(z, temperature=4.0)["entropy"], spread(z / 4)["entropy"])
    two = spread(torch.tensor([[3.0, 0.0], [1e4, -1e4]]))
    assert two["secondary_deviation"].tolist() == [0.0, 0.0] and two["effective_classes"][1].item() == 1.0


def test_consistency_by_hand():
    p = torch.tensor([[[0.6, 0.4]], [[0.8, 0.2]], [[0.1, 0.9]]])
    got = view_consistency(p.log())
    assert got["variance"].item() == pytest.approx(2 * (0.1**2 + 0.3**2 + 0.4**2) / 3)
    assert got["disagreement"].item() == pytest.approx(2 / 3)


def test_consistency_against_loops():
    stream = torch.Generator().manual_seed(0)
    z = torch.randn(5, 7, 3, generator=stream, dtype=torch.float64)
    got, p = view_consistency(z), z.softmax(2)
    for n in range(7):
        centre = [sum(float(p[v, n, c]) for v in range(5)) / 5 for c in range(3)]
        variance = sum((float(p[v, n, c]) - centre[c]) ** 2 for v in range(5) for c in range(3)) / 5
        pairs = list(itertools.combinations(range(5), 2))
        differ = sum(int(z[a, n].argmax() != z[b, n].argmax()) for a, b in pairs) / len(pairs)
        assert got["variance"][n].item() == pytest.approx(variance)
        assert got["disagreement"][n].item() == pytest.approx(differ)


def test_views_that_are_alike_are_consistent_and_one_view_says_nothing():
    z, _ = drawn()
    got = view_consistency(z.expand(4, *z.shape))
    assert got["variance"].max() < 1e-30 and got["disagreement"].max() == 0
    for views in (z, z[None], z[:, 0]):
        with pytest.raises(ShapeError, match="views: must have shape"):
            view_consistency(views)
    with pytest.raises(ShapeError, match="views: must be finite"):
        view_consistency(torch.full((2, 3, 2), float("nan")))


def test_the_split_by_hand():
    # One class's probability is 0.2 four times and 0.8 four times; it comes true once and three times.
    p = torch.tensor([0.2] * 4 + [0.8] * 4)
    y = torch.tensor([0, 1, 1, 1, 0, 0, 0, 1])
    got = murphy_split(torch.stack([p, 1 - p], dim=1), y, bins=10)
    assert got.reliability == pytest.approx(2 * 0.05**2) and got.resolution == pytest.approx(2 * 0.25**2)
    assert got.uncertainty == pytest.approx(0.5) and got.within == pytest.approx(0, abs=1e-9)
    assert got.brier == pytest.approx(got.reliability - got.resolution + got.uncertainty)


@pytest.mark.parametrize("bins", [1, 5, 50])
def test_the_parts_add_up(bins):
    z, y = drawn(300)
    got = murphy_split(z.softmax(1), y, bins=bins)
    assert got.brier == pytest.approx(got.reliability - got.resolution + got.uncertainty + got.within)
    assert got.reliability >= 0 and got.resolution >= 0 and got.uncertainty == pytest.approx(0.75)


def test_calibrated_predictions_are_reliable_and_fine_bins_hide_little():
    z, _ = drawn(20000)
    y = torch.multinomial(z.softmax(1), 1, generator=torch.Generator().manual_seed(1)).squeeze(1)
    true, sharp = murphy_split(z.softmax(1), y, bins=20), murphy_split((3 * z).softmax(1), y, bins=20)
    assert true.reliability < 0.01 < 0.05 < sharp.reliability and abs(true.within) < 0.01
    assert true.resolution > 0.2


def test_the_split_checks_what_it_gets():
    z, y = drawn(8)
    with pytest.raises(ConfigError, match="bins"):
        murphy_split(z.softmax(1), y, bins=0)
    with pytest.raises(ShapeError, match="sum to 1"):
        murphy_split(z, y)


def test_a_network_that_is_certain_of_one_class_for_all_separates_nothing():
    got = conditional_mutual_information(torch.tensor([[0.0, -2000.0]]).repeat(6, 1), torch.arange(6) % 2)
    assert (got.cmi, got.separation) == (0.0, 0.0) and math.isnan(got.ncmi)
