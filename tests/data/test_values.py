import numpy as np
import pytest
import torch

from goodteacher.base.errors import DataError
from goodteacher.data.arrays import npz_problem, problem_from_arrays
from goodteacher.data.values import read_array, read_inputs, read_labels, read_table

RNG = np.random.default_rng(0)


def pictures(train, test=None):
    return {"x_train": train, "x_test": train[:2] if test is None else test}


def whole(dtype, high, low=0):
    x = RNG.integers(low, high, size=(6, 4, 4), endpoint=True).astype(dtype)
    x.flat[0], x.flat[1] = low, high
    return x


@pytest.mark.parametrize("y", [
    np.arange(6).reshape(6, 1), np.arange(6).reshape(6, 1, 1), np.arange(6.0), np.arange(6, dtype=np.float16)[:, None],
    np.arange(6, dtype=np.uint64), list(range(6)), torch.arange(6), torch.arange(6).float(), np.arange(6).astype("i1"),
])  # fmt: skip
def test_labels_that_are_whole_numbers_are_taken(y):
    read = read_labels(y, "y_train")
    assert read.tolist() == list(range(6)) and read.dtype == torch.int64


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.eye(3)[[0, 2, 1]], r"shape \(3, 3\); give y_train.argmax\(axis=1\), as each row has a single 1"),
        (np.eye(3, dtype=bool), r"give y_train.argmax"),
        (np.array([[1, 0], [1, 1]]), "one example may have one class, and row 1 has 2"),
        (np.array([[1, 0], [0, 0]]), "one example may have one class, and row 1 has 0"),
        (
            np.array([[0.25, 0.75], [0.5, 0.5]]),
            r"they are probabilities: give them as p_train and their argmax\(axis=1\)",
        ),
        (np.array([[3, 7], [4, 8]]), "give one class number for each example: the column that holds it"),
        (np.arange(5)[None], r"give y_train.ravel\(\)"),
        (np.array([0, 1, 1.5, 2.5]), r"got 1.5 in row 2 \(and 1 rows more\); give one whole number"),
        (np.array([0, np.nan]), "got nan in row 1; give"),
        (np.array([0, np.inf]), "got inf in row 1; give"),
        (np.array([1, 1e300]), r"got 1e\+300 in row 1"),
        (np.array([1, 2**64 - 1], dtype=np.uint64), "got 18446744073709551615 in row 1"),
        (
            np.array(["cat", "dog"]),
            r"<U3 such as np.str_\('cat'\); number the classes .*np.unique\(y_train\), np.searchsorted",
        ),
        (
            np.array([0, 1], dtype=object),
            r"array 'y_train': must hold plain .*write it as y_train.astype\(...\) of 'int64'",
        ),
        (np.array([1j, 0]), r"complex128 of shape \(2,\)"),
        ([[0, 1], [0]], "y_train: must be an array, got ValueError: .*inhomogeneous"),
    ],
)
def test_labels_are_answered_by_their_values(y, message):
    with pytest.raises(DataError, match=message):
        read_labels(y, "y_train")


def test_a_column_of_labels_as_keras_loads_them_is_the_same_problem():
    x = RNG.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    y = np.arange(20) % 2
    flat = problem_from_arrays({"x_train": x, "y_train": y, "x_test": x, "y_test": y})
    column = problem_from_arrays({"x_train": x, "y_train": y[:, None], "x_test": x, "y_test": y[:, None] * 1.0})
    assert flat.fingerprint == column.fingerprint


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "int64", "uint32", "uint64"])
def test_whole_pictures_up_to_255_are_taken_as_they_are(dtype):
    x = whole(dtype, 200)
    read, notes = read_inputs(pictures(x))
    assert read["x_train"].dtype == torch.uint8 and np.array_equal(read["x_train"][..., 0].numpy(), x)
    said = f"pictures in x_train, x_test of {dtype} with values from 0 to 200, taken as they are, with 255 as white"
    assert notes == (said,)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "int64"])
def test_sixteen_bits_are_scaled_in_all_splits_alike(dtype):
    x, dark = whole(dtype, 65535), np.array([[[0, 128, 129, 255]]]).astype(dtype)
    read, notes = read_inputs({"x_train": x, "x_test": dark, "x_val": x[:1]})
    assert np.array_equal(read["x_train"][..., 0].numpy(), np.round(x / 257))
    assert read["x_test"].flatten().tolist() == [0, 0, 1, 1]
    (note,) = notes
    assert note.startswith(
        f"pictures in x_train, x_val, x_test of {dtype} with values from 0 to 65535, scaled down as 16 bits"
    )


def test_twelve_bits_in_sixteen_are_said_with_their_largest_value():
    assert "values from 0 to 4095, scaled down as 16 bits" in read_inputs(pictures(whole("uint16", 4095)))[1][0]


def test_scales_that_differ_between_splits_are_refused():
    with pytest.raises(
        DataError, match=r"one scale in all splits, got x_test of uint16 .* to 4000 beside x_train of uint8"
    ):
        read_inputs(pictures(whole("uint8", 255), whole("uint16", 4000)))
    read, notes = read_inputs(pictures(whole("uint8", 255), whole("int64", 255)))
    assert len(notes) == 1 and read["x_test"].dtype == torch.uint8


def real(low, high):
    x = RNG.uniform(low, high, size=(6, 4, 4, 3)).astype(np.float32)
    x.flat[0], x.flat[1] = low, high
    return x


@pytest.mark.parametrize(
    ("x", "remedy"),
    [
        (real(0, 1), r"from 0 to 1; give \(x \* 255\).round\(\).clip\(0, 255\).astype\('uint8'\)"),
        (real(0, 1) * np.float32(1.0000001), r"give \(x \* 255\).round"),
        (real(0, 255), r"from 0 to 255; give x.round\(\).clip\(0, 255\).astype"),
        (real(0, 65535), r"give \(x / 257\).round\(\).astype\('uint8'\) if 65535 is white"),
        (
            real(-1, 1),
            r"undo the normalisation: give \(\(x \+ 1\) \* 127.5\).round\(\).astype\('uint8'\) if it was to \[-1, 1\], ",
        ),
        (real(-2.1, 2.6), r"undo the normalisation: give \(x \* std \+ mean\) in 0..255"),
        (real(0, 1e6), r"where white is the largest number possible, 1e\+06 or more"),
        (whole("int32", 10**6), r"give \(x \* \(255 / white\)\).round"),
        (whole("int16", 100, -100), r"give x.view\('uint16'\) if 16 bits were read with a sign"),
        (whole("int8", 127, -128), r"give x.view\('uint8'\) if bytes were read with a sign, .*128 was taken off"),
        (whole("int64", 3, -3), r"undo the normalisation"),
        (whole("bool", 1), r"give x.astype\('uint8'\) \* 255"),
        (np.full((6, 4, 4), np.nan), "replace NaN and infinity first"),
    ],
)
def test_pictures_are_answered_by_their_values(x, remedy):
    with pytest.raises(DataError, match=remedy):
        read_inputs(pictures(x))


def test_following_a_remedy_gives_the_picture():
    x = whole("uint8", 255)
    for given, follow in (
        (x / 255, lambda x: (x * 255).round().clip(0, 255).astype("uint8")),
        (x.astype(float), lambda x: x.round().clip(0, 255).astype("uint8")),
        (x / 127.5 - 1, lambda x: ((x + 1) * 127.5).round().astype("uint8")),
        (x.view("int8"), lambda x: x.view("uint8")),
        (x.astype(int) * 257.0, lambda x: (x / 257).round().astype("uint8")),
    ):
        with pytest.raises(DataError):
            read_inputs(pictures(given))
        assert np.array_equal(follow(given), x)


@pytest.mark.parametrize(
    ("key", "values", "plain"),
    [
        ("y_train", [0, 1] * 10, "'int64'"), ("x_test", [[0.5] * 3] * 20, "'uint8' .* or 'float32'"),
        ("class_names", ["a", "b"], "str"), ("p_train", [[0.5, 0.5]] * 20, "'float32'"), ("votes_test", [[1, 2]] * 20, "'int64'"),
    ],
)  # fmt: skip
def test_an_object_array_in_a_file_is_named_by_its_key(tmp_path, key, values, plain):
    arrays = {"x_train": np.zeros((20, 3)), "y_train": [0, 1] * 10, "x_test": np.zeros((20, 3)), "y_test": [0, 1] * 10}
    np.savez(tmp_path / "a.npz", allow_pickle=True, **{**arrays, key: np.array(values, dtype=object)})
    with pytest.raises(
        DataError, match=rf"array '{key}' in '.*a.npz': must hold plain .*{key}.astype\(...\) of {plain}"
    ):
        npz_problem(tmp_path / "a.npz")


def test_tensors_are_arrays():
    assert np.array_equal(read_array(torch.ones(2, requires_grad=True), "x"), [1, 1])
    assert np.array_equal(read_array(torch.tensor([0.5, 2]).bfloat16(), "x"), [0.5, 2])


def test_tables_keep_half_precision_and_name_what_is_bad():
    table = np.full((3, 2), 0.5)
    for given, dtype in (
        (table, torch.float32),
        (table.astype("f2"), torch.float16),
        (torch.ones(3, 2).bfloat16(), torch.bfloat16),
    ):
        assert read_table({"p_train": given}, "p_train", 3).dtype == dtype
    assert read_table({}, "p_train", 3) is None
    table[1, 0] = -0.25
    with pytest.raises(DataError, match=r"p_train: must be finite and not negative, got -0.25 in row 1, column 0"):
        read_table({"p_train": table}, "p_train", 3)
