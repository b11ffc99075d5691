from __future__ import annotations

import pytest
import torch

import goodteacher as gt
from goodteacher.base.errors import ConfigError
from goodteacher.data.digits import digits_problem
from goodteacher.study.held_out import held_out
from goodteacher.study.run import ROWS


@pytest.fixture(scope="module")
def problem():
    return digits_problem()


@pytest.fixture(scope="module")
def run(problem, tmp_path_factory):
    out = tmp_path_factory.mktemp("held_out")
    return gt.teach({"mlp": {"widths": [16]}}, problem, out=out, epochs=1, batch_size=128, precision="fp32")


def test_of_its_own_problem_what_is_saved_needs_no_data(run, problem):
    logits, labels, facts, said = held_out(run)
    assert torch.equal(logits, run.outputs("test")) and torch.equal(labels, problem.test.labels)
    assert facts.fingerprint == problem.fingerprint and said == []
    assert torch.equal(held_out(run, problem)[0], logits)


def test_examples_it_was_trained_on_are_left_out(run, problem):
    other = gt.load("digits", seed=1, subset=30)
    seen = torch.isin(other.hashes["test"], problem.hashes["train"])
    logits, labels, facts, said = held_out(run, other)
    assert 0 < int(seen.sum()) < len(seen)
    assert torch.equal(labels, other.test.labels[~seen]) and logits.shape == (len(labels), 10)
    assert said == [f"{int(seen.sum())} of {len(seen)} test examples are left out: the run was trained on them."]
    assert facts.fingerprint == other.fingerprint


def test_a_run_that_does_not_say_what_it_was_trained_on_is_scored_with_a_doubt(run, problem):
    other = gt.load("digits", seed=1, subset=30)
    rows = run.root / "problems" / problem.fingerprint / ROWS
    kept = rows.read_bytes()
    rows.unlink()
    try:
        logits, labels, _, said = held_out(run, other)
    finally:
        rows.write_bytes(kept)
    assert len(logits) == len(labels) == len(other.test)
    assert said == ["Which examples the run was trained on is not written down: these scores may not be held-out."]


def test_of_a_split_it_has_seen_all_nothing_is_scored(run, problem, monkeypatch):
    other = gt.load("digits", seed=1, subset=30)
    monkeypatch.setitem(other.hashes, "test", problem.hashes["train"][: len(other.test)])
    with pytest.raises(ConfigError, match=r"must be scored on examples it was not trained on, got none are left"):
        held_out(run, other)


def test_other_classes_are_refused(run):
    with pytest.raises(ConfigError, match="must know the problem's 3 classes by the same names"):
        held_out(run, gt.load("gaussian", train=60, validation=30, test=30))
