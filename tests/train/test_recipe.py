from __future__ import annotations

import pytest

from goodteacher.base.errors import ConfigError
from goodteacher.study.spec import StudySpec
from goodteacher.train.recipe import Recipe, validate


def test_unknown_key_gets_a_suggestion():
    with pytest.raises(ConfigError, match=r"recipe\.epoch.*did you mean 'epochs'"):
        validate(Recipe, {"epoch": 3}, "recipe")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("lr", -1),
        ("lr", "fast"),
        ("batch_size", 1),
        ("schedule", "cosin"),
        ("milestones", [1.5]),
        ("momentum", 1.0),
        ("cycles", 0),
        ("swa", 1.0),
        ("swa_lr", 0),
        ("mixup", 0),
        ("cutmix", -1),
        ("filter_table", 1.5),
    ],
)
def test_values_out_of_range_name_key_rule_and_value(key, value):
    with pytest.raises(ConfigError, match=rf"recipe\.{key}.*got"):
        validate(Recipe, {key: value}, "recipe")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ema": 0.9, "swa": 0.5}, r"recipe\.swa': cannot be combined with ema.*got 0\.5"),
        ({"swa_lr": 0.05}, r"recipe\.swa_lr': needs swa.*got 0\.05"),
        ({"schedule": "cyclic", "epochs": 4}, r"recipe\.cycles': must be at most the 4 epochs of the recipe, got 5"),
        ({"schedule": "cyclic", "epochs": 10, "cycles": 6}, r"recipe\.cycles'.*10 epochs.*5 would do, got 6"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        validate(Recipe, given, "recipe")


def test_options_that_fit_together_are_taken():
    validate(Recipe, {"swa": 0.5, "swa_lr": 0.05, "mixup": 0.2, "cutmix": 1}, "recipe")
    validate(Recipe, {"schedule": "cyclic", "epochs": 10, "cycles": 4}, "recipe")
    assert validate(Recipe, {"schedule": "cosine", "epochs": 2}, "recipe").cycles == 5  # of no account without cycles


def test_a_rule_of_the_whole_names_no_key_and_repeats_nothing():
    with pytest.raises(ConfigError) as found:
        validate(StudySpec, {"problem": "digits", "students": {"kd": {"model": "mlp", "taught_by": ["ce"]}}}, "")
    assert str(found.value).startswith("study: student 'kd' is taught by 'ce', which is no teacher here; ")
    assert "got" not in str(found.value)


def test_a_long_value_is_not_repeated_and_a_short_one_is():
    with pytest.raises(ConfigError) as found:
        validate(Recipe, {"lr": "fast" * 50}, "recipe")
    assert "recipe.lr" in str(found.value) and "fast" not in str(found.value)
    with pytest.raises(ConfigError, match="got 'fast'"):
        validate(Recipe, {"lr": "fast"}, "recipe")


def test_text_from_yaml_is_read_as_a_number():
    assert validate(Recipe, {"weight_decay": "1e-4"}, "recipe").weight_decay == 1e-4


def test_a_recipe_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().lr = 1.0
