import pytest
import torch

from goodteacher.base.checks import (
    check_finite,
    check_float,
    check_labels,
    check_logits,
    check_same_shape,
    check_simplex,
    trusted_values,
    values_are_trusted,
)
from goodteacher.base.errors import (
    ConfigError,
    DataError,
    GoodteacherError,
    ShapeError,
    StoreError,
    TrainingError,
    check_choice,
    check_range,
    suggest,
)

Z = torch.zeros(2, 3)


def message(call, kind):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "lr."),
        ({"rule": "must be positive"}, "lr: must be positive."),
        ({"rule": "must be positive", "received": 0}, "lr: must be positive, got 0."),
        ({"rule": "r", "received": "x", "remedy": "raise it"}, "lr: r, got x; raise it."),
        ({"rule": "r", "remedy": "did you mean 'a'?"}, "lr: r; did you mean 'a'?"),
        ({"remedy": "raise it."}, "lr; raise it."),
    ],
)
def test_a_message_is_one_sentence_of_the_parts_given(given, text):
    error = GoodteacherError("lr", **given)
    assert str(error) == text
    assert error.what == "lr" and error.rule == given.get("rule", "") and error.remedy == given.get("remedy", "")


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ConfigError, ValueError),
        (DataError, ValueError),
        (ShapeError, ValueError),
        (TrainingError, RuntimeError),
        (StoreError, OSError),
    ],
)
def test_every_error_has_one_root_and_a_builtin_kind(kind, builtin):
    error = kind("x", rule="y")
    assert isinstance(error, GoodteacherError) and isinstance(error, builtin) and str(error) == "x: y."


def test_suggest_names_the_nearest_or_all():
    assert suggest("brierr", ["focal", "brier"]) == "did you mean 'brier'?"
    assert suggest("qqq", ["focal", "brier"]) == "choose one of: brier, focal"


def test_check_choice():
    check_choice("objective", "brier", ["brier"])
    text = message(lambda: check_choice("objective", "brierr", iter(["brier", "focal"])), ConfigError)
    assert text == "objective: must be a known name, got 'brierr'; did you mean 'brier'?"
    assert message(lambda: check_choice("x", 3, ["a", "b"]), ConfigError).endswith("got 3; choose one of: a, b.")


@pytest.mark.parametrize("value", [0, 1, 0.5])
def test_check_range_accepts_its_closed_ends(value):
    check_range("x", value, low=0, high=1)


@pytest.mark.parametrize("value", [-1e-9, 1 + 1e-9, float("nan"), float("inf"), True, "0.5", None])
def test_check_range_refuses(value):
    text = message(lambda: check_range("rate", value, low=0, high=1), ConfigError)
    assert text == f"rate: must be a number in [0, 1], got {value!r}."


def test_check_range_open_ends():
    assert "(0, 1]" in message(lambda: check_range("x", 0, low=0, high=1, open_low=True), ConfigError)
    assert "[0, 1)" in message(lambda: check_range("x", 1, low=0, high=1, open_high=True), ConfigError)
    check_range("x", 1, low=0, high=1, open_low=True)
    check_range("x", 0, low=0, high=1, open_high=True)
    assert "[-inf, inf]" in message(lambda: check_range("x", float("inf")), ConfigError)


def test_check_finite_counts_what_is_wrong():
    bad = torch.tensor([1.0, float("nan"), float("-inf")])
    text = message(lambda: check_finite(good=Z, bad=bad), ShapeError)
    assert text.startswith("bad: must be finite, got 2 of 3 entries NaN or infinite; look for")


def test_check_float():
    check_float(x=Z)
    assert "got torch.int64" in message(lambda: check_float(x=Z.long()), ShapeError)
    assert "x: must be a floating-point tensor, got list" in message(lambda: check_float(x=[1.0]), ShapeError)
    assert "must be finite" in message(lambda: check_float(x=Z / 0), ShapeError)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 1), (2, 3, 1)])
def test_check_logits_refuses_shapes(shape):
    text = message(lambda: check_logits(z=torch.zeros(shape)), ShapeError)
    assert text == f"z: must have shape (N, C) with N >= 1 and C >= 2, got shape {shape}."


def test_check_logits_compares_all_of_them():
    check_logits(a=Z, b=Z)
    text = message(lambda: check_logits(student=Z, teacher=torch.zeros(2, 4)), ShapeError)
    assert text == (
        "student and teacher: must have the same shape, got (2, 3) and (2, 4); "
        "teacher and student must be trained for the same classes."
    )


def test_check_same_shape_gives_the_remedy_only_for_classes():
    text = message(lambda: check_same_shape(a=torch.zeros(2, 3), b=torch.zeros(4, 3)), ShapeError)
    assert text == "a and b: must have the same shape, got (2, 3) and (4, 3)."
    assert "classes" not in message(lambda: check_same_shape(a=torch.zeros(2), b=torch.zeros(4)), ShapeError)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([0, 1], "labels: must be an int64 tensor of shape (2,), got list."),
        (torch.zeros(2), "labels: must be an int64 tensor of shape (2,), got torch.float32 (2,)."),
        (torch.zeros(3, dtype=torch.int64), "labels: must be an int64 tensor of shape (2,), got torch.int64 (3,)."),
        (torch.tensor([0, 3]), "labels: must lie in [0, 2], got values from 0 to 3."),
        (torch.tensor([-1, 2]), "labels: must lie in [0, 2], got values from -1 to 2."),
    ],
)
def test_check_labels_refuses(labels, text):
    assert message(lambda: check_labels(labels, examples=2, classes=3), ShapeError) == text


def test_check_labels_accepts():
    check_labels(torch.tensor([0, 2]), examples=2, classes=3)
    check_labels(torch.zeros(0, dtype=torch.int64), examples=0, classes=3)


@pytest.mark.parametrize("rows", [[[0.5, 0.6]], [[1.1, -0.1]], [[0.0, 0.0]]])
def test_check_simplex_refuses(rows):
    text = message(lambda: check_simplex(truth=torch.tensor(rows)), ShapeError)
    assert text.startswith("truth: every row must be non-negative and sum to 1, got minimum")
    assert text.endswith("normalise the rows, or pass logits where logits are expected.")


def test_check_simplex_tolerance():
    check_simplex(p=torch.tensor([[0.5005, 0.5]]))
    with pytest.raises(ShapeError):
        check_simplex(1e-4, p=torch.tensor([[0.5005, 0.5]]))


def test_trusted_values_skip_values_and_nothing_else():
    nan, far = torch.full((2, 3), float("nan")), torch.tensor([0, 9])
    with trusted_values():
        assert values_are_trusted()
        check_logits(z=nan)
        check_labels(far, examples=2, classes=3)
        check_simplex(p=Z)
        with pytest.raises(ShapeError, match="shape"):
            check_logits(z=torch.zeros(3))
        with pytest.raises(ShapeError, match="int64"):
            check_labels(Z, examples=2, classes=3)
    assert not values_are_trusted()
    with pytest.raises(ShapeError):
        check_logits(z=nan)


def test_trusted_values_nest_and_end_with_an_error():
    with pytest.raises(KeyError), trusted_values():
        with trusted_values():
            pass
        assert values_are_trusted()
        raise KeyError
    assert not values_are_trusted()


def test_of_very_many_names_a_few_are_shown():
    few, many = (suggest("zzz", [f"run{k:03}" for k in range(count)]) for count in (40, 500))
    assert (
        few.endswith("run039") and many.startswith("choose one of: run000, ") and many.endswith("run039 and 460 more")
    )
