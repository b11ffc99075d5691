from __future__ import annotations

import json

import pytest

from goodteacher.data.facts import Facts

PICTURES = Facts("a" * 16, 3, (3, 32, 32), 90, True, True, False, "toy", "toy: 90 train", ("x", "y", "z"), ("a copy",))
VECTORS = Facts("b" * 16, 2, (30,), 50, is_image=False, knows_truth=False, has_votes=True)


@pytest.mark.parametrize("facts", [PICTURES, VECTORS])
def test_facts_read_back_from_json(facts):
    again = Facts.read(json.loads(json.dumps(facts.stored())))
    assert again == facts and hash(again) == hash(facts)


def test_files_of_earlier_versions_are_completed_by_what_lies_around_them():
    earlier = {
        "format": 2, "name": "toy", "describe": "toy: 90 train", "classes": 3, "class_names": ["x", "y", "z"],
        "input_shape": [3, 32, 32], "train": 90, "notes": ["a copy"],
    }  # fmt: skip
    assert Facts.read(earlier, fingerprint="a" * 16, tensors=("validation.votes", "train.truth")) == PICTURES
    flat = {**earlier, "input_shape": [30]}
    bare = Facts.read(flat, fingerprint="a" * 16)
    assert not (bare.is_image or bare.knows_truth or bare.has_votes)
    assert Facts.read(flat, tensors=("train.votes",)).has_votes
