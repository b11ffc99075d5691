"""A mistake in a study file is one sentence with its line, and the command line changes it one place at a time."""

from __future__ import annotations

import pytest

from goodteacher.base.errors import ConfigError
from goodteacher.study.spec import read_study
from goodteacher.study.study_file import apply_override

BASE = "problem: digits\nteachers:\n  ce:\n    model: mlp\nstudents:\n  kd: {model: mlp}\n"


@pytest.fixture
def read(tmp_path):
    def from_text(text, *overrides, given=None):
        path = tmp_path / "s.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_study(path, overrides, given)

    return from_text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE.replace("ce:", "on:"), 'line 3, column 3: keys must be text, got on, which YAML reads as true; quote it: "on"'),
        (BASE + "teachers:\n  b: {model: mlp}\n", "line 7, column 1: may hold a key once, got 'teachers' again, after line 2"),
        (BASE + "recipe:\n", "s.yaml, line 7: key 'recipe': input should be a valid dictionary, got None; give it a value"),
        (BASE + "recipe:\n  lr:0.1\n", "line 7: key 'recipe': input should be a valid dictionary, got 'lr:0.1'"),
        (BASE + "recipe: {ema: None}\n", "got 'None'; for none write null"),
        (BASE + "recipe: {lr: inf}\n", "key 'recipe.lr': input should be a finite number, got 'inf'"),
        (BASE + "recipe: {lr: 1e999}\n", "key 'recipe.lr': input should be a finite number"),
        (BASE + "name: 2024\n", "line 7: key 'name': input should be a valid string, got 2024; quote it: \"2024\""),
        (BASE + "name: 1.50\n", 'quote it: "1.50"'),
        (BASE + f"name: {'x' * 300}\n", "key 'name': may take at most 240 bytes"),
        (BASE.replace("model: mlp", "modle: mlp", 1), "line 4: key 'teachers.ce.modle': is not known, got 'modle'; did"),
        (BASE + "seeds: [1, 1]\n", "s.yaml: study: seeds must differ"),
        ("problem: digits\nteachers: {a: {run: 12345678}}\n", "key 'teachers.a.run': input should be a valid string"),
        ("problem: digits\nteachers: {a: {model: 1}}\n", "line 2: key 'teachers.a.model': input should be a valid string"),
        ("problem: digits\nteachers:\n", "line 2: key 'teachers': input should be a valid dictionary, got None"),
        ("", "must hold keys such as problem, teachers, students, got an empty file"),
        ("- 1", "got a list"),
        (b"\xe9: 1", "must be text in UTF-8, got byte 0xe9 in line 1; save it as UTF-8"),
    ],
)  # fmt: skip
def test_mistakes_have_their_line(read, text, said):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_careful_people_write(read):
    assert read(("\ufeff" + BASE).replace("\n", "\r\n")) == read(BASE) == read(BASE.encode("utf-16"))
    study = read(BASE + "recipe: {lr: 1e-3, nesterov: yes}\n")
    assert study.recipe.lr == 0.001 and study.recipe.nesterov is True
    assert read(BASE.replace("digits", "{name: digits, noise: 1e-1, root: 1e3}")).problem == {
        "name": "digits", "noise": 0.1, "root": "1e3",
    }  # fmt: skip
    merged = "problem: digits\nteachers:\n  a: &a {model: mlp, keep: half}\n  b:\n    <<: *a\n    keep: last\n"
    assert read(merged).teachers["b"].keep == "last" and read(merged).teachers["a"].keep == "half"


def test_a_file_of_any_script_names_its_study(tmp_path):
    path = tmp_path / "собаки и кошки.yaml"
    path.write_text(BASE)
    assert read_study(path).name == "собаки-и-кошки"


def test_files_that_are_none(tmp_path):
    for path, said in (
        (tmp_path, "got a folder"),
        (tmp_path / "x" / "s.yaml", "no such file"),
        (tmp_path / ("s" * 300), "readable"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_study(path)


def test_options_are_taken_as_they_are_and_overrides_win(read):
    study = read(BASE, "recipe.epochs=3", given={("problem", "root"): "a: [b", ("recipe", "epochs"): 2})
    assert study.problem == {"name": "digits", "root": "a: [b"} and study.recipe.epochs == 3


def test_overrides_find_keys_with_points_and_leave_aliases_alone(read):
    text = (
        "problem: digits\nteachers:\n  w_0.5: {model: {mlp: }, recipe: &r {lr: 0.1}}\n  b: {model: mlp, recipe: *r}\n"
    )
    study = read(text, "teachers.w_0.5.model.mlp.widths=[3]", "teachers.w_0.5.recipe.lr=0.5", "recipe.nesterov=on")
    assert study.teachers["w_0.5"].model == {"mlp": {"widths": [3]}} and study.recipe.nesterov is True
    assert [arm.recipe["lr"] for arm in study.teachers.values()] == [0.5, 0.1]
    assert read(BASE, "problem.noise=0.1").problem == {"name": "digits", "noise": 0.1}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epochs", "--set: must be KEY=VALUE, got 'epochs'"),
        ("=3", "--set: must be KEY=VALUE"),
        ("recipe.lr=[1", "--set recipe.lr, character 3: must be YAML"),
        ("recipe.lr=", "--set recipe.lr: needs a value"),
        ("recipe.lr=on", "--set recipe.lr, character 1: must be what it looks like, got on"),
        ("recipe.lr=1 # or 2", "where this is a comment"),
        ("recipe..lr=1", "--set recipe..lr: must be keys with a point between them"),
        (".lr=1", "must be keys"),
        ("seeds.0=1", "--set seeds.0: 'seeds' must hold keys, got [1, 2]; give the whole list"),
        ("name.x=1", "'name' must hold keys, got 'n'"),
        ("recpie.lr=1", "did you mean 'recipe'"),
        ("teachers.1=x", "teachers.1"),
        ("teachers=3", "key 'teachers': input should be a valid dictionary, got 3"),
        ("teachers={a: 1, a: 2}", "may hold a key once"),
    ],
)
def test_changes_that_make_no_sense_are_one_sentence(read, override, said):
    with pytest.raises(ConfigError) as caught:
        read(BASE + "seeds: [1, 2]\nname: n\n", override)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_option_is_named():
    with pytest.raises(ConfigError, match=r"--with snapshots, character 1: must be YAML"):
        apply_override({}, "snapshots=}", option="--with")
