from __future__ import annotations

import subprocess
import sys

import pytest

from goodteacher.base.errors import ConfigError
from goodteacher.base.input_spec import InputSpec
from goodteacher.data.facts import Facts
from goodteacher.study.names import (
    arm_inputs,
    canonical_keep,
    check_given,
    check_recipe,
    check_table,
    named,
    teacher_recipe,
)
from goodteacher.study.planned import Given
from goodteacher.study.runspec import RunSpec
from goodteacher.study.spec import ArmInputs, parse_study
from goodteacher.train.recipe import Recipe

MADE = InputSpec("image", (3, 8, 6), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
VECTOR = InputSpec("vector", (2,), (0.0, 0.0), (1.0, 1.0))


def facts(inputs=MADE, names=("a", "b"), fingerprint="f" * 16, **changes):
    given = {"is_image": inputs is None or inputs.is_image, "knows_truth": False, "has_votes": False, **changes}
    shape = inputs.shape if inputs else (3, 8, 6)
    return Facts(fingerprint, len(names), shape, 10, class_names=names, inputs=inputs, **given)


def test_a_name_is_a_mapping_to_its_options():
    assert named("kd") == {"kd": {}}
    given = {"kd": {"alpha": 1}, "at": None}
    found = named(given)
    assert found == {"kd": {"alpha": 1}, "at": {}}
    found["kd"]["alpha"] = 2
    assert given["kd"] == {"alpha": 1}


@pytest.mark.parametrize(
    ("keep", "epochs", "found"),
    [("last", 5, "last"), ("half", 5, "epoch=3"), ("half", 6, "epoch=3"), ("half", 1, "epoch=1"), ("epoch=5", 5, "epoch=5")],
)  # fmt: skip
def test_half_is_an_epoch(keep, epochs, found):
    assert canonical_keep(keep, Recipe(epochs=epochs), "teachers.t") == found


def test_an_epoch_beyond_the_recipe_is_refused():
    with pytest.raises(
        ConfigError, match=r"^teachers.t.keep: must be within the 5 epochs of its recipe, got 'epoch=6'\.$"
    ):
        canonical_keep("epoch=6", Recipe(epochs=5), "teachers.t")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"cutmix": 1.0}, r"^teachers.t.recipe.cutmix: needs image inputs, got 1.0\.$"),
        ({"augment": "flip"}, r"^teachers.t.recipe.augment: needs image inputs, got 'flip'; use none or auto\.$"),
    ],
)
def test_vectors_are_neither_cut_nor_flipped(recipe, said):
    with pytest.raises(ConfigError, match=said):
        check_recipe(Recipe(**recipe), "teachers.t", facts(VECTOR))
    check_recipe(Recipe(**recipe), "teachers.t", facts())
    check_recipe(Recipe(mixup=0.2), "teachers.t", facts(VECTOR))


def recipe_of(**arm):
    study = parse_study(
        {"problem": "made", "recipe": {"epochs": 12, "lr": 0.1}, "teachers": {"t": {"model": "mlp", **arm}}}
    )
    return teacher_recipe(study, "t", study.teachers["t"])


def test_procedures_are_written_into_the_recipe():
    assert recipe_of()[1] == ("last",) and recipe_of()[0].epochs == 12
    recipe, keeps = recipe_of(early_stop=4)
    assert (recipe.epochs, keeps) == (12, ("epoch=4",))
    recipe, keeps = recipe_of(early_stop={"epochs": 4, "form": "compress"}, recipe={"lr": 0.5})
    assert (recipe.epochs, recipe.lr, keeps) == (4, 0.5, ("last",))
    recipe, keeps = recipe_of(snapshots=3)
    assert (recipe.schedule, recipe.cycles, keeps) == ("cyclic", 3, ("epoch=4", "epoch=8", "epoch=12"))
    assert recipe_of(filter_table=0.3)[0].filter_table == 0.3
    with pytest.raises(ConfigError, match=r"^key 'teachers.t.snapshots': .*, got 50\.$"):
        recipe_of(snapshots=50)


def test_a_table_must_be_known():
    check_table("t", "truth", facts(knows_truth=True))
    check_table("t", "votes", facts(has_votes=True))
    for table, known in (("truth", {"has_votes": True}), ("votes", {"knows_truth": True})):
        with pytest.raises(
            ConfigError, match=rf"^teachers.t.table: needs a problem whose {table} is known in training"
        ):
            check_table("t", table, facts(**known))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, None),
        ({"size": (8, 6)}, None),
        ({"mean": MADE.mean, "std": MADE.std}, None),
        ({"size": 4}, InputSpec("image", (3, 4, 4), MADE.mean, MADE.std)),
        ({"size": (4, 5)}, InputSpec("image", (3, 4, 5), MADE.mean, MADE.std)),
        ({"mean": (0.5,) * 3}, InputSpec("image", (3, 8, 6), (0.5,) * 3, MADE.std)),
        ({"std": (0.5,) * 3}, InputSpec("image", (3, 8, 6), MADE.mean, (0.5,) * 3)),
    ],
)
def test_what_an_arms_network_sees(given, found):
    assert arm_inputs(ArmInputs(**given), facts(), "teachers.t") == found


def test_an_arm_that_says_nothing_sees_what_the_problem_makes():
    assert arm_inputs(None, facts(), "teachers.t") is None is arm_inputs(None, facts(VECTOR), "teachers.t")


def test_vectors_have_no_inputs_to_choose():
    with pytest.raises(ConfigError, match=r"^teachers.t.inputs: needs image inputs, got vectors\.$"):
        arm_inputs(ArmInputs(size=4), facts(VECTOR), "teachers.t")


def given(**changes):
    spec = RunSpec(
        "teacher", {"mlp": {}}, {"brier": {}}, 0.0, {}, "last", 0, "e" * 16, inputs=changes.pop("sees", None)
    )
    return Given(spec, facts(**{"fingerprint": "e" * 16, **changes}))


def check(run, own=None):
    check_given(run, "abc", own or facts(), "teachers.t.run")


def test_a_finished_run_fits_by_names_and_by_what_it_sees():
    check(given())
    check(given(inputs=InputSpec("image", (3, 99, 1), MADE.mean, MADE.std)))
    check(given(names=()), facts(names=()))
    grey = InputSpec("image", (1, 8, 6), (0.1,), (0.2,))
    check(given(), facts(grey))
    check(given(inputs=None, fingerprint="f" * 16))  # of this problem, whatever was written down
    check(given(inputs=None, sees=MADE.stored()))  # says so itself


@pytest.mark.parametrize(
    ("run", "own", "said"),
    [
        (given(names=("a", "c")), None,
         "must know the problem's 2 classes by the same names in the same order: a, b, got 2: a, c."),
        (given(names=("b", "a")), None,
         "must know the problem's 2 classes by the same names in the same order: a, b, got 2: b, a."),
        (given(names=tuple("abcdefg")), None,
         "must know the problem's 2 classes by the same names in the same order: a, b, got 7: a, b, c, d, e, ..."),
        (given(inputs=None), None,
         "must say what its network expects to see, got a run of an earlier version on other data; run any study on its own "
         "data with this store once: that writes it down."),
        (given(inputs=VECTOR), None,
         "must take the problem's images of shape (3, 8, 6), got vectors of shape (2,); grey pictures can be shown in colour, "
         "and pictures be resized; nothing else is."),
        (given(sees=InputSpec("image", (1, 8, 6), (0.1,), (0.2,)).stored()), None,
         "must take the problem's images of shape (3, 8, 6), got images of shape (1, 8, 6); grey pictures can be shown in "
         "colour, and pictures be resized; nothing else is."),
    ],
)  # fmt: skip
def test_one_that_does_not_fit_is_refused_in_one_sentence(run, own, said):
    with pytest.raises(ConfigError) as refused:
        check(run, own)
    assert str(refused.value) == f"teachers.t.run, run abc: {said}"


def test_words_need_no_torch():
    code = "import sys, goodteacher.study.names, goodteacher.study.plan; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
