import numpy as np
import pytest

from goodteacher.base.errors import ConfigError, DataError
from goodteacher.data.splits import stratified_split

LABELS = np.array([0] * 50 + [1] * 20 + [2] * 3 + [3])


def test_parts_are_disjoint_complete_and_ascending():
    kept, held_out = stratified_split(LABELS, 0.2, 0)
    assert np.array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(len(LABELS)))
    assert (np.diff(kept) > 0).all() and (np.diff(held_out) > 0).all()


def test_every_class_gives_its_share_and_at_least_one():
    kept, held_out = stratified_split(LABELS, 0.2, 0)
    assert np.bincount(LABELS[held_out], minlength=4).tolist() == [10, 4, 1, 0]
    assert np.bincount(LABELS[kept], minlength=4).tolist() == [40, 16, 2, 1]
    _, few = stratified_split(LABELS, 0.1, 0)
    assert np.bincount(LABELS[few], minlength=4).tolist() == [5, 2, 1, 0]
    _, nearly_all = stratified_split(LABELS, 0.99, 0)
    assert np.bincount(LABELS[nearly_all], minlength=4).tolist() == [49, 19, 2, 0]


def test_seed_and_stream_decide_the_rows():
    first, again = (stratified_split(LABELS, 0.2, 0)[1] for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, stratified_split(LABELS, 0.2, 1)[1])
    assert not np.array_equal(first, stratified_split(LABELS, 0.2, 0, stream="test")[1])


def test_a_class_does_not_disturb_another():
    with_two = LABELS[LABELS < 2]
    _, held_out = stratified_split(LABELS, 0.2, 0)
    assert np.array_equal(held_out[LABELS[held_out] < 2], stratified_split(with_two, 0.2, 0)[1])


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan"), True, "0.1"])
def test_fraction_out_of_range(fraction):
    with pytest.raises(ConfigError, match=r"validation fraction: must be a number in \(0, 1\), got"):
        stratified_split(LABELS, fraction, 0)


@pytest.mark.parametrize("labels", [np.zeros((3, 2), int), np.array([0.0, 1.0])])
def test_labels_that_are_no_vector_of_integers(labels):
    with pytest.raises(DataError, match="labels: must be a vector of integers, got"):
        stratified_split(labels, 0.1, 0)


@pytest.mark.parametrize("labels", [np.array([], int), np.arange(5)])
def test_nothing_to_hold_out(labels):
    with pytest.raises(DataError, match=r"needs a class with at least two examples, got \d examples"):
        stratified_split(labels, 0.1, 0)
