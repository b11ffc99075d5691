from __future__ import annotations

import pytest

from goodteacher.base.errors import ConfigError
from goodteacher.train.config import Recipe, validate


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
    ],
)
def test_values_out_of_range_name_key_rule_and_value(key, value):
    with pytest.raises(ConfigError, match=rf"recipe\.{key}.*got"):
        validate(Recipe, {key: value}, "recipe")


def test_text_from_yaml_is_read_as_a_number():
    assert validate(Recipe, {"weight_decay": "1e-4"}, "recipe").weight_decay == 1e-4


def test_a_recipe_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().lr = 1.0
