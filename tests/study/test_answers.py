from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch

import goodteacher as gt
from goodteacher.api import run_study
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.study import answers as room
from goodteacher.study.answers import Answers
from goodteacher.study.store import Store
from goodteacher.study.teaching import Teaching

MLP = {"mlp": {"widths": [5]}}
RECIPE = {"epochs": 1, "batch_size": 16, "lr": 0.05, "precision": "fp32"}
ARMS = {
    "one": {"model": MLP},
    "two": {"model": MLP, "objective": "brier"},
    "folds": {"model": MLP, "cross_fit": 2},
    "filter": {"model": MLP, "filter_table": 0.5},
}
TEMPERATURE = {"temperature": {"score": "brier", "value": 4.0}}
FITTED = {"temperature": {"score": "brier", "value": None}}
SIZES = {"dimension": 4, "train": 64, "validation": 60, "test": 30}


@pytest.fixture(scope="module")
def problem():
    return gaussian_problem(**SIZES)


@pytest.fixture(scope="module")
def finished(problem, tmp_path_factory):
    study = {"name": "every", "problem": "made", "recipe": RECIPE, "teachers": ARMS, "seeds": 1}
    return run_study(study, problem, out=tmp_path_factory.mktemp("store"), device="cpu")


def targets(problem):
    found = {}
    for name in ("validation", "test"):
        part = problem.split(name)
        found |= {f"{name}.labels": part.labels, f"{name}.truth": part.truth}
    return found


@pytest.fixture
def answers(problem, finished):
    store = Store(finished.folder.parent.parent)

    def of(how, *arms, **changes):
        runs = tuple(run for arm in arms for run in finished.plan.teachers[arm, 0].runs)
        own = changes.pop("problem", problem)
        return Answers(Teaching(how, runs, **changes), store, targets(own), own.fingerprint)

    return of


def p(logits):
    return logits.double().softmax(dim=1)


def test_one_network_answers_what_it_saved(answers):
    found = answers("network", "one")
    (run,) = found.runs
    for split in ("validation", "test"):
        assert torch.equal(found.plain(split), run.outputs(split)) and torch.equal(
            found.mapped(split), found.plain(split)
        )


def test_a_mean_is_that_of_the_saved_outputs(answers):
    one, two = (answers("network", arm).plain("test") for arm in ("one", "two"))
    both = answers("probabilities", "one", "two")
    assert both.weights.tolist() == [0.5, 0.5]
    torch.testing.assert_close(p(both.plain("test")), (p(one) + p(two)) / 2, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        p(answers("logits", "one", "two").plain("test")), p((one + two) / 2), rtol=1e-6, atol=1e-7
    )


def test_weights_are_those_with_the_best_brier_score_on_validation(answers, problem):
    both = answers("probabilities", "one", "two", weights="validation")
    one, two = (p(answers("network", arm).plain("validation")) for arm in ("one", "two"))
    onehot = torch.nn.functional.one_hot(problem.validation.labels, 3).double()

    def cost(share):
        """The score of validation with the prior towards equal weights."""
        score = (share * one + (1 - share) * two - onehot).square().sum()
        return float(score) + math.log(share / (1 - share)) ** 2 / 4

    best = min(cost(k / 200) for k in range(1, 200))
    assert cost(float(both.weights[0])) <= best + 1e-9 and float(both.weights.sum()) == pytest.approx(1)
    assert float(both.weights[0]) != 0.5


def test_networks_of_folds_are_averaged_where_none_saw_anything(answers):
    found = answers("folds", "folds")
    each = [p(run.outputs("test")) for run in found.runs]
    assert len(each) == 2
    torch.testing.assert_close(p(found.plain("test")), (each[0] + each[1]) / 2, rtol=1e-6, atol=1e-7)


def test_a_filter_table_is_represented_by_its_network(answers):
    found = answers("filter", "filter")
    assert torch.equal(found.plain("test"), found.runs[0].outputs("test"))


def test_a_table_answers_its_own_rows(answers, problem):
    torch.testing.assert_close(p(answers("truth").plain("test")).float(), problem.test.truth, rtol=1e-5, atol=1e-6)
    votes = answers("votes")
    votes.targets = {**votes.targets, "test.votes": torch.tensor([[1, 3, 0], [2, 2, 4]])}
    wanted = torch.tensor([[0.25, 0.75, 0.0], [0.25, 0.25, 0.5]])
    torch.testing.assert_close(p(votes.plain("test")).float(), wanted, rtol=1e-5, atol=1e-6)


def test_a_map_is_applied_to_both_splits(answers):
    plain, cooled = answers("network", "one"), answers("network", "one", target_map=TEMPERATURE)
    for split in ("validation", "test"):
        torch.testing.assert_close(p(cooled.mapped(split)), p(plain.plain(split) / 4), rtol=1e-5, atol=1e-6)
        assert torch.equal(cooled.plain(split), plain.plain(split))


def test_a_map_is_fitted_once_and_kept_beside_the_run_or_among_the_stores(answers, monkeypatch):
    fits, real = [], room.parse_map
    monkeypatch.setattr(room, "parse_map", lambda spec: fits.append(1) or real(spec))
    one = answers("network", "one", target_map=FITTED)
    both = answers("probabilities", "one", "two", target_map=FITTED)
    for who, folder in ((one, one.runs[0].path / "maps"), (both, one.store.root / "maps")):
        before = set(folder.rglob("*.json")) if folder.exists() else set()
        fits.clear()
        temperature = who.map.temperature
        (file,) = set(folder.rglob("*.json")) - before
        assert fits == [1] and json.loads(file.read_text())["state"] == {"temperature": temperature}
        again = Answers(who.teaching, who.store, who.targets, who.problem)
        assert again.map.temperature == temperature and fits == [1]


def test_a_table_is_mapped_by_what_is_fitted_on_it(answers):
    cooled = answers("truth", target_map=TEMPERATURE)
    torch.testing.assert_close(p(cooled.mapped("test")), p(cooled.plain("test") / 4), rtol=1e-5, atol=1e-6)


def test_on_another_problem_maps_are_others(answers, problem, finished):
    other = gaussian_problem(**{**SIZES, "seed": 1})
    store = Store(finished.folder.parent.parent)
    one = answers("network", "one").runs[0]
    mapped = gt.distill(MLP, other, one, map=FITTED, out=store.root, **RECIPE).spec.teaching.target_map
    assert mapped == FITTED
    here, there = (answers("network", "one", target_map=FITTED, problem=x) for x in (problem, other))
    assert here.map.temperature != there.map.temperature
    assert list((one.path / "maps" / f"on-{other.fingerprint}").glob("temperature-*.json"))
    assert there.plain("test").shape == here.plain("test").shape
    assert not torch.equal(there.plain("test"), here.plain("test"))


def test_views_are_stacked_behind_the_examples_as_they_are(answers):
    found = answers("network", "one")
    found.runs = (SimpleNamespace(
        outputs=found.runs[0].outputs, views=lambda split, count, problem: torch.ones(count, 30, 3) * count,
    ),)  # fmt: skip
    stack = found.stack("test", 2)
    assert stack.shape == (3, 30, 3) and torch.equal(stack[0], found.plain("test")) and bool((stack[1:] == 2).all())
    assert torch.equal(found.stack("test", 0), found.plain("test")[None])
