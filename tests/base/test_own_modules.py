"""Files of a user's own by path: loaded once, with what lies beside them, and their mistakes said with file and line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from goodteacher.base.custom import own_identity, resolve
from goodteacher.base.errors import ConfigError

NET = "import layers\nfrom dataclasses import dataclass\n@dataclass\nclass T:\n    x: int = 1\ndef make(): return layers.width\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own_net.py").write_text(NET)
        (tmp_path / name / "layers.py").write_text(f"width = '{name}'\n")
    monkeypatch.chdir(here)
    modules, path = set(sys.modules), list(sys.path)
    yield here
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_every_way_to_write_a_path(folder):
    above = folder.parent
    ways = (f"{above}/a/own_net.py:make", "../a/own_net.py:make", "../a/own_net:make", "..\\a\\own_net.py:make")
    found = [resolve("model", way) for way in ways]
    assert {f() for f in found} == {"a"} and len(set(found)) == 1
    assert {own_identity(way) for way in ways} == {f"{above}/a/own_net.py:make"}
    (folder / "my net-1.py").write_text("def make(): return 1\n")
    assert resolve("model", "./my net-1.py:make")() == 1


def test_files_of_one_name_are_told_apart_and_so_is_what_lies_beside_them(folder):
    (folder / "layers.py").write_text("width = 'here'\n")
    (folder / "own_net.py").write_text(NET)
    names = (
        "own_net:make",
        "../a/own_net.py:make",
        "../b/own_net.py:make",
        "./own_net.py:make",
        "../a/own_net.py:make",
    )
    assert [resolve("model", name)() for name in names] == ["here", "a", "b", "here", "a"]
    assert resolve("model", "./own_net.py:make") is resolve("model", "own_net:make")
    assert resolve("map", "../a/own_net.py:T") is not resolve("map", "../b/own_net.py:T")


def test_a_file_goes_before_an_installed_module_of_its_name(folder):
    (folder / "json.py").write_text("def make(): return 'mine'\n")
    assert resolve("model", "./json.py:make")() == resolve("model", "json.py:make")() == "mine"
    assert resolve("model", "json:loads")("1") == 1


def test_a_part_of_a_package_sees_the_package(folder):
    package = folder.parent / "own_package" / "deep"
    package.mkdir(parents=True)
    for inside, text in ((package.parent, ""), (package, "")):
        (inside / "__init__.py").write_text(text)
    (package.parent / "base.py").write_text("width = 3\n")
    (package / "net.py").write_text("from ..base import width\ndef make(): return width\n")
    assert resolve("model", "../own_package/deep/net.py:make")() == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nowhere_at_all\n", "got No module named 'nowhere_at_all' in {file}, line 1; install it"),
        ("import math\nx = foo\n", "got NameError: name 'foo' is not defined in {file}, line 2"),
        ("def f(:\n", "got SyntaxError: invalid syntax (odd.py, line 1) in {file}, line 1; correct it"),
        (
            "import sys\nsys.exit(2)\n",
            "a module that ends the program in {file}, line 2; put what runs as a program under if",
        ),
        ("raise ValueError('a\\nb')\n", "got ValueError: a b in {file}, line 1"),
        ("def make(): ...\n", "must name a function of ../a/odd.py, got 'mak'; did you mean 'make'?"),
    ],
)
def test_mistakes_inside_have_file_and_line(folder, text, said):
    file = folder.parent / "a" / "odd.py"
    file.write_text(text)
    for _ in range(2):  # a module that failed is not half there the second time
        with pytest.raises(ConfigError) as caught:
            resolve("model", "../a/odd.py:mak")
        assert said.format(file=file) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["../none.py", "/none/x", "C:\\nets\\small.py", "~nobody/x.py", f"../{'x' * 300}.py", "../a/\udcff.py", "../a"],
)
def test_no_file_is_one_sentence(folder, name):
    with pytest.raises(ConfigError) as caught:
        resolve("model", f"{name}:make")
    assert f"got no file {name}; a relative path is read from the current folder, {folder}" in str(caught.value)


def test_a_later_process_finds_the_same_file(folder):
    code = "from goodteacher.base.custom import resolve; print(resolve('model', '../a/own_net.py:make').__module__)"
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert said[0].strip() == resolve("model", "../a/own_net.py:make").__module__ and said[0] == said[1]
