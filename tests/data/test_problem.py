from dataclasses import replace

import numpy as np
import pytest
import torch

from goodteacher.base.errors import DataError
from goodteacher.data.problem import Problem, Split


def split(n=12, *, images=True, truth=False, votes=False, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 256, (n, 4, 5, 3)).astype(np.uint8) if images else rng.normal(size=(n, 4)).astype("f4")
    p = torch.from_numpy(rng.dirichlet(np.ones(classes), n)).float() if truth else None
    v = torch.from_numpy(rng.integers(1, 9, (n, classes))) if votes else None
    return Split(torch.from_numpy(inputs), torch.arange(n) % classes, torch.arange(n) + 100, p, v)


def tensor(split, field):
    """Return what a field of a split holds as a tensor, or None."""
    value = getattr(split, field)
    return value.tensor if field == "inputs" else value


def problem(**changes):
    parts = {"train": split(), "validation": split(6, seed=1), "test": split(9, seed=2), **changes}
    return Problem("toy", class_names=("ant", "bee", "cat"), **parts)


def test_take_keeps_order_and_every_field():
    rows = torch.tensor([5, 0, 5])
    whole = split(truth=True, votes=True)
    taken = whole.take(rows)
    assert len(taken) == 3 and taken.indices.tolist() == [105, 100, 105]
    for field in ("inputs", "labels", "truth", "votes"):
        assert torch.equal(tensor(taken, field), tensor(whole, field)[rows])
    assert split().take(rows).truth is None and split().take(rows).votes is None


def test_with_labels_changes_labels_and_truth_only():
    whole = split(truth=True, votes=True)
    other = whole.with_labels(whole.labels.flip(0), None)
    assert torch.equal(other.labels, whole.labels.flip(0)) and other.truth is None
    assert other.inputs is whole.inputs and other.indices is whole.indices and other.votes is whole.votes


def test_what_a_problem_says_of_itself():
    p = problem(test=split(9, seed=2, truth=True, votes=True))
    assert p.describe() == (
        "toy: 12 train / 6 validation / 9 test · 3 classes · 3x4x5 · true label distribution known · human votes on test"
    )
    assert p.is_image and p.knows_truth and p.classes == 3 and p.input_shape == (3, 4, 5)
    vectors = problem(**{k: split(n, images=False) for k, n in (("train", 12), ("validation", 6), ("test", 9))})
    assert vectors.describe() == "toy: 12 train / 6 validation / 9 test · 3 classes · 4"
    assert not vectors.is_image and not vectors.knows_truth and vectors.input_shape == (4,)
    assert [len(p.split(name)) for name in ("train", "validation", "test")] == [12, 6, 9]


@pytest.mark.parametrize("n", [12, 5000])
def test_statistics_of_images_against_numpy(n):
    p = problem(train=split(n))
    mean, std = p.statistics
    x = p.train.inputs.tensor.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, x.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, x.std(axis=(0, 1, 2)), rtol=1e-6)
    assert mean.dtype == std.dtype == torch.float32


def test_statistics_of_vectors_against_numpy_and_a_constant_feature():
    train = split(500, images=False)
    train.inputs.tensor[:, 2] = 7.0
    p = problem(train=train, validation=split(6, images=False), test=split(6, images=False))
    mean, std = p.statistics
    x = train.inputs.tensor.numpy().astype(np.float64)
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(std[[0, 1, 3]], x.std(axis=0)[[0, 1, 3]], rtol=1e-5)
    assert std[2].item() == 7.0 and p.hardly_varying.tolist() == [False, False, True, False]  # its size, not 1e-6


def test_cautions_stand_beside_the_notes_in_what_is_known():
    train = split(500, images=False)
    train.inputs.tensor[:, 2] = 7.0
    p = problem(train=train, validation=split(6, images=False), test=split(6, images=False))
    assert p.notes == () and p.facts.notes == p.cautions
    assert p.cautions[0].startswith("1 of 4 features are constant in training or hardly vary (numbers 2, from 0)")
    part = p.with_train_rows(torch.arange(30))
    assert torch.equal(part.hardly_varying, p.hardly_varying) and torch.equal(part.statistics[1], p.statistics[1])


def test_statistics_are_of_training_alone():
    one, other = problem(), problem(test=split(9, seed=7), validation=split(6, seed=8))
    assert all(torch.equal(a, b) for a, b in zip(one.statistics, other.statistics, strict=True))


FIELDS = ("inputs", "labels", "indices", "truth", "votes")


@pytest.mark.parametrize("where", ["train", "validation", "test"])
@pytest.mark.parametrize("field", FIELDS)
def test_fingerprint_sees_every_single_number(where, field):
    def fresh():
        return {
            k: split(n, seed=s, truth=True, votes=True)
            for k, n, s in (("train", 12, 0), ("validation", 6, 1), ("test", 9, 2))
        }

    parts = fresh()
    changed = tensor(parts[where], field)
    if field == "truth":
        changed[-1] = changed[-1].flip(0)
    elif field == "labels":
        changed[-1] = (changed[-1] + 1) % 3
    else:
        changed.view(-1)[-1] += 1
    assert problem(**parts).fingerprint != problem(**fresh()).fingerprint


def test_fingerprint_repeats_and_sees_names_and_missing_fields():
    first = problem().fingerprint
    assert first == problem().fingerprint and len(first) == 16
    assert replace(problem(), class_names=("ant", "bee", "cow")).fingerprint != first
    assert replace(problem(), augment="flip").fingerprint != first  # what `augment: auto` comes to
    assert replace(problem(), name="other").fingerprint == first
    assert problem(train=split(truth=True)).fingerprint != first
    truth, votes = split(truth=True), split(truth=True)
    votes = Split(votes.inputs, votes.labels, votes.indices, None, votes.truth)
    assert problem(train=truth).fingerprint != problem(train=votes).fingerprint


def test_fingerprint_sees_the_layout_and_not_the_strides():
    vectors = {k: split(8, images=False) for k in ("train", "validation", "test")}
    turned = {
        k: Split(v.inputs.tensor.T.contiguous().T, v.labels, v.indices) for k, v in vectors.items()
    }  # the same numbers in another order of memory
    assert not turned["train"].inputs.tensor.is_contiguous()
    assert problem(**vectors).fingerprint == problem(**turned).fingerprint
    folded = {k: Split(v.inputs.tensor.view(8, 2, 2), v.labels, v.indices) for k, v in vectors.items()}
    assert problem(**folded).fingerprint != problem(**vectors).fingerprint


def bad(**changes):
    return replace(split(6), **changes)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (split(0), "validation split of 'toy': must not be empty, got 0 examples; check the files or the split sizes."),
        (bad(labels=torch.zeros(5).long()), "validation split of 'toy': needs one label an input, got 6 inputs and 5"),
        (bad(indices=torch.arange(4)), "validation split of 'toy': needs one label an input"),
        (
            bad(labels=torch.tensor([0, 1, 2, 3, 0, 0])),
            "labels in the validation split of 'toy': must lie in [0, 2], got values from 0 to 3; number the classes from 0",
        ),
        (bad(labels=torch.tensor([0, 1, 2, -1, 0, 0])), "got values from -1 to 2"),
        (
            bad(inputs=torch.tensor([[1.0, 2.0]] * 4 + [[float("nan"), float("inf")], [0.0, float("inf")]])),
            "inputs in the validation split of 'toy': must be finite, got NaN or infinity in 2 of 6 examples",
        ),
        (
            bad(truth=torch.full((6, 2), 0.5)),
            "truth in the validation split of 'toy': must have shape (6, 3), got (6, 2)",
        ),
        (bad(votes=torch.ones(5, 3)), "votes in the validation split of 'toy': must have shape (6, 3), got (5, 3)"),
        (bad(truth=torch.full((6, 3), 0.5)), "every row must be non-negative and sum to 1"),
        (bad(truth=torch.tensor([[1.5, -0.5, 0.0]] * 6)), "every row must be non-negative and sum to 1"),
        (bad(truth=torch.full((6, 3), float("nan"))), "every row must be non-negative and sum to 1"),
    ],
)
def test_splits_that_do_not_fit(part, text):
    with pytest.raises(DataError) as caught:
        problem(validation=part)
    assert text in str(caught.value)


def test_every_class_needs_a_training_example():
    labels = torch.zeros(12, dtype=torch.int64)
    with pytest.raises(
        DataError, match="needs at least one example of every class, got none of: bee, cat; number classes from 0"
    ):
        problem(train=split().with_labels(labels, None))
    problem(test=split(9).with_labels(labels[:9], None))


def test_from_arrays():
    x, y = np.zeros((20, 4), "f4"), np.arange(20) % 2
    p = Problem.from_arrays(x, y, x[:4], y[:4], class_names=["ant", "bee"], validation=0.2, name="mine")
    assert (len(p.train), len(p.validation), len(p.test), p.class_names, p.name) == (16, 4, 4, ("ant", "bee"), "mine")
    given = Problem.from_arrays(x, y, x[:4], y[:4], x_val=x[:6], y_val=y[:6])
    assert (len(given.train), len(given.validation)) == (20, 6)
    truth = np.full((4, 2), 0.5, "f4")
    assert Problem.from_arrays(x, y, x[:4], y[:4], p_test=truth).knows_truth


def test_a_problem_shows_itself_in_a_line():
    assert repr(problem()) == f"Problem({problem().describe()})" and "\n" not in repr(problem())
