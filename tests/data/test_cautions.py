import numpy as np
import pytest
import torch

from goodteacher.data.cautions import of_little_variation, other_scales, safe_deviation
from goodteacher.data.digits import digits_problem
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.inputs import Pictures, Vectors
from goodteacher.data.loader import normalise
from goodteacher.data.problem import Problem, Split

RNG = np.random.default_rng(0)


def vectors(x):
    return Vectors(torch.from_numpy(np.asarray(x, dtype=np.float32)))


def fed(train, later):
    """Return what a network is fed for later rows."""
    x = torch.from_numpy(np.asarray(train, dtype=np.float32))
    part = Split(x, torch.arange(len(x)) % 2, torch.arange(len(x)))
    problem = Problem("toy", part, part, part, ("a", "b"))
    return normalise(torch.as_tensor(later, dtype=torch.float32), *problem.statistics), normalise(
        x, *problem.statistics
    )


@pytest.mark.parametrize(
    ("column", "later"),
    [
        (np.full(200, 7.0), 8.0),
        (np.zeros(200), 1.0),
        (np.full(200, -3e6), 3e6),
        (1 + 1e-6 * RNG.normal(size=200), 2.0),  # what rounding leaves of a constant
        (1e-9 * RNG.normal(size=200), 1.0),
        (1e-5 * RNG.normal(size=200), 1.0),
        (np.full(200, 0.1), 0.2),
    ],
)
def test_a_feature_without_variation_does_not_blow_up_what_is_fed_later(column, later):
    x = RNG.normal(size=(200, 4))
    x[:, 2] = column
    row = np.zeros((1, 4))
    row[0, 2] = later
    new, old = fed(x, row)
    assert new.abs().max() <= 4 and old[:, 2].abs().max() < 1e-3
    assert old[:, [0, 1, 3]].std(dim=0, correction=0).allclose(torch.ones(3), atol=1e-5)


def test_pixels_that_are_dark_in_training_and_bright_later():
    x = RNG.integers(0, 256, size=(200, 16)).astype(float)
    x[:, :5] = 0
    new, _ = fed(x, np.full((1, 16), 255.0))
    assert new.abs().max() < 4


def test_a_channel_without_variation():
    train = torch.from_numpy(RNG.integers(0, 256, (20, 4, 4, 3)).astype(np.uint8))
    train[..., 1] = 9
    part = Split(train, torch.arange(20) % 2, torch.arange(20))
    problem = Problem("toy", part, part, part, ("a", "b"))
    assert problem.statistics[1][1] == 1 and problem.cautions[0].startswith("1 of 3 channels are constant in training")
    assert normalise(torch.full((1, 4, 4, 3), 255, dtype=torch.uint8), *problem.statistics).abs().max() < 4


def test_features_of_like_and_of_unlike_units_are_scaled_as_ever():
    std = torch.tensor([1e-3, 1.0, 1000.0, 2e-3], dtype=torch.float64)
    mean = torch.tensor([0.01, 500.0, -3e6, 0.0], dtype=torch.float64)
    safe, hardly = safe_deviation(mean, std)
    assert torch.equal(safe, std) and not hardly.any()
    assert of_little_variation(vectors(np.zeros((2, 4))), hardly) == ()


def test_nothing_varies_at_all():
    safe, hardly = safe_deviation(torch.zeros(2).double(), torch.zeros(2).double())
    assert safe.tolist() == [1, 1] and hardly.all()


@pytest.mark.parametrize("problem", [gaussian_problem(train=300, validation=60, test=300), digits_problem()])
def test_sound_problems_have_no_cautions_and_the_plain_deviation(problem):
    assert problem.cautions == ()
    assert torch.equal(problem.statistics[1], problem.train.inputs.statistics()[1].float())


def told(train, test, kind=vectors):
    return other_scales(kind(train), {"test": kind(test)})


SOURCES = {
    "standardised": lambda n: RNG.normal(size=(n, 30)),
    "uniform": lambda n: RNG.uniform(size=(n, 5)),
    "heavy tails": lambda n: RNG.standard_cauchy(size=(n, 50)),
    "very skewed": lambda n: RNG.lognormal(0, 3, size=(n, 20)),
    "rare words": lambda n: (RNG.uniform(size=(n, 1000)) < 0.002).astype(float),
    "yes or no": lambda n: (RNG.uniform(size=(n, 40)) < 0.5).astype(float),
    "unlike units": lambda n: RNG.normal(size=(n, 6)) * 10.0 ** np.arange(-6, 6, 2) + 10.0 ** np.arange(-3, 3),
    "one feature": lambda n: RNG.normal(size=(n, 1)),
    "constant": lambda n: np.full((n, 3), 0.1),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("n", "m"), [(40, 4), (200, 6), (200, 30), (3000, 1000), (5, 5), (30, 1)])
def test_samples_of_one_source_raise_no_alarm(source, n, m):
    global RNG
    RNG = np.random.default_rng(n + m)  # the same draws in whatever order tests run
    for _ in range(5 if n > 1000 else 20):
        assert told(SOURCES[source](n), SOURCES[source](m)) == ()


@pytest.mark.parametrize("factor", [16, 100, 255, 65535])
@pytest.mark.parametrize("m", [4, 30, 500])
def test_a_test_split_on_a_larger_scale_is_told(factor, m):
    (note,) = told(RNG.uniform(size=(200, 8)), RNG.uniform(size=(m, 8)) * factor)
    assert note.startswith("test inputs lie on another scale than those of training, in ")
    assert "in 8 of 8 features (numbers 0, 1, 2, 3, 4, ..., from 0)" in note or factor == 16 or m == 4


@pytest.mark.parametrize("factor", [16, 255])
def test_a_test_split_on_a_smaller_scale_is_told(factor):
    assert len(told(RNG.uniform(size=(200, 8)) * factor, RNG.uniform(size=(30, 8)))) == 1


def test_mostly_empty_rows_on_another_scale_are_told():
    def sparse(n):
        return RNG.uniform(size=(n, 400)) * (RNG.uniform(size=(n, 400)) < 0.1)

    (note,) = told(sparse(200), sparse(50) * 255)
    assert ", in all, by a factor of about" in note
    assert len(told(sparse(200) * 255, sparse(50))) == 1


def test_one_feature_alone_is_told_with_its_number():
    x, y = RNG.normal(size=(200, 6)), RNG.normal(size=(50, 6))
    y[:, 4] += 273.15
    (note,) = told(x, y)
    assert "in 1 of 6 features (numbers 4, from 0)" in note
    assert "check that all are prepared alike" in note


def test_what_was_standardised_in_one_split_only():
    raw = lambda n: RNG.normal(size=(n, 5)) * 10 + 50  # noqa: E731
    assert len(told(raw(200), (raw(50) - 50) / 10)) == 1 and len(told((raw(200) - 50) / 10, raw(50))) == 1


def test_pictures_of_zeros_and_ones_beside_bytes():
    def pictures(x):
        return Pictures(torch.from_numpy(x.astype(np.uint8)))

    x = RNG.integers(0, 256, (60, 8, 8, 3)) * (RNG.uniform(size=(60, 8, 8, 1)) < 0.3)
    (note,) = told(x, x[:30] > 127, pictures)
    assert note.startswith("test inputs lie on another scale than those of training, in brightness or contrast")
    assert len(told(x > 127, x[:30], pictures)) == 1 and told(x[:30], x[30:], pictures) == ()
