"""A path or a name stays as typed; only --set and --with read YAML, and whatever they are given is answered in a sentence."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from goodteacher import api, automatic
from goodteacher.base.errors import ConfigError

# What YAML, a shell or a file system would read otherwise than it is written.
ODD = [
    "a: b", "1e3", "on", "No", "{x}", "[1", "]", "null", "~", "*a", "&a b", "!tag", "!!python/name:os.system", "#x",
    "a #b", "'", '"', "|", "> 5", "%", "@x", "`x`", "? a", ": b", "- 1", "2024-01-01", "12:30", "0o17", "0123",
    "1_000", ".inf", ".nan", "=", "a=b", "<<", "é ü", "собаки", "数据", "a\tb", "a\nb", "\\", "C:\\data\\x.npz", "../x",
    "/", "..", "x" * 230, "x" * 300, "\udcff", "\xa0", "{a: 1, a: 2}", "true", "-0", "x.py:f", "./x.py:f", ":", "::",
    "a:", ":f", "a..b:f", "+", "kd +", "kd + kd", "[" * 300,
]  # fmt: skip
SAFE = [text for text in ODD if not text.startswith("-")]


RUNS = ("--out", "--seeds", "--epochs", "--device", "--precision", "--engine", "--set")


class StoppedError(ConfigError):
    """The study has been read."""


@pytest.fixture
def asked(monkeypatch):
    """Return the studies that commands would run; none is."""
    studies = []

    def stop(study, *given, **options):
        studies.append(study)
        raise StoppedError("stopped")

    monkeypatch.setattr(api, "run_study", stop)
    monkeypatch.setattr(automatic, "choose_teacher", lambda models, study, **options: stop(study))
    monkeypatch.setattr(signal, "signal", lambda number, handler: signal.getsignal(number))
    return studies


TEACH = ("teach", "mlp", "--data", "digits")
DISTILL = ("distill", "mlp", "--data", "digits", "--teacher", "mlp")


def plain(study):
    return study if isinstance(study, dict) else study.model_dump(mode="json")


@pytest.mark.parametrize("text", SAFE)
def test_a_root_stays_as_typed(call, asked, tmp_path, text):
    (tmp_path / "s.yaml").write_text("problem: digits\nteachers: {a: {model: mlp}}\n")
    for words in (TEACH, DISTILL, ("distill", "mlp", "--data", "digits", "--teacher", "auto"), ("run", "s.yaml")):
        asked.clear()
        code, _, err = call(*words, "--root", text)
        assert code == 2 and err == "goodteacher: stopped.\n"
        assert plain(asked[0])["problem"] == {"name": "digits", "root": str(Path(text))}


@pytest.mark.slow
@pytest.mark.parametrize("text", SAFE)
def test_every_option_ends_in_a_study_or_in_a_sentence(call, asked, tmp_path, text):
    (tmp_path / "s.yaml").write_text("problem: digits\nteachers: {a: {model: mlp}}\n")
    commands = [
        ("run", text),
        *(("run", "s.yaml", option, text) for option in RUNS),
        ("run", "s.yaml", "--set", f"recipe.lr={text}"),
        ("run", "s.yaml", "--set", f"{text}=1"),
        ("run", "s.yaml", "--set", f"teachers.a.{text}=1"),
        ("run", "s.yaml", "--set", f"teachers={text}"),
        ("run", "s.yaml", "--set", f"name={text}"),
        ("teach", text, "--data", "digits"),
        ("teach", "mlp", "--data", text),
        *((*TEACH, option, text) for option in ("--objective", "--keep", "--from", "--with", "--set", "--out", "--precision")),
        (*TEACH, "--with", f"map={text}"),
        (*TEACH, "--with", f"{text}=2"),
        ("distill", text, "--data", "digits", "--teacher", "mlp"),
        ("distill", "mlp", "--data", text, "--teacher", "mlp"),
        ("distill", "mlp", "--data", "digits", "--teacher", text),
        *((*DISTILL, option, text) for option in ("--method", "--objective", "--map", "--keep", "--with", "--set", "--out")),
        ("distill", "mlp", "--data", "digits", "--teacher", "auto", "--candidate", text),
    ]  # fmt: skip
    for words in commands:
        code, _, err = call(*words)  # which refuses a traceback
        assert code == 2, (words, err)
        if "Usage:" not in err:  # what typer refuses itself
            assert err.startswith("goodteacher: ") and err.count("\n") == 1, (words, err)
    for study in asked:
        json.dumps(plain(study))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*TEACH, "--set", "recipe.lr=[1"), "--set recipe.lr, character 3: must be YAML"),
        ((*TEACH, "--with", "snapshots=[1"), "--with snapshots, character 3: must be YAML"),
        ((*DISTILL, "--with", "map=on"), '--with map, character 1: must be what it looks like, got on, which YAML reads'),
        ((*TEACH, "--set", "problem.note=run #3"), "where this is a comment, got #3; quote it: '\"run #3\"'"),
    ],
)  # fmt: skip
def test_option_place_and_remedy_are_named(call, asked, words, said):
    code, _, err = call(*words)
    assert code == 2 and said in err and err.count("\n") == 1 and not asked
