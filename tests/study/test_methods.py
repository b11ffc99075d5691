"""Every method through a whole study: its own loss falls, for one pair of a family and one across families; state resumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from goodteacher.api import run_study
from goodteacher.base.errors import ConfigError
from goodteacher.data.problem import Problem
from goodteacher.methods.table import METHODS
from goodteacher.study import cohort
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import parse_study
from goodteacher.study.store import Store

# Methods that grow into their weight, or start with a stage of their own, are made short here.
OPTIONS = {
    "dkd": {"warmup": 0},
    "reviewkd": {"warmup": 0},
    "ab": {"initial_epochs": 3},
    "fsp": {"initial_epochs": 3},
    "crd": {"negatives": 16},
    "labelled": {"per_class": 20},
    "kdsvd": {"beta": 100.0},  # at its published weight of 1 the label outweighs it hundredfold
}
STAGED = {"ab", "fsp"}
# Adversarial: its temperature moves so as to raise the loss.
RISING = {"ctkd"}
PAIRS = {"family": ("resnet14", "resnet8"), "across": ("vgg8", "resnet8")}
REFUSED = {("fsp", "across"), ("kdsvd", "across")}


@pytest.fixture(scope="module")
def problem():
    """Three kinds of 16x16 pictures: a bright square in one of three places, on noise."""
    rng = np.random.default_rng(0)

    def draw(n):
        labels = np.arange(n) % 3
        images = rng.integers(0, 120, size=(n, 16, 16, 3), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 + 4 * label : 6 + 4 * label, 3:9] += 100
        return images, labels

    (x, y), (xt, yt) = draw(96), draw(30)
    return Problem.from_arrays(x, y, xt, yt, class_names=["a", "b", "c"], validation=0.2)


def study_of(pair, methods, **recipe):
    teacher, student = PAIRS[pair]
    return {
        "name": pair,
        "problem": "arrays",
        "recipe": {
            "epochs": 8,
            "batch_size": 16,
            "lr": 0.02,
            "schedule": "constant",
            "precision": "fp32",
            "augment": "none",
            **recipe,
        },
        "teachers": {"t": {"model": teacher}},
        "students": {m: {"model": student, "method": {m: OPTIONS.get(m, {})}} for m in methods},
        "seeds": 1,
    }


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_a_few_epochs_lower_each_methods_own_loss(problem, tmp_path, pair):
    methods = [m for m in METHODS if m != "none" and (m, pair) not in REFUSED]
    finished = run_study(study_of(pair, methods), problem, out=tmp_path, quiet=True, page=False)
    assert finished.summary.failed == {}
    runs = {cell.student: Store(tmp_path).run(cell.run) for cell in finished.plan.cells}
    rose = []
    for method in methods:
        events = [e for e in runs[method].records if (e["epoch"] <= 0) == (method in STAGED)]
        own = [sum(v for k, v in e["loss"].items() if k != "cross_entropy") for e in events]
        assert len(own) == (3 if method in STAGED else 8) and all(np.isfinite(own))
        if not own[-1] < own[0] and method not in RISING:
            rose.append((method, own))
    assert rose == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["crd", "ctkd", "hsakd", "simkd", "ab", "crd + kd", "mlkd"])
def test_an_interrupted_method_resumes_to_the_same_weights(problem, tmp_path, monkeypatch, method):
    study = study_of("family", ["kd"], epochs=2)
    parts = {p.strip(): OPTIONS.get(p.strip(), {}) for p in method.split("+")}
    study["students"] = {"s": {"model": "resnet8", "method": parts}}
    original = cohort.fit

    def halting(learners, *args, tell, **options):
        def telling(event):
            tell(event)
            if event.kind == "step" and event.done == 3 and any("s < t" in x.name for x in learners):
                for learner in learners:
                    learner.save()
                raise KeyboardInterrupt

        return original(learners, *args, tell=telling, **options)

    whole = run_study(study, problem, out=tmp_path / "whole", quiet=True, page=False)
    monkeypatch.setattr(cohort, "fit", halting)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, problem, out=tmp_path / "cut", quiet=True, page=False)
    monkeypatch.setattr(cohort, "fit", original)
    again = run_study(study, problem, out=tmp_path / "cut", quiet=True, page=False)
    (cell,) = again.plan.cells
    assert whole.plan.cells == again.plan.cells
    a, b = (Store(tmp_path / d).run(cell.run).model.state_dict() for d in ("whole", "cut"))
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.slow
def test_a_preparation_is_made_once_for_all_students(problem, tmp_path):
    study = study_of("family", ["hsakd"], epochs=1)
    study["students"] |= {
        "again": {"model": "resnet14", "method": "hsakd"},
        "both": {"model": "resnet8", "method": "hsakd + kd"},
    }
    finished = run_study(study, problem, out=tmp_path, quiet=True, page=False)
    kinds = [spec.kind for spec in finished.plan.runs.values()]
    assert finished.summary.failed == {} and kinds.count("preparation") == 1 and kinds.count("student") == 3


def test_what_is_exported_is_the_student_alone_but_for_simkd(problem, tmp_path):
    study = study_of("family", ["crd", "simkd"], epochs=1)
    finished = run_study(study, problem, out=tmp_path, quiet=True, page=False)
    runs = {cell.student: Store(tmp_path).run(cell.run) for cell in finished.plan.cells}
    plain = 83_892 - 97 * 65
    assert sum(p.numel() for p in runs["crd"].model.parameters()) == plain
    assert sum(p.numel() for p in runs["simkd"].model.parameters()) > plain
    logits = runs["simkd"].outputs("test")
    x = (
        problem.test.inputs.tensor.float()
        .div(255)
        .sub(problem.statistics[0])
        .div(problem.statistics[1])
        .permute(0, 3, 1, 2)
    )
    torch.testing.assert_close(runs["simkd"].model(x).detach(), logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("teacher", "student", "method", "message"),
    [
        ("vgg8", "resnet8", "fsp", "'fsp' is not defined here"),
        ("shufflenetv1", "resnet8", "ofd", "'ofd' is not defined here"),
        ({"mlp": {"widths": [8]}}, "resnet8", "hsakd", "'hsakd' is not defined here"),
        ("resnet8", {"mlp": {"widths": [8]}}, "simkd", "'simkd' is not defined here"),
    ],
)
def test_undefined_pairs_are_refused_by_the_plan(problem, teacher, student, method, message):
    study = parse_study({
        "problem": "arrays", "teachers": {"t": {"model": teacher}}, "students": {"s": {"model": student, "method": method}},
    })  # fmt: skip
    with pytest.raises(ConfigError, match=message):
        plan_study(study, problem.facts)


def test_a_table_cannot_teach_features():
    from goodteacher.data.gaussian import gaussian_problem

    problem = gaussian_problem(train=50, validation=20, test=20)
    study = parse_study({
        "problem": "gaussian", "teachers": {"p": {"table": "truth"}}, "students": {"s": {"model": "mlp", "method": "rkd"}},
    })  # fmt: skip
    with pytest.raises(ConfigError, match="reads a teacher's features"):
        plan_study(study, problem.facts)
