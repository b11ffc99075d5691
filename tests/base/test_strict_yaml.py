"""Nothing is swallowed, overwritten or read otherwise than it is written; what careful people use is read as ever."""

from __future__ import annotations

import random

import pytest
import yaml

from goodteacher.base.errors import ConfigError
from goodteacher.base.plain_scalars import plain_tag
from goodteacher.base.strict_yaml import read_value, read_yaml

LAUGHS = "\n".join(
    ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"b{i}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(9)]
)  # fmt: skip


def said(text, read=read_yaml):
    with pytest.raises(ConfigError) as caught:
        read(text, "s.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3", 3, "may hold a key once, got 'a' again, after line 1"),
        ("x:\n  {a: 1, 'a': 2}", 2, "got 'a' again, after line 2"),
        ("b: &b {}\nc: &c {}\na:\n  <<: *b\n  <<: *c", 5, "write one '<<: [*a, *b]'"),
        ("x: y\non: 1", 2, 'keys must be text, got on, which YAML reads as true; quote it: "on"'),
        ("No: 1", 1, 'quote it: "No"'),
        ("x: [a, off]", 1, 'got off, which YAML reads as false; write false, or quote it: "off"'),
        ("x: 010", 1, 'got 010, which YAML reads as the number 8; write 10, or quote it: "010"'),
        ("x: 0o17", 1, 'write 15, or quote it: "0o17"'),
        ("x: 0x1F", 1, "write 31, or quote it"),
        ("x: 08", 1, 'write 8, or quote it: "08"'),
        ("x: 1_000", 1, "write 1000, or quote it"),
        ("x: 0.5_0", 1, "write 0.50, or quote it"),
        ("x: 12:30", 1, 'which YAML reads as the number 750; quote it: "12:30"'),
        ("x: 1:30.5", 1, "the number 90.5"),
        ("x: 2024-01-01", 1, 'reads as the date 2024-01-01; quote it: "2024-01-01"'),
        ("x: 2024-13-45", 1, "cannot read as a date"),
        ("x: 2024-01-01 12:00:00", 1, "the date"),
        ("x: .inf", 1, "no finite number"),
        ("x: -.INF", 1, "no finite number"),
        ("x: .nan", 1, "no finite number"),
        ("x: 1.0e+999", 1, "write a number"),
        ("1: a", 1, 'keys must be text, got the number 1; quote it: "1"'),
        ("1.50: a", 1, 'quote it: "1.50"'),
        ("2024-01-01: a", 1, 'quote it: "2024-01-01"'),
        ("true: a", 1, 'quote it: "true"'),
        ("null: a", 1, 'quote it: "null"'),
        ("~: a", 1, "quote it"),
        ("x: {: 1}", 1, "a ':' without a key"),
        ("x:\n  : 1", 2, "a ':' without a key before it"),
        ("? [a, b]\n: c", 1, "a list or mapping as key"),
        ("a\u00a0b: c", 1, "invisible characters"),
        ("x: {lr:0.1, b: 2}", 1, "write a space after the ':'"),
        ("a: {<<: 3}", 1, "'<<' must merge mappings, got '3'"),
        ("a: !!python/object/apply:os.system [ls]", 1, "the tag !!python/object/apply:os.system"),
        ("a: !!python/name:os.system", 1, "the tag !!python/name"),
        ("a: !mine x", 1, "the tag !mine"),
        ("a: !!set {x}", 1, "the tag !!set"),
        ("a: !!binary aGk=", 1, "the tag !!binary"),
        ("a: !!timestamp 2024-01-01", 1, "the tag !!timestamp"),
        ("a: !!int 0o1", 1, "got the number 0o1"),
        ("a: b\n---\nc: d", 2, "must hold one document, got another one after '---'"),
        ("a:\n\t- b", 2, "a tab; write spaces"),
        ("a: b: c", 1, "text with ': ' in it must be quoted"),
        ("a: @x", 1, 'quote it: "@x"'),
        ("a: *zz", 1, "undefined alias 'zz'"),
        ("a: &x 1\nb: &x 2", 2, "may give an anchor once, got it again, after line 1"),
        ("a: &a [*a]", 1, "may not refer to itself"),
        ("a: [", 1, "must be YAML, got a mistake in line 1"),
        ("a: 'x\nb: y", 2, "a mistake in line 2"),
        ("a:\n  - 1\n   - 2", 2, "got '- 2' in line 3; align it"),
        (LAUGHS, 5, "may hold at most 20000 values"),
    ],
)
def test_what_is_read_otherwise_than_written_is_refused_with_its_line(text, line, words):
    message = said(text)
    assert message.startswith(f"s.yaml, line {line}, column ") and words in message


@pytest.mark.parametrize("text", ["a: \x00", "a: " + "[" * 5000, b"\xff\xfe\xff", b"a: \xe9"])
def test_what_is_no_yaml_at_all(text):
    assert said(text).startswith("s.yaml: must be ")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", None),
        ("# nothing but a comment", None),
        ("\ufeffa: 1\r\nb: [x, y]\r\n", {"a": 1, "b": ["x", "y"]}),
        ("a: ü\n".encode("utf-16"), {"a": "ü"}),
        ("\ufeffa: ü\n".encode(), {"a": "ü"}),
        ("---\na: 1\n...\n", {"a": 1}),
        ("%YAML 1.2\n---\na: 1", {"a": 1}),
        ("a: 1e-3\nb: 1.5e-3\nc: -.5\nd: +5\ne: 5.\nf: 2E5",
         {"a": "1e-3", "b": 1.5e-3, "c": -0.5, "d": 5, "e": 5.0, "f": "2E5"}),
        ("a: true\nb: False\nc: null\nd: ~\ne:", {"a": True, "b": False, "c": None, "d": None, "e": None}),
        ("'on': 'yes'\n\"1\": '010'\n!!str no: !!str 12:30", {"on": "yes", "1": "010", "no": "12:30"}),
        ("a: !!float 3\nb: !!map {c: !!seq [!!bool true]}", {"a": 3.0, "b": {"c": [True]}}),
        ("a: y\nb: n\nc: none\nd: =\ne: <<\nf: .\ng: ...x",
         {"a": "y", "b": "n", "c": "none", "d": "=", "e": "<<", "f": ".", "g": "...x"}),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        ("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc:\n  <<: [*a, *b]\n  z: 3",
         {"a": {"x": 1}, "b": {"x": 2, "y": 2}, "c": {"x": 1, "y": 2, "z": 3}}),
        ("a: &a [1, 2]\nb: *a\n'<<': c", {"a": [1, 2], "b": [1, 2], "<<": "c"}),
        ("a: |\n  on\n  - x\nb: >-\n  two\n  lines", {"a": "on\n- x\n", "b": "two lines"}),
        ("a: see issue#5 # a comment\nb: C:\\data\\x\nc: own:Calm\nd: {own:Calm: {}}",
         {"a": "see issue#5", "b": "C:\\data\\x", "c": "own:Calm", "d": {"own:Calm": {}}}),
        ("objective: {brier}\nx: {'a':1}", {"objective": {"brier": None}, "x": {"a": 1}}),
        ("run: 0123456789abcdef\nid: 12e45678abcd", {"run": "0123456789abcdef", "id": "12e45678abcd"}),
    ],
)  # fmt: skip
def test_what_careful_people_write_is_read(text, values):
    assert read_yaml(text, "s.yaml").values == values


def test_a_flag_may_be_yes_or_off():
    text = "recipe: {nesterov: yes}\nother: {nesterov: Off}"
    assert read_yaml(text, "s", flags={"nesterov"}).values == {
        "recipe": {"nesterov": True},
        "other": {"nesterov": False},
    }
    assert read_value("on", "--set recipe.nesterov", flag=True) is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a value, got nothing after '='; for none write null"),
        (" \t", "needs a value"),
        ("a #b", "where this is a comment, got #b; quote it: '\"a #b\"'"),
        ("#b", "where this is a comment"),
        ("&x y", "where this is an anchor"),
        ("&x", "where this is an anchor"),
        ("|", "the head of a block text"),
        (">", "the head of a block text"),
        ("> 5", "must be YAML"),
        ("[1", "--set x, character 3: must be YAML, got "),
        ("on", "write true, or quote it"),
        ("!important", "the tag !important"),
        ("!!python/name:os.system", "the tag !!python/name"),
        ("{a: b", "must be YAML"),
        ("'a' b", "must be YAML"),
        ("[1] 2", "must be YAML"),
        ("--- a\n--- b", "one document"),
        ("%", "must be YAML"),
        ("*x", "undefined alias"),
        ("\udcff", "U+DCFF"),
        ("a: b: c", "must be YAML"),
    ],
)
def test_one_line_is_read_whole_or_refused(text, words):
    with pytest.raises(ConfigError) as caught:
        read_value(text, "--set x")
    assert words in str(caught.value) and str(caught.value).startswith("--set x") and "\n" not in str(caught.value)


def test_values_in_one_line():
    for text, value in (
        ("1e-3", "1e-3"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("null", None),
        ("a b", "a b"),
        ("'#x'", "#x"),
    ):
        assert read_value(text, "--set x") == value


def test_what_is_not_refused_is_what_pyyaml_reads():
    """Of random words, those read at all are read as PyYAML reads them, but for -.5, a number as any other."""
    draw = random.Random(0)
    read = 0
    for _ in range(4000):
        word = "".join(draw.choices("0123456789._-+:eExoT~nfainy", k=draw.randint(1, 6)))
        try:
            theirs, ours = yaml.safe_load(f"a: {word}"), read_yaml(f"a: {word}", "s").values
        except (yaml.YAMLError, ValueError, ConfigError):
            continue
        if isinstance(ours["a"], float) and word[:2] in ("-.", "+."):
            continue
        read += 1
        assert ours == theirs and type(ours["a"]) is type(theirs["a"]), word
    assert read > 1000


def test_the_places_of_values_are_known():
    document = read_yaml("a:\n  b: [1,\n    x]\n", "s")
    places = {path: (place.line, place.written) for path, place in document.places.items()}
    assert places["a", "b"] == (2, "") and places["a", "b", 1] == (3, "x") and places[("a",)] == (1, "")


def test_no_text_is_an_odd_number():
    assert plain_tag("v1.2.3") == plain_tag("1.2.3") == plain_tag("abc") == plain_tag("10.0.0.1")
