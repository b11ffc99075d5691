from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from goodteacher.study.runspec import LATER, RunSpec
from goodteacher.study.teaching import Teaching
from goodteacher.train.recipe import Recipe

RECIPE = Recipe(schedule="multistep", lr=0.05).model_dump(mode="json")
TEACHER = RunSpec("teacher", {"mlp": {"widths": (8, 4)}}, {"brier": {}}, 0.0, RECIPE, "last", 3, "f" * 16, fold=(1, 5))
MAP = {"temperature": {"score": "brier", "value": None}}
STUDENT = replace(
    TEACHER, kind="student", loss={"kd": {"temperature": 4.0}}, gamma=0.1, fold=None, start="c" * 16,
    initial_epochs=2, teaching=Teaching("probabilities", ("a" * 16, "b" * 16), "validation", MAP),
)  # fmt: skip


@pytest.mark.parametrize("spec", [TEACHER, STUDENT])
def test_a_spec_reads_back_with_its_id(spec):
    again = RunSpec.read(json.loads(json.dumps(asdict(spec))))
    assert again.id == spec.id and again.training_id == spec.training_id
    assert (again.fold, again.teaching, again.needs_runs) == (spec.fold, spec.teaching, spec.needs_runs)


def test_another_spec_has_another_id():
    assert len({TEACHER.id, STUDENT.id, replace(TEACHER, seed=4).id, replace(TEACHER, fold=(2, 5)).id}) == 4


def test_fields_of_a_recipe_that_came_later_leave_the_ids_of_earlier_runs_as_they_were():
    earlier = {key: value for key, value in RECIPE.items() if key not in LATER}
    assert replace(TEACHER, recipe=earlier).id == TEACHER.id
    for change in ({"sampling": "balanced"}, {"class_weights": "balanced"}, {"class_weights": [1.0, 2.0]}):
        assert replace(TEACHER, recipe={**RECIPE, **change}).id != TEACHER.id
