"""The source of a user's own code decides which run it is."""

from __future__ import annotations

import importlib
import os
import py_compile
import sys

import numpy as np
import pytest
import torch

from goodteacher.base.source import code_of

TEXT = "def twice(x):\n    return helper(x) * 2\n\ndef helper(x):\n    return x\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of a user's own, and what writes it anew and imports it again."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(text):
        (tmp_path / "own_source.py").write_text(text)
        sys.modules.pop("own_source", None)
        importlib.invalidate_caches()
        return importlib.import_module("own_source")

    yield written
    sys.modules.pop("own_source", None)


def test_what_another_function_of_the_module_does_counts(module):
    first = code_of(module(TEXT).twice)
    assert first == code_of(module(TEXT).twice)
    assert first != code_of(module(TEXT.replace("return x\n", "return x + 1\n")).twice)


def test_a_file_that_changes_after_it_was_loaded_changes_nothing_in_this_process(module, tmp_path):
    loaded = module(TEXT)
    first = code_of(loaded.twice)
    (tmp_path / "own_source.py").write_text(TEXT + "\n\n# more\n")
    assert code_of(loaded.twice) == first
    assert code_of(importlib.reload(loaded).twice) != first


@pytest.mark.parametrize("found", [torch.nn.Linear, np.mean, len, sum])
def test_installed_packages_are_known_by_their_version(found):
    assert code_of(found) is None


def test_a_module_without_source_is_told_by_its_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for text in (TEXT, TEXT, TEXT.replace("* 2", "* 3")):
        source = tmp_path / "compiled_alone.py"
        source.write_text(text)
        os.utime(source, (1, 1))
        py_compile.compile(str(source), cfile=str(tmp_path / "compiled_alone.pyc"))
        source.unlink()
        sys.modules.pop("compiled_alone", None)
        importlib.invalidate_caches()
        found.append(code_of(importlib.import_module("compiled_alone").twice))
    sys.modules.pop("compiled_alone", None)
    assert found[0] is not None and found[0] == found[1] != found[2]
