from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from goodteacher.study.teaching import BY_EXAMPLE, TABLES, Teaching

TWO = Teaching("logits", ("a", "b"), "validation", {"temperature": {"score": "brier"}})


@pytest.mark.parametrize("teaching", [Teaching("truth"), Teaching("network", ("a",)), TWO])
def test_it_reads_back_from_json(teaching):
    assert Teaching.read(json.loads(json.dumps(asdict(teaching)))) == teaching


def test_one_network_has_features_to_read():
    assert Teaching("network", ("a",)).network == "a"
    for how in ("probabilities", "logits", "folds", "filter", "truth", "votes"):
        assert Teaching(how, ("a", "b")).network is None


def test_what_is_averaged():
    assert TWO.space == "logits"
    assert {Teaching(how, ("a", "b")).space for how in ("probabilities", "folds", "network")} == {"probabilities"}


def test_who_looks_up_a_row():
    assert set(TABLES) < set(BY_EXAMPLE) and set(BY_EXAMPLE) - set(TABLES) == {"folds", "filter"}


def test_without_a_word_it_teaches_what_it_says():
    assert Teaching("truth") == Teaching("truth", (), "equal", {"identity": {}})
    assert Teaching("truth").target_map is not Teaching("truth").target_map
