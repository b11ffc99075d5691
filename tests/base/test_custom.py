from __future__ import annotations

import sys

import pytest

from goodteacher.base.compose import LossRow, build_parts, parse, row_of, written_options
from goodteacher.base.custom import built, is_own, resolve
from goodteacher.base.errors import ConfigError, DataError
from goodteacher.base.types import Loss, Setting


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("found_here", "deeper", "deeper.still", "half_written"):
        sys.modules.pop(name, None)


def test_a_colon_makes_a_name_ones_own():
    assert is_own("mine:f") and not is_own("kd")


def test_modules_of_the_current_folder_and_files_in_it(folder):
    (folder / "found_here.py").write_text("def f(): return 3\n")
    (folder / "deeper").mkdir()
    (folder / "deeper" / "still.py").write_text("class Thing: ...\n")
    assert resolve("method", "found_here:f")() == resolve("method", "found_here.py:f")() == 3
    assert resolve("map", "deeper/still.py:Thing") is resolve("map", "deeper.still:Thing")


def test_a_module_that_does_not_import_is_one_sentence(folder):
    (folder / "half_written.py").write_text("def f(:\n")
    with pytest.raises(ConfigError, match="map 'half_written:f': must name an importable module, got SyntaxError"):
        resolve("map", "half_written:f")
    with pytest.raises(ConfigError, match="model 'math:pi': must name a function of math, got 'pi'"):
        resolve("model", "math:pi")
    with pytest.raises(ConfigError, match="must name an importable module, got ValueError: Empty module name"):
        resolve("model", ":f")


def test_what_goes_wrong_inside_is_one_sentence_and_own_errors_pass():
    def refuses(a):
        raise DataError("the file", rule="must be there")

    assert built("x", lambda a, b=2: a + b, {"a": 1}) == 3
    with pytest.raises(ConfigError, match=r"x: must take its options, got \(a\): missing a required argument: 'a'"):
        built("x", refuses, {})
    with pytest.raises(ConfigError, match=r"x: must be of a, got \(a\): got an unexpected keyword"):
        built("x", refuses, {"a": 1, "b": 1}, rule="must be of a")
    with pytest.raises(ConfigError, match=r"x: must build, got ZeroDivisionError: .*by zero; call it yourself"):
        built("x", lambda: 1 // 0, {})
    with pytest.raises(DataError, match="must be there"):
        built("x", refuses, {"a": 1})


OWN = """
from goodteacher.base.types import Loss

def apart(student_logits, teacher_logits, weight: float = 3.0, *, power: int = 2):
    return weight * (student_logits - teacher_logits).pow(power).mean()

class Kept(Loss):
    def __init__(self, setting, *, share: float = 0.5):
        super().__init__()
        self.setting, self.share = setting, share

    def forward(self, network, teacher, batch, progress):
        return {}
"""


class Silent(Loss):
    def forward(self, network, teacher, batch, progress):
        return {}


TABLE = {"silent": LossRow(Silent, "here")}


def test_own_losses_stand_beside_those_of_a_table(folder):
    (folder / "found_here.py").write_text(OWN)
    parts = parse("silent + found_here:apart + found_here:Kept", TABLE, "method")
    setting = Setting(3)
    silent, apart, kept = build_parts(parts, TABLE, setting)
    assert isinstance(silent, Silent) and kept.setting is setting and kept.share == 0.5
    assert apart.weight is None and apart.options == {"weight": 3.0, "power": 2}, "its own weight is not doubled"
    row = row_of("found_here:Kept", TABLE, "objective")
    assert written_options("x", row.build, {"share": 0.1}) == {"share": 0.1}
    assert (row.deploys, row.alone, row_of("silent", TABLE, "method")) == (False, True, TABLE["silent"])
    with pytest.raises(ConfigError, match=r"must be int, got 0\.5"):
        parse({"found_here:apart": {"power": 0.5}}, TABLE, "method")
