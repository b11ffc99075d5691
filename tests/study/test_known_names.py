"""The names that are known without torch are the tables' own, and a typo is answered without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from goodteacher.data.sources import SOURCES
from goodteacher.diagnose.scorecard import QUANTITIES
from goodteacher.maps.table import MAPS
from goodteacher.methods.table import METHODS
from goodteacher.models.table import MODELS
from goodteacher.objectives.table import OBJECTIVES
from goodteacher.report.tracking import TRACKERS
from goodteacher.ship.formats import FORMATS
from goodteacher.study import known_names

TABLES = {
    "FORMATS": FORMATS,
    "SOURCES": SOURCES,
    "TRACKERS": TRACKERS,
    "MAPS": MAPS,
    "METHODS": METHODS,
    "MODELS": MODELS,
    "OBJECTIVES": OBJECTIVES,
    "QUANTITIES": QUANTITIES,
}
STUDY = """problem: digits
teachers:
  ce: {model: mlp, objective: brierr}
  b:
    model: {mlpp: {widths: [8]}}
students: {kd: {model: resnet8, method: crd + kdd}}
"""
# One process answers all of them: Python's start is most of what each takes.
RUN = """
import contextlib, io, json, sys
from goodteacher import cli
answers = {}
for words in json.load(sys.stdin):
    sys.argv, said = ["goodteacher", *words.split()], io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as stop:
            loaded = sorted({"torch", "pandas", "scipy", "sklearn"} & set(sys.modules))
            answers[words] = [stop.code, loaded, said.getvalue()]
print(json.dumps(answers))
"""


@pytest.mark.parametrize("table", TABLES)
def test_the_lists_are_the_tables_own(table):
    assert getattr(known_names, table) == tuple(TABLES[table])


TYPOS = [
    ("run s.yaml", "s.yaml, line 3: objective: must be a known name, got 'brierr'; did you mean 'brier'?"),
    ("run s.yaml --set teachers.ce.objective=brier", "line 5: model: must be a known name, got 'mlpp'; did you mean 'mlp'?"),
    ("run s.yaml --set teachers.ce.objective=brier --set teachers.b.model=mlp", "method: must be a known name, got 'kdd'"),
    ("run s.yaml --set problem=digitz", "objective"),
    ("run s.yaml --set recipe.epocs=3", "did you mean 'epochs'"),
    ("run s.yaml --set recipe.lr=[1", "--set recipe.lr, character 3: must be YAML"),
    ("teach resnet9 --data digits", "did you mean 'resnet8'"),
    ("teach mlp --data digitz", "did you mean 'digits'"),
    ("teach mlp --data digits --objective brierr", "did you mean 'brier'"),
    ("teach mlp --data digits --with snapshot=2", "did you mean 'snapshots'"),
    ("teach mlp --data digits --with map=temperatur", "did you mean 'temperature'"),
    ("teach mlp --data digits --keep best", "best_brier"),
    ("teach mlp --data digits --set recipe.epocs=3", "did you mean 'epochs'"),
    ("teach mlp --data digits --engine thread", "engine: must be a known name"),
    ("teach mlp --data digits --device tpu", "device: must be auto, cpu"),
    ("teach mlp --data digits --precision fp8", "precision"),
    ("teach mlp --data digits --epoch 3", "No such option"),
    ("teahc mlp --data digits", "No such command"),
    ("distill mlp --data digits --teacher mlpp", "did you mean 'mlp'"),
    ("distill mlp --data digits --teacher mlp --method dkdd", "did you mean 'dkd'"),
    ("distill mlp --data digits --teacher mlp --map temperatur", "did you mean 'temperature'"),
    ("distill mlpp --data digits --teacher auto", "did you mean 'mlp'"),
    ("distill mlp --data digitz --teacher auto", "did you mean 'digits'"),
    ("distill mlp --data digits --teacher auto --candidate mlpp", "did you mean 'mlp'"),
    ("list model", "did you mean 'models'"),
    ("rank x --by brierr", "did you mean 'brier'"),
    ("rank x --map temperatur", "did you mean 'temperature'"),
    ("rank x --data digitz", "did you mean 'digits'"),
    ("doctor digitz", "did you mean 'digits'"),
    ("fetch cifar11", "did you mean 'cifar10'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("typos")
    (folder / "s.yaml").write_text(STUDY)
    words = json.dumps([words for words, _ in TYPOS])
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=folder, input=words, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(("words", "said"), TYPOS)
def test_a_typo_is_answered_before_torch_is_imported(answers, words, said):
    code, loaded, text = answers[words]
    assert said in " ".join(text.replace("│", " ").split()) and "Traceback" not in text
    assert (code, loaded) == (2, [])
