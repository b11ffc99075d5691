"""The shell completes names, and imports no torch for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from goodteacher.cli.options import data_words, names_of

COMPLETE = """
import sys
from goodteacher.cli import main
sys.argv = ["goodteacher"]
try:
    main()
finally:
    sys.stderr.write(str("torch" in sys.modules))
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("goodteacher teach resnet5", ["resnet56", "resnet50", "resnet50_imagenet"]),
        ("goodteacher teach mlp --objective br", ["brier", "brier_logits"]),
        ("goodteacher distill mlp --method crd+dk", ["crd+dkd"]),
        ("goodteacher distill mlp --data cifar", ["cifar10", "cifar100"]),
        ("goodteacher distill mlp --map temp", ["temperature"]),
        ("goodteacher rank x --by calibrated_b", ["calibrated_brier"]),
        ("goodteacher dist", ["distill"]),
    ],
)
def test_words_are_completed(tmp_path, words, expected):
    environment = {
        **os.environ,
        "_GOODTEACHER_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == expected and done.stderr == "False"


def test_a_sum_is_completed_after_its_last_plus():
    assert names_of("METHODS")("crd + dk") == ["crd + dkd"] and names_of("METHODS")("zz") == []


def test_data_are_sources_folders_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digging").mkdir()
    (tmp_path / "digging" / "a.npz").touch()
    (tmp_path / "dig.txt").touch()
    assert data_words("dig") == ["digits", "digging/"]
    assert data_words("digging/") == ["digging/a.npz"] and data_words("none/x") == []
