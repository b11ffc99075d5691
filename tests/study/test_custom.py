"""A user's own method, objective, map and problem, in worker processes and in a process that comes later."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import yaml

from goodteacher.api import run_study
from goodteacher.base.errors import ConfigError
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.study.store import Store

MODULE = '''
from dataclasses import dataclass

import torch
from torch import nn

from goodteacher.base.types import Loss, Needs
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.maps.target_map import FitOneView, OneView


def apart(student_logits, teacher_logits, *, power: float = 2.0):
    return (student_logits - teacher_logits).abs().pow(power).mean()


class Calm(Loss):
    """Cross-entropy at a temperature that trains."""

    def __init__(self, setting, *, start: float = 1.0):
        super().__init__()
        self.temperature = nn.Parameter(torch.full((setting.classes,), start))

    def forward(self, network, teacher, batch, progress):
        return {"calm": nn.functional.cross_entropy(network.logits / self.temperature, batch.labels)}


class Longer(Loss):
    """What it hands over is the network with a layer behind it."""

    needs = Needs(uses_teacher=True)

    def __init__(self, setting):
        super().__init__()
        self.last = nn.Linear(setting.classes, setting.classes)

    def forward(self, network, teacher, batch, progress):
        return {"longer": (self.last(network.logits) - teacher.logits).square().mean()}

    def deployed(self, network):
        return nn.Sequential(network, self.last)


@dataclass(frozen=True)
class Halved(OneView):
    by: float

    def __call__(self, logits, labels=None):
        return logits / self.by

    def state(self):
        return {"by": self.by}


@dataclass(frozen=True)
class FitHalved(FitOneView):
    by: float = 2.0

    def fit(self, logits, labels):
        return Halved(self.by)


def clouds(examples: int = 90):
    return gaussian_problem(train=examples, validation=30, test=30)
'''
SMALL = {"mlp": {"widths": [4]}}
STUDY = {
    "name": "own",
    "problem": {"name": "own_things:clouds", "examples": 60},
    "recipe": {"epochs": 1, "batch_size": 30, "lr": 0.1, "precision": "fp32"},
    "teachers": {
        "calm": {
            "model": SMALL,
            "objective": {"own_things:Calm": {"start": 2}},
            "map": {"own_things:FitHalved + top_k": {"own_things:FitHalved": {"by": 3}}},
        }
    },
    "students": {
        "apart": {"model": SMALL, "method": {"own_things:apart": {"power": 1.0}}},
        "sum": {"model": SMALL, "method": "own_things:apart + kd"},
        "longer": {"model": SMALL, "method": "own_things:Longer"},
    },
    "seeds": 1,
}
LATER = """
import json
from pathlib import Path

import yaml

import goodteacher as gt
from goodteacher.diagnose.results import Results
from goodteacher.study.store import Store

results, store = Results(Path("out") / "studies" / "own"), Store("out")
again = gt.run_study(yaml.safe_load(Path("own.yaml").read_text()), out="out", quiet=True, page=False)
runs = {cell.student: cell.run for cell in again.plan.cells}
teacher = store.run(again.plan.runs[runs["apart"]].teaching.runs[0])
(saved,) = (json.loads(path.read_text()) for path in (teacher.path / "maps").glob("*.json"))
ranked = gt.rank([teacher], maps=["own_things:FitHalved"])
print(json.dumps({
    "students": sorted({row.student for row in results.students}),
    "trained": len(again.summary.finished),
    "gamma": again.plan.runs[runs["apart"]].gamma,
    "kinds": [step["kind"] for step in saved["state"]["steps"]],
    "longer": type(store.run(runs["longer"]).model).__name__,
    "ranked": sorted(place.name.split(", ")[1:] for place in ranked),
}))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_things.py").write_text(MODULE)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(STUDY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_study_in_worker_processes_and_a_process_that_reads_it_later(own):
    python("-m", "goodteacher", "run", "own.yaml", "--out", "out", "--engine", "processes", "--workers", "2", "--quiet")
    said = yaml.safe_load(python("-c", LATER))
    assert said == {
        "students": ["apart", "longer", "sum"],
        "trained": 0,
        "gamma": 1.0,
        "kinds": ["own_things:Halved", "TopK"],
        "longer": "Sequential",
        "ranked": [[], ["own_things:FitHalved"]],
    }


@pytest.fixture
def imported(own, monkeypatch):
    yield own
    sys.modules.pop("own_things", None)
    sys.modules.pop("odd_things", None)


def test_what_is_trained_is_what_was_named(imported):
    finished = run_study(STUDY, out=imported / "out", device="cpu", quiet=True, page=False)
    assert finished.summary.failed == {}
    specs = {spec.id: spec for spec in finished.plan.runs.values()}
    losses = sorted(" + ".join(spec.loss) for spec in specs.values())
    assert losses == ["own_things:Calm", "own_things:Longer", "own_things:apart", "own_things:apart + kd"]
    (both,) = (spec for spec in specs.values() if len(spec.loss) == 2)
    assert both.loss["own_things:apart"] == {"weight": 1.0, "power": 2.0} and both.gamma == 1.0
    assert both.teaching.target_map == {
        "own_things:FitHalved + top_k": {
            "steps": {"own_things:FitHalved": {"by": 3.0}, "top_k": {"k": 5, "rest": "spread"}}
        }
    }
    longer = next(spec for spec in specs.values() if "own_things:Longer" in spec.loss)
    run = Store(imported / "out").run(longer.id)
    problem = gaussian_problem(train=60, validation=30, test=30)
    mean, deviation = problem.statistics or (0.0, 1.0)
    torch.testing.assert_close(run.model((problem.test.inputs.tensor - mean) / deviation), run.outputs("test"))


ODD = """
from goodteacher.base.types import Loss

def nameless(a, b): return a.mean()
def asking(student_logits, teacher_logits, power): return student_logits.mean()
def each(student_logits): return student_logits.sum(dim=1)
def broken(student_logits, teacher_logits): raise ValueError("no such width")
def gamma(student_logits, *, gamma: float = 2.0): return student_logits.mean()
def number(size): return size
class Plain: ...
class Unfinished(Loss): ...
class Needy(Loss):
    def __init__(self, *, rate: float): super().__init__()
    def forward(self, network, teacher, batch, progress): return {}
class Nothing:
    views = 0
    def fit(self, logits, labels): return logits
"""
NAMES = "student_logits, teacher_logits, probabilities, labels, student_embedding, teacher_embedding"


@pytest.mark.parametrize(
    ("where", "name", "said"),
    [
        ("method", "nowhere:f", "method 'nowhere:f': must name an importable module, got No module named 'nowhere'"),
        ("method", "odd_things:g", "method 'odd_things:g': must name a function of odd_things, got 'g'"),
        ("method", "odd_things:nameless", f"whose parameters without a default are among logits, {NAMES}, student_map, "
         "teacher_map, got (a, b); name them so"),
        ("method", "odd_things:asking", "got (student_logits, teacher_logits, power)"),
        ("method", "odd_things:each", "'each': must return one number for a batch"),
        ("method", "odd_things:broken", "loss 'odd_things:broken': must build, got ValueError: no such width"),
        ("method", "odd_things:gamma", "may not have an option 'gamma', which is the weight of the label"),
        ("method", "odd_things:Plain", "must be a subclass of goodteacher.base.types.Loss, or a function, got the class"),
        ("method", "odd_things:Unfinished", "loss 'odd_things:Unfinished': must build, got TypeError: Can't instantiate"),
        ("method", "odd_things:Needy", "option 'rate' of 'odd_things:Needy': must be given"),
        ("method", {"odd_things:each": {"wieght": 2}}, "option of method 'odd_things:each': must be one of its parameters"),
        ("objective", "odd_things:asking", "among logits, student_logits, labels, student_embedding, student_map, got"),
        ("map", "odd_things:Plain", "must build what can be fitted"),
        ("map", "odd_things:missing", "map 'odd_things:missing': must name a function of odd_things"),
        ("problem", "odd_things:number", "problem 'odd_things:number': must take its options, got (size): missing"),
        ("problem", {"name": "odd_things:number", "size": 3}, "must return a Problem, such as"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(imported, where, name, said):
    (imported / "odd_things.py").write_text(ODD)
    teacher, student = {"model": SMALL}, {"model": SMALL}
    study = {**STUDY, "problem": {"name": "gaussian"}, "teachers": {"t": teacher}, "students": {"s": student}}
    {"method": student, "problem": study}.get(where, teacher)[where] = name
    with pytest.raises(ConfigError) as caught:
        run_study(study, out=imported / "out", device="cpu", quiet=True, page=False)
    assert said in str(caught.value)


def test_a_fit_that_answers_no_map_is_named(imported):
    from goodteacher.maps.table import parse_map

    (imported / "odd_things.py").write_text(ODD)
    with pytest.raises(ConfigError, match="map 'odd_things:Nothing': must fit a map, such as a subclass of"):
        parse_map("odd_things:Nothing").fit(torch.zeros(2, 2), torch.zeros(2))
