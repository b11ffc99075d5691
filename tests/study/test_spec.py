from __future__ import annotations

import json

import pytest
import yaml

from goodteacher.base.errors import ConfigError
from goodteacher.study.spec import json_schema, parse_study, read_study
from goodteacher.study.study_file import apply_override

GOOD = {
    "problem": {"name": "digits"},
    "teachers": {"ce": {"model": "mlp"}},
    "students": {"kd": {"model": "mlp"}},
}


def changed(**changes):
    return {**GOOD, **changes}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (changed(teacher={}), r"key 'teacher'.*did you mean 'teachers'"),
        (changed(recipe={"epoch": 1}), r"key 'recipe\.epoch'.*did you mean 'epochs'"),
        (changed(teachers={"ce": {"modle": "mlp"}}), r"teachers\.ce\.modle.*did you mean 'model'"),
        (changed(teachers={"ce": {}}), "one of model, table, run or ensemble"),
        (
            changed(teachers={"ce": {"model": "mlp", "keep": "best"}}),
            "best_brier, best_nll, best_accuracy, half or epoch=K",
        ),
        (changed(teachers={"a b": {"model": "mlp"}}), "letters"),
        (changed(students={"kd": {"model": "mlp", "taught_by": ["cee"]}}), "did you mean 'ce'"),
        (changed(seeds=0), "seeds"),
        (changed(seeds=[1, 1]), "differ"),
        (changed(problem={"root": "x"}), "name a source"),
        ({"problem": "digits"}, "at least one teacher or student"),
        ({"teachers": {"a": {"model": "mlp"}}}, "problem"),
    ],
)
def test_mistakes_are_one_sentence(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_study(values, "")
    assert "\n" not in str(caught.value)


def test_short_forms():
    study = parse_study(changed(problem="digits", seeds=3))
    assert study.problem == {"name": "digits"} and study.seed_list == (0, 1, 2)
    assert parse_study(changed(seeds=[4, 7])).seed_list == (4, 7)
    assert study.teachers_of(study.students["kd"]) == ("ce",)


def test_a_file_takes_its_name_and_overrides(tmp_path):
    path = tmp_path / "my study.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    study = read_study(path, ("recipe.epochs=3", "teachers.ce.objective={brier: {scale: 1e-3}}", "seeds=[0, 5]"))
    assert study.name == "my-study" and study.recipe.epochs == 3 and study.seed_list == (0, 5)
    assert study.teachers["ce"].objective == {
        "brier": {"scale": "1e-3"}
    }  # YAML 1.1 reads it as text; building coerces it


@pytest.mark.parametrize(("text", "message"), [("a: [", "YAML, got a mistake in line"), ("- 1", "must hold keys")])
def test_files_that_are_no_studies(tmp_path, text, message):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_study(path)
    with pytest.raises(ConfigError, match="must exist"):
        read_study(tmp_path / "none.yaml")


def test_overrides_that_make_no_sense():
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        apply_override({}, "epochs")
    with pytest.raises(ConfigError, match="must hold keys"):
        apply_override({"seeds": 3}, "seeds.x=1")


def test_the_schema_knows_the_keys():
    schema = json.loads(json_schema())
    assert {"problem", "recipe", "teachers", "students", "seeds"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False
