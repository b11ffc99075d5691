import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError, DataError
from goodteacher.data.arrays import npz_problem, problem_from_arrays
from goodteacher.data.problem import Problem

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "mnist" / "mnist.npz"


def vectors(n=20, classes=2, **more):
    x = np.random.default_rng(0).normal(size=(n, 3))
    y = np.arange(n) % classes
    return {"x_train": x, "y_train": y, "x_test": x[:6] + 1, "y_test": y[:6], **more}


def images(*shape, dtype=np.uint8):
    x = np.random.default_rng(0).integers(0, 256, size=(20, *shape)).astype(dtype)
    return {"x_train": x, "y_train": np.arange(20) % 2, "x_test": x[:6], "y_test": np.arange(6) % 2}


def test_vectors_become_float32_and_indices_are_rows_of_the_source():
    arrays = vectors()
    problem = problem_from_arrays(arrays, validation=0.2)
    assert (len(problem.train), len(problem.validation), len(problem.test)) == (16, 4, 6)
    assert problem.augment == "none" and problem.class_names == ("0", "1") and problem.notes == ()
    for split in (problem.train, problem.validation):
        rows = split.indices.numpy()
        assert split.inputs.tensor.dtype == torch.float32
        assert np.array_equal(split.inputs.tensor.numpy(), arrays["x_train"][rows].astype(np.float32))
        assert np.array_equal(split.labels.numpy(), arrays["y_train"][rows])
    assert not set(problem.train.indices.tolist()) & set(problem.validation.indices.tolist())
    assert problem.test.indices.tolist() == list(range(6))


def test_uint8_tables_are_vectors():
    problem = problem_from_arrays(images(5))
    assert problem.train.inputs.tensor.dtype == torch.float32 and problem.input_shape == (5,)


@pytest.mark.parametrize(
    ("shape", "augment", "seen"),
    [((24, 24), "crop_flip", (1, 24, 24)), ((8, 8, 1), "none", (1, 8, 8)), ((32, 32, 3), "crop_flip", (3, 32, 32))],
)
def test_images(shape, augment, seen):
    arrays = images(*shape)
    problem = problem_from_arrays(arrays)
    assert problem.is_image and problem.input_shape == seen and problem.augment == augment
    assert np.array_equal(problem.test.inputs.tensor.numpy().reshape(arrays["x_test"].shape), arrays["x_test"])
    assert problem_from_arrays(arrays, augment="flip").augment == "flip"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (images(3, 8, 8), r"channels last: x.transpose\(0, 2, 3, 1\)"),
        (images(8, 8, 4), "drop extra channels"),
        (images(2, 8, 8, 3), "x_train: must hold uint8 images"),
        (images(), r"x_train: must hold uint8 images .* got uint8 of shape \(20,\)"),
        (vectors(x_train=np.array([["a"]] * 20)), "x_train: must hold numbers"),
    ],
)
def test_inputs_that_fit_nothing(arrays, message):
    with pytest.raises(DataError, match=message):
        problem_from_arrays(arrays)


def test_read_only_and_strided_arrays_are_copied():
    arrays = images(8, 8)
    arrays["x_train"] = np.repeat(arrays["x_train"], 2, axis=2)[:, :, ::2]
    arrays["x_test"].flags.writeable = False
    problem = problem_from_arrays(arrays)
    assert np.array_equal(problem.test.inputs.tensor[..., 0].numpy(), arrays["x_test"])


def test_given_validation_truth_and_votes_stay_with_their_rows():
    p = np.random.default_rng(1).dirichlet([1, 1], size=20)
    votes = np.random.default_rng(2).integers(1, 9, size=(20, 2)).astype(np.uint8)
    problem = problem_from_arrays(vectors(p_train=p, votes_train=votes, p_test=p[:6], votes_test=votes[:6]))
    rows = problem.validation.indices.numpy()
    assert np.allclose(problem.validation.truth.numpy(), p[rows])
    assert np.array_equal(problem.validation.votes.numpy(), votes[rows])
    assert problem.knows_truth and np.array_equal(problem.test.votes.numpy(), votes[:6])
    given = vectors(x_val=np.ones((4, 3)), y_val=[0, 1, 0, 1], p_val=p[:4])
    problem = problem_from_arrays(given)
    assert len(problem.train) == 20 and len(problem.validation) == 4
    assert np.allclose(problem.validation.truth.numpy(), p[:4]) and problem.train.truth is None


@pytest.mark.parametrize(
    ("key", "hint"), [("y_tran", "did you mean 'y_train'"), ("votes_tset", "'votes_test'"), ("x_valid", "'x_val'")]
)
def test_misspelt_keys(key, hint):
    with pytest.raises(DataError, match=f"array '{key}': must have a known name; .*{hint}"):
        problem_from_arrays(vectors(**{key: np.zeros(20)}))


def test_extra_columns_are_ignored():
    extra = {"y_train_noisy": np.ones(20, int), "x_test_ids": np.arange(6), "fine_to_coarse": np.zeros(2)}
    assert problem_from_arrays(vectors(**extra)).fingerprint == problem_from_arrays(vectors()).fingerprint


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {k: v for k, v in vectors().items() if k != "y_test"},
            "array 'y_test': is required, as are x_train, y_train, x_test, y_test, got only x_train",
        ),
        (vectors(p_val=np.ones((2, 2)) / 2), "array 'p_val': needs both x_val and y_val"),
        (vectors(x_val=np.ones((2, 3))), "array 'x_val': needs both"),
        (vectors(y_train=np.arange(19) % 2), "must have the same length, got 20 and 19"),
        (vectors(y_train=np.eye(2)[np.arange(20) % 2]), r"give y_train.argmax\(axis=1\)"),
        (vectors(y_train=np.arange(20) % 2 + 10**9), "labels: must be numbered from 0"),
        (vectors(y_train=np.arange(20) % 2 - 1), r"must lie in \[0, .*values from -1"),
        (vectors(y_test=[0, 1, 2, 0, 1, 9], class_names=["a", "b"]), r"must lie in \[0, 1\], got values from 0 to 9"),
        (vectors(y_train=np.zeros(20, int), y_test=np.zeros(6, int)), "class names: must be at least two"),
        (vectors(class_names=["a", "a"]), "all different, got 'a' twice"),
        (vectors(class_names=["a", "b", "c"]), "none of: c"),
        (vectors(x_test=np.ones((6, 4))), r"x_test: must have examples like those of x_train, .*\(3,\), got .*\(4,\)"),
        (vectors(x_test=np.ones((0, 3)), y_test=np.zeros(0, int)), "test split .*: must not be empty"),
        (vectors(x_test=np.full((6, 3), np.nan)), "inputs in the test split .*NaN or infinity in 6 of 6"),
        (vectors(x_test=np.full((6, 3), 1e300)), "NaN or infinity in 6 of 6"),
        (vectors(p_test=np.full((6, 2), np.nan)), "p_test: must be finite and not negative"),
        (vectors(votes_test=np.full((6, 2), -1)), "votes_test: must be finite and not negative"),
        (vectors(p_test=np.ones((6, 2))), "truth in the test split .* sum to 1"),
        (vectors(p_test=np.ones((5, 2)) / 2), r"p_test: must be numbers of shape \(6, C\)"),
        (
            vectors(p_test=np.ones((6, 2)) / 2, class_names=["a", "b"], p_train=np.ones((20, 3)) / 3),
            "truth in the train",
        ),
    ],
)
def test_arrays_that_do_not_fit(arrays, message):
    with pytest.raises(DataError, match=message):
        problem_from_arrays(arrays)


def test_other_labels_and_least_confidence():
    noisy, sure = np.arange(20) // 10, np.linspace(0, 1, 20)
    arrays = vectors(y_train_noisy=noisy, y_train_confidence=sure)
    problem = problem_from_arrays(arrays, labels_key="y_train_noisy", confidence=0.25)
    rows = torch.cat([problem.train.indices, problem.validation.indices]).sort().values.numpy()
    assert rows.tolist() == list(range(5, 20))
    assert np.array_equal(problem.train.labels.numpy(), noisy[problem.train.indices.numpy()])
    assert problem.notes == (
        "only the 15 of 20 training rows with 'y_train_confidence' of at least 0.25",
        "training labels are 'y_train_noisy'",
    )
    assert "every training label is kept" in problem_from_arrays(arrays).notes[0]


def test_option_errors():
    with pytest.raises(ConfigError, match="labels_key: must be a known name, got 'y_train_nosy'; did you mean"):
        problem_from_arrays(vectors(y_train_noisy=np.zeros(20, int)), labels_key="y_train_nosy")
    with pytest.raises(ConfigError, match="confidence: needs the column"):
        problem_from_arrays(vectors(), confidence=0.5)
    with pytest.raises(ConfigError, match=r"confidence: must be a number in \[0, 1\]"):
        problem_from_arrays(vectors(y_train_confidence=np.ones(20)), confidence=90)
    with pytest.raises(DataError, match="y_train_confidence: must be numbers of shape"):
        problem_from_arrays(vectors(y_train_confidence=np.ones(19)), confidence=0.5)
    with pytest.raises(ConfigError, match="validation fraction"):
        problem_from_arrays(vectors(), validation=1.0)


def test_problem_from_arrays_through_the_class():
    arrays = vectors(class_names=["cat", "dog"])
    problem = Problem.from_arrays(**arrays, seed=3)
    assert problem.class_names == ("cat", "dog")
    assert problem.fingerprint == problem_from_arrays(arrays, seed=3).fingerprint


def test_npz_gives_what_the_arrays_give(tmp_path):
    # The object column would need unpickling; it is extra and so never touched.
    arrays = vectors(class_names=np.array(["cat", "dog"]), y_train_noisy=np.arange(20) % 2)
    np.savez_compressed(tmp_path / "pets.npz", **arrays, remarks=np.array([{}, None]))
    problem = npz_problem(tmp_path / "pets.npz", labels_key="y_train_noisy")
    assert problem.name == "pets"
    assert problem.fingerprint == problem_from_arrays(arrays, labels_key="y_train_noisy").fingerprint
    np.savez(tmp_path / "wrong.npz", **arrays, y_tset=np.zeros(3))
    with pytest.raises(DataError, match="did you mean 'y_test'"):
        npz_problem(tmp_path / "wrong.npz")


class Loud:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_damaged_npz_files_are_named(tmp_path):
    np.savez_compressed(tmp_path / "whole.npz", **vectors())
    whole = (tmp_path / "whole.npz").read_bytes()
    flipped = bytearray(whole)
    flipped[60:90] = bytes(30)
    pickled = {**vectors(), "x_train": np.array([Loud()] * 20, dtype=object)}
    np.savez(tmp_path / "pickled.npz", allow_pickle=True, **pickled)
    bad = {"half": whole[: len(whole) // 2], "empty": b"", "flipped": bytes(flipped), "text": b"not an archive"}
    bad |= {"a_pickle": pickle.dumps(Loud())}
    for name, content in bad.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    for name in (*bad, "single"):
        with pytest.raises(DataError, match=rf"{name}\.npz': must be an .npz file of plain arrays, got \w+: .*savez"):
            npz_problem(tmp_path / f"{name}.npz")
    with pytest.raises(
        DataError, match=r"array 'x_train' in '.*pickled.npz': must hold plain numbers or text, got Python obj"
    ):
        npz_problem(tmp_path / "pickled.npz")
    with pytest.raises(DataError, match=r"gone\.npz': must be an .npz file, got no such file"):
        npz_problem(tmp_path / "gone.npz")


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_every_truncation_is_a_data_error(tmp_path, cut):
    np.savez(tmp_path / "a.npz", **vectors())
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) * cut // 40])
    with pytest.raises(DataError, match=r"a\.npz'"):
        npz_problem(tmp_path / "a.npz")


@pytest.mark.skipif(not DATA.is_file(), reason="needs the real MNIST arrays in shared/data/mnist beside the checkout")
def test_real_mnist():
    with np.load(DATA) as file:
        arrays = {
            f"{a}_{b}": file[f"{b}_{c}"] for a, c in (("x", "images"), ("y", "labels")) for b in ("train", "test")
        }
    problem = problem_from_arrays(arrays, name="mnist")
    assert problem.describe() == "mnist: 54001 train / 5999 validation / 10000 test · 10 classes · 1x28x28"
    assert abs(float(problem.statistics[0]) - 0.1307) < 1e-3  # the mean every MNIST tutorial normalises with
