"""One setting: independent teacher and student, the control, and its tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from goodteacher.diagnose.deviation import deviation
from goodteacher_lab.deviations.runs import STUDENT_SEEDS, loaded
from goodteacher_lab.deviations.settings import (
    PAIRS,
    accuracy_grid,
    deviation_grid,
    pairs_of,
    plain_setting,
    trained,
)
from goodteacher_lab.job import Job
from goodteacher_lab.sizes import SIZES

PICTURES, VECTORS = SIZES["deviations"], SIZES["deviations, vectors"]["minutes"]

SIZE = replace(VECTORS, epochs=2, seeds=2, student={"mlp": {"widths": [4]}}, teacher={"mlp": {"widths": [8]}})


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    job = Job(out=tmp_path_factory.mktemp("deviations"), quiet=True)
    words, problem = loaded(job, "few_digits", SIZE)
    return trained(job, "deviations-x", words, problem, SIZE, ("self-small", "large-to-small"))


def test_teacher_and_student_of_a_kind_share_neither_weights_nor_seed(settings):
    own = settings[0]
    assert [s.name for s in settings] == ["x, self-small", "x, large-to-small"]
    for k in range(2):
        teacher, student, alone = (own.runs[role][k] for role in ("teacher", "student", "alone"))
        assert teacher.spec.seed == k and student.spec.seed == alone.spec.seed == STUDENT_SEEDS + k
        assert teacher.spec.model == student.spec.model == alone.spec.model == SIZE.student
        assert student.spec.teaching.runs == (teacher.id,) and alone.spec.teaching is None
    large = settings[1].runs
    assert large["teacher"][0].spec.model == SIZE.teacher and large["student"][0].spec.model == SIZE.student
    assert large["alone"][0].id == own.runs["alone"][0].id


def test_every_kind_is_measured_on_both_splits(settings):
    own = settings[0]
    assert set(own.seen) == {(s, k) for s in ("train", "test") for k in ("taught", "alone", "exchanged")}
    teacher, student, alone = (own.runs[role][1].outputs("test") for role in ("teacher", "student", "alone"))
    assert own.seen["test", "taught"].seen[1] == deviation(teacher, student)
    assert own.seen["test", "alone"].seen[1] == deviation(teacher, alone)
    assert own.seen["test", "exchanged"].seen[1] == deviation(student, teacher)
    assert len(own.parts["train"][0].labels) == 150 and torch.equal(own.parts["test"][1].student, student)
    difference = own.beyond_chance("test").mean
    taught, other = (own.seen["test", kind].of("underfit") for kind in ("taught", "alone"))
    assert difference == pytest.approx((sum(taught) - sum(other)) / 2)


def test_tables_have_a_row_a_setting_beside_the_published_one(settings):
    grid = accuracy_grid(settings, "somewhere", (70.0, 72.5))
    assert grid.rows[0] == ("published: somewhere", "70.00", "72.50", "-", "+2.50", "-", "-") and len(grid.rows) == 3
    for each in (grid, deviation_grid(settings, "train")):
        assert all(len(row) == len(each.columns) for row in each.rows)
    plain = plain_setting(settings[0])
    assert len(plain["accuracy"]["alone"]) == 2 and len(plain["deviations"]["train, taught"]["slope"]) == 2


def test_a_student_of_another_family_needs_pictures():
    every, said = pairs_of(Job(), PICTURES["minutes"])
    assert every == tuple(PAIRS) and said == "The other family's student is vgg8."
    fewer, said = pairs_of(Job(), VECTORS)
    assert fewer == ("self-small", "self-large", "large-to-small") and "large-to-other, is left out" in said
