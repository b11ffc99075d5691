import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError, DataError
from goodteacher.data.arrays import problem_from_arrays
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.labels import class_pair, label_subset, merge_classes, symmetric_noise

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "cifar100"
NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1] * 4, size=200).astype(np.float32)
    votes = rng.integers(0, 9, size=(200, 4))
    arrays = {"x_train": rng.normal(size=(200, 2)), "y_train": np.arange(200) % 4, "p_train": p, "votes_train": votes}
    arrays |= {
        "x_test": rng.normal(size=(80, 2)),
        "y_test": np.arange(80) % 4,
        "p_test": p[:80],
        "votes_test": votes[:80],
    }
    return problem_from_arrays(arrays | {"class_names": NAMES}, validation=0.2)


def same(a, b):
    others = all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("labels", "indices", "truth", "votes"))
    return others and torch.equal(a.inputs.tensor, b.inputs.tensor)


def test_subset_is_balanced_and_leaves_the_rest_alone(problem):
    small = label_subset(problem, per_class=5)
    assert torch.bincount(small.train.labels).tolist() == [5] * 4
    assert same(small.validation, problem.validation) and same(small.test, problem.test)
    place = {index: row for row, index in enumerate(problem.train.indices.tolist())}
    assert same(small.train, problem.train.take(torch.tensor([place[i] for i in small.train.indices.tolist()])))
    assert small.notes == ("5 training examples a class",) and problem.notes == ()
    assert label_subset(problem, total=20).fingerprint == small.fingerprint


def test_subsets_are_nested_and_seeded(problem):
    few, more = (set(label_subset(problem, per_class=n).train.indices.tolist()) for n in (5, 11))
    assert few < more
    assert few != set(label_subset(problem, per_class=5, seed=1).train.indices.tolist())


@pytest.mark.parametrize("options", [{}, {"per_class": 1, "total": 4}])
def test_subset_needs_one_size(problem, options):
    with pytest.raises(ConfigError, match="either per_class or total"):
        label_subset(problem, **options)


def test_subset_errors(problem):
    for size in (0, -1, 2.5, "3"):
        with pytest.raises(ConfigError, match="per_class: must be a whole number of at least 1"):
            label_subset(problem, per_class=size)
    for size in (0, 10, "8"):
        with pytest.raises(ConfigError, match="total: must be a multiple of the 4 classes"):
            label_subset(problem, total=size)
    with pytest.raises(DataError, match="class 'ant': needs 41 training examples, got 40"):
        label_subset(problem, per_class=41)


@pytest.mark.parametrize(("a", "b"), [("dog", "bee"), (3, 1)])
def test_pair_keeps_rows_and_conditions_truth(problem, a, b):
    pair = class_pair(problem, a, b)
    assert pair.class_names == ("dog", "bee") and pair.notes == ("classes 'dog' and 'bee' only",)
    for name in ("train", "validation", "test"):
        old, new = problem.split(name), pair.split(name)
        kept = [row for row, label in enumerate(old.labels.tolist()) if label in (1, 3)]
        assert new.indices.tolist() == old.indices[kept].tolist()
        assert new.labels.tolist() == [{3: 0, 1: 1}[label] for label in old.labels[kept].tolist()]
        for row, place in enumerate(kept):
            dog, bee = old.truth[place, 3].item(), old.truth[place, 1].item()
            assert new.truth[row].tolist() == pytest.approx([dog / (dog + bee), bee / (dog + bee)], rel=1e-5)
            assert new.votes[row].tolist() == [old.votes[place, 3], old.votes[place, 1]]


def test_pair_of_classes_the_truth_gives_nothing(problem):
    split = problem.train.with_labels(problem.train.labels, torch.eye(4)[(problem.train.labels + 2) % 4])
    pair = class_pair(replace(problem, train=split), "ant", "bee")
    assert torch.equal(pair.train.truth, torch.eye(2)[pair.train.labels])


def test_pair_of_gaussians_is_the_two_class_problem():
    # Conditioning p* on two classes must give the p* of the problem that only has these two.
    from goodteacher.data.gaussian import _distinct_signs, bayes_distribution

    problem = gaussian_problem(train=300, validation=30, test=30, seed=2)
    pair = class_pair(problem, 2, 0)
    means = torch.from_numpy(_distinct_signs(3, 30, seed=2))[[2, 0]]
    assert torch.allclose(
        pair.train.truth.double(), bayes_distribution(pair.train.inputs.tensor, means, 6.0), atol=1e-6
    )


def test_pair_errors(problem):
    with pytest.raises(
        ConfigError, match="must be a class name or a number from 0 to 3, got 'bea'; did you mean 'bee'"
    ):
        class_pair(problem, "bea", 1)
    for bad in (4, -1, True, 1.0):
        with pytest.raises(ConfigError, match="a number from 0 to 3"):
            class_pair(problem, "ant", bad)
    with pytest.raises(ConfigError, match="two different classes, got 'bee' and 1"):
        class_pair(problem, "bee", 1)


def renamed(problem, *names):
    return replace(problem, class_names=names)


def test_numbers_are_names_where_names_are_numbers(problem):
    numbers = renamed(problem, "0", "1", "10", "2")
    pair = class_pair(numbers, 2, 10)
    assert pair.class_names == ("2", "10") and pair.notes == ("classes '2' and '10' only",)
    assert torch.equal(pair.test.indices, class_pair(problem, 3, 2).test.indices)
    assert class_pair(numbers, "2", "10").fingerprint == pair.fingerprint
    padded = renamed(problem, "-1", "002", "010", "3")
    assert class_pair(padded, 2, -1).class_names == ("002", "-1")
    merged = merge_classes(numbers, {"low": [0, 1, 2], "high": [10]})
    assert torch.equal(merged.test.labels, (numbers.test.labels == 2).long())


def test_numbers_that_are_no_name_are_no_place_either(problem):
    with pytest.raises(
        ConfigError, match="must be one of its names, which are numbers, got 3; choose one of: 0, 1, 10, 2"
    ):
        class_pair(renamed(problem, "0", "1", "10", "2"), 3, 1)
    with pytest.raises(ConfigError, match="which are numbers, got True"):
        class_pair(renamed(problem, "0", "1", "10", "2"), True, 1)


def test_two_readings_of_a_number_are_refused(problem):
    with pytest.raises(ConfigError, match="must be one class, got 2, which is '02' or '2'; quote it"):
        class_pair(renamed(problem, "02", "1", "2", "3"), 2, 1)
    mixed = renamed(problem, "cat", "2", "dog", "30")
    said = "got 2, which is the class named '2' or number 2 of them, 'dog'; give its name in quotes"
    with pytest.raises(ConfigError, match=said):
        class_pair(mixed, 2, 0)
    assert class_pair(mixed, "2", 0).class_names == ("2", "cat")
    assert class_pair(mixed, 30, 1).class_names == ("30", "2")  # 30 is nobody's place
    assert class_pair(renamed(problem, "cat", "1", "dog", "x"), 1, 0).class_names == ("1", "cat")


def test_merge_sums_truth_and_votes(problem):
    merged = merge_classes(problem, {"mammal": ["dog", 2], "insect": [0, "bee"]})
    assert merged.class_names == ("mammal", "insect") and merged.notes == ("4 classes merged into 2",)
    for name in ("train", "validation", "test"):
        old, new = problem.split(name), merged.split(name)
        assert torch.equal(new.labels, (old.labels < 2).long()) and torch.equal(new.indices, old.indices)
        for table in ("truth", "votes"):
            was, now = getattr(old, table), getattr(new, table)
            assert torch.allclose(now, torch.stack([was[:, 2] + was[:, 3], was[:, 0] + was[:, 1]], dim=1))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"all": NAMES}, "must map at least two names"),
        (["ant", "bee"], "must map at least two names"),
        ({"a": ["ant", "bee"], "b": ["cat"]}, "groups: must hold every class, got none with dog"),
        ({"a": ["ant", "bee"], "b": ["cat", "dog", 0]}, "class 'ant': must be in one group only"),
        ({"a": ["ant", "bee"], "b": ["cat", "dog", "eel"]}, "must be a class name or a number"),
        ({"a": "ant", "b": ["bee"]}, "group 'a': must be a list of classes"),
    ],
)
def test_merge_errors(problem, groups, message):
    with pytest.raises(ConfigError, match=message):
        merge_classes(problem, groups)


def test_noise_frequencies_match_the_shifted_truth():
    clean = gaussian_problem(classes=4, train=40000, validation=20, test=20, dimension=4, seed=3)
    noisy = symmetric_noise(clean, 0.4, seed=7)
    assert torch.equal(noisy.train.inputs.tensor, clean.train.inputs.tensor)
    wrong = (noisy.train.labels != clean.train.labels).double().mean().item()
    assert abs(wrong - 0.4 * 3 / 4) < 4 * 0.5 / math.sqrt(40000)
    p, hit = noisy.train.truth.double().flatten(), torch.nn.functional.one_hot(noisy.train.labels, 4).double().flatten()
    assert p.min() >= 0.1 - 1e-6  # rate / C
    bins = (p * 10).long()
    for b in bins.unique():
        here = bins == b
        deviation = (hit[here] - p[here]).sum() / (p[here] * (1 - p[here])).sum().sqrt()
        assert abs(float(deviation)) < 4
    # The same count against the clean truth is far off, so the shift is what makes them agree.
    low = clean.train.truth.flatten() < 0.05
    assert (hit[low].mean() - clean.train.truth.flatten()[low].double().mean()) > 0.05


def test_noise_goes_where_it_is_sent(problem):
    noisy = symmetric_noise(problem, 0.5)
    assert same(noisy.test, problem.test) and same(noisy.validation, problem.validation)
    assert torch.equal(noisy.train.votes, problem.train.votes)
    assert noisy.notes == ("symmetric label noise of rate 0.5 on train",)
    both = symmetric_noise(problem, 0.5, splits=("train", "validation"))
    assert torch.equal(both.train.labels, noisy.train.labels)  # each split has its own stream
    assert not torch.equal(both.validation.labels, problem.validation.labels) and same(both.test, problem.test)
    assert not torch.equal(symmetric_noise(problem, 0.5, seed=1).train.labels, noisy.train.labels)


def test_noise_extremes_and_errors(problem):
    assert same(symmetric_noise(problem, 0).train, problem.train)
    assert torch.allclose(symmetric_noise(problem, 1.0).train.truth, torch.tensor(0.25))
    for rate in (-0.1, 1.1, float("nan"), "0.2"):
        with pytest.raises(ConfigError, match=r"rate: must be a number in \[0, 1\]"):
            symmetric_noise(problem, rate)
    with pytest.raises(ConfigError, match="split to disturb: must be a known name, got 'tests'; did you mean 'test'"):
        symmetric_noise(problem, 0.1, splits=("tests",))


@pytest.mark.skipif(
    not REAL.is_dir(), reason="needs the real CIFAR-100 labels in shared/data/cifar100 beside the checkout"
)
def test_real_cifar100_labels():
    with np.load(REAL / "labels.npz") as file:
        y_train, sure, y_test = (file[key] for key in ("train_label", "train_confidence", "test_label"))
    arrays = {"x_train": np.zeros((len(y_train), 1)), "x_test": np.zeros((len(y_test), 1)), "y_train": y_train}
    arrays |= {"y_test": y_test, "y_train_confidence": sure}
    arrays["class_names"] = json.loads((REAL / "class_names.json").read_text())["fine"]
    problem = problem_from_arrays(arrays, confidence=0.9)
    assert len(problem.train) + len(problem.validation) == 46198
    pair = class_pair(problem, 26, 45)  # the confusable pair of published binary experiments, 100 test images a class
    assert pair.class_names == ("crab", "lobster") and torch.bincount(pair.test.labels).tolist() == [100, 100]
