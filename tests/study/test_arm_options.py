from __future__ import annotations

import pytest
from pydantic import ValidationError

from goodteacher.study.arm_options import ArmInputs, EarlyStop, Ensemble, Snapshots


def test_what_is_not_said_is_the_usual():
    assert EarlyStop(epochs=3).form == "truncate"
    assert Ensemble(of=["a"]) == Ensemble(of=("a",), average="probabilities", weights="equal")
    assert Snapshots() == Snapshots(cycles=5, average="probabilities", weights="equal")
    assert ArmInputs() == ArmInputs(size=None, mean=None, std=None)


def test_a_size_is_one_number_or_height_and_width():
    assert ArmInputs(size=96).size == 96 and ArmInputs(size=[96, 64]).size == (96, 64)


@pytest.mark.parametrize(
    ("option", "values", "at"),
    [
        (EarlyStop, {}, "epochs"),
        (EarlyStop, {"epochs": 0}, "epochs"),
        (EarlyStop, {"epochs": 2, "form": "cut"}, "form"),
        (Ensemble, {"of": []}, "of"),
        (Ensemble, {"of": ["a"], "average": "votes"}, "average"),
        (Ensemble, {"of": ["a"], "weights": "test"}, "weights"),
        (Snapshots, {"cycles": 1}, "cycles"),
        (ArmInputs, {"size": 0}, "size"),
        (ArmInputs, {"size": [96, 96, 3]}, "size"),
        (ArmInputs, {"std": [0.0]}, "std"),
        (ArmInputs, {"pixels": 96}, "pixels"),
    ],
)
def test_mistakes_are_named_by_their_key(option, values, at):
    with pytest.raises(ValidationError) as caught:
        option(**values)
    assert {error["loc"][0] for error in caught.value.errors()} == {at}
