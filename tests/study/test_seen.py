"""Scores on examples that a teacher was trained on are never taken for held-out ones, wherever the teacher came from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import goodteacher as gt
from goodteacher.base.errors import ConfigError
from goodteacher.data.problem import Problem
from goodteacher.study.run import ROWS
from goodteacher.study.seen import described, seen_examples, seen_notes, training_rows

RECIPE = {"epochs": 1, "batch_size": 16, "lr": 0.05, "precision": "fp32"}
MLP = {"mlp": {"widths": [4]}}


def drawn(rows, seed=0):
    """A problem of three classes whose examples are some of 100 fixed vectors."""
    x = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    y = np.arange(100) % 3
    train, validation, test = (np.array(r) for r in rows)
    return Problem.from_arrays(
        x[train],
        y[train],
        x[test],
        y[test],
        x_val=x[validation],
        y_val=y[validation],
        class_names=["a", "b", "c"],
        seed=seed,
    )


HOME = drawn((range(60), range(60, 80), range(80, 100)))
# Another draw of the split: 15 of 20 validation and 4 of 20 test examples are among HOME's training examples.
OTHER = drawn(([*range(20, 60), *range(64, 84)], [*range(15), 60, 61, 62, 63, 84], [*range(15, 19), *range(84, 100)]))
APART = drawn(([*range(80)], [*range(80, 90)], [*range(90, 100)]))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return gt.teach(MLP, HOME, out=tmp_path_factory.mktemp("home"), **RECIPE)


def test_equal_examples_have_equal_hashes_in_any_problem():
    assert torch.equal(HOME.hashes["train"][20:60], OTHER.hashes["train"][:40])
    assert len(set(HOME.hashes["train"].tolist())) == 60


def test_a_run_knows_what_it_was_trained_on(teacher):
    assert torch.equal(training_rows(teacher), HOME.hashes["train"])
    assert seen_examples(teacher, HOME.hashes) == {"validation": 0, "test": 0}
    assert seen_examples(teacher, OTHER.hashes) == {"validation": 15, "test": 4}
    assert seen_examples(teacher, APART.hashes) == {"validation": 0, "test": 0}


def test_a_run_that_was_trained_on_has_seen_what_its_start_had(teacher, tmp_path):
    small = drawn(([*range(60, 75)], [*range(75, 80)], [*range(80, 100)]))
    tuned = gt.teach(MLP, small, start=teacher, out=tmp_path, **RECIPE)
    assert torch.equal(training_rows(tuned), torch.cat([HOME.hashes["train"], small.hashes["train"]]))


def test_ranking_on_seen_examples_is_refused(teacher):
    with pytest.raises(
        ConfigError, match=r"must be scored on examples that it has not seen, got 15 of 20 validation examples"
    ):
        gt.rank([teacher], OTHER)
    assert len(gt.rank([teacher], APART)) == 1 and len(gt.rank([teacher])) == 1


def test_a_study_says_what_its_teacher_has_seen_and_does_not_rank_it(teacher, tmp_path):
    gt.distill(MLP, OTHER, teacher, out=tmp_path, **RECIPE)
    study = {
        "name": "mixed",
        "problem": "arrays",
        "recipe": RECIPE,
        "teachers": {"seen": {"run": teacher.id}, "own": {"model": MLP}},
        "students": {"kd": {"model": MLP}},
        "seeds": 1,
    }
    results = gt.run_study(study, OTHER, out=tmp_path, page=True).results
    assert [r.name for r in results.ranked] == ["own"]
    (note,) = results.study.notes
    assert "15 of 20 validation and 4 of 20 test examples of this problem: its scores on them are not held-out" in note
    assert note in (results.folder / "report.html").read_text()


def test_what_an_earlier_version_did_not_write_down_is_said(teacher, tmp_path):
    copied = gt.distill(MLP, APART, teacher, out=tmp_path, **RECIPE)
    run = copied.sibling(teacher.id)
    (run.root / "problems" / HOME.fingerprint / ROWS).unlink()
    assert training_rows(run) is None and seen_examples(run, APART.hashes) is None
    (note,) = seen_notes([run], APART)
    assert "is not written down" in note
    assert seen_notes([run], HOME) == []


def test_counts_in_words():
    rows = {"validation": torch.arange(4), "test": torch.arange(7)}
    assert described({"validation": 1, "test": 7}, rows) == "1 of 4 validation and 7 of 7 test examples"
