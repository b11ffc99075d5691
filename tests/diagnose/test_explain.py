"""One student explained: from answers made by hand, and from a finished study."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest

from goodteacher.base.errors import ConfigError
from goodteacher.base.stats import holm
from goodteacher.base.types import Batch, Output
from goodteacher.diagnose.agreement import fidelity
from goodteacher.diagnose.calibration import expected_calibration_error
from goodteacher.diagnose.deviation import deviation, deviations
from goodteacher.diagnose.explain import (
    Part,
    answered,
    conclusion_of,
    contest,
    explain,
    saved_parts,
    scores_of,
    teaching_of,
)
from goodteacher.train.infer import quick_scores


def one_hot(classes, of=3):
    return 4 * torch.nn.functional.one_hot(torch.tensor(classes), of).float()


@pytest.fixture
def part():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    truth = 2 * torch.nn.functional.one_hot(labels, 3)
    teacher, student = (truth + torch.randn(90, 3, generator=generator) for _ in range(2))
    return Part("test", teacher, student, labels)


def test_a_contest_counts_the_four_ways():
    labels = torch.tensor([0] * 10)
    teacher = one_hot([0] * 4 + [1] * 6)
    student = one_hot([0, 0, 0, 1] + [0] * 5 + [1])
    c = contest(teacher, student, labels)
    assert (c.both, c.teacher_only, c.student_only, c.neither) == (3, 1, 5, 1)
    assert c.difference.mean == pytest.approx(0.4) and c.difference.n == 10
    assert c.p == pytest.approx(2 * (1 + 6) / 2**6)


def test_networks_that_never_disagree_are_not_told_apart():
    labels = torch.tensor([0, 1, 2])
    c = contest(one_hot([0, 1, 1]), one_hot([0, 1, 1]), labels)
    assert c.p == 1 and c.difference.mean == 0


def test_scores_are_the_usual_ones(part):
    got = scores_of(part.student, part.labels)
    want = quick_scores(part.student, part.labels)
    assert {k: got[k] for k in want} == pytest.approx(want)
    p = torch.softmax(part.student.double(), 1)
    assert got["ece"] == pytest.approx(expected_calibration_error(p, part.labels))
    assert got["overconfident"] + got["underconfident"] == pytest.approx(got["ece"])


def test_an_explanation_holds_every_diagnostic(part):
    e = explain(part, ("a", "b", "c"))
    assert e.fidelity == fidelity(part.teacher, part.student)
    for version in ("log_odds", "margin"):
        assert e.deviations[version] == deviations(part.teacher, part.student, part.labels, version=version)
    assert e.exchanged == deviation(part.student, part.teacher)
    assert e.contest == contest(part.teacher, part.student, part.labels)
    assert set(e.scores) == {"teacher", "student"}


def test_classes_and_fifths_share_out_the_examples(part):
    e = explain(part, ("a", "b", "c"))
    rows = part.labels == 1
    b = e.classes[1]
    assert b.name == "b" and b.contest == contest(part.teacher[rows], part.student[rows], part.labels[rows])
    assert b.student - b.teacher == pytest.approx(b.contest.difference.mean)
    assert [g.holm for g in e.classes] == holm([g.contest.p for g in e.classes])
    sure = [g.confidence for g in e.bands]
    assert len(sure) == 5 and sure == sorted(sure)
    for groups in (e.classes, e.bands):
        for count in ("both", "teacher_only", "student_only", "neither"):
            assert sum(getattr(g.contest, count) for g in groups) == getattr(e.contest, count)


def test_a_class_without_examples_is_left_out_and_few_examples_have_no_deviation():
    e = explain(Part("test", one_hot([0, 1]), one_hot([0, 2]), torch.tensor([0, 1])), ("a", "b", "c"))
    assert [g.name for g in e.classes] == ["a", "b"] and e.deviations == {} and e.exchanged is None


def test_answers_to_batches_are_joined_in_order():
    inputs, labels = torch.randn(7, 3), torch.arange(7) % 3
    batches = [Batch(inputs[s], labels[s], torch.arange(7)[s]) for s in (slice(0, 4), slice(4, 7))]
    got = answered("train", lambda b, taps: Output(2 * b.inputs), lambda b, taps: Output(-b.inputs), batches)
    assert torch.equal(got.student, 2 * inputs) and torch.equal(got.teacher, -inputs)
    assert torch.equal(got.labels, labels) and got.name == "train"


def taught(results, arm):
    (run,) = [c.run for c in results.plan.cells if (c.teacher, c.seed) == (arm, 1)]
    return results.run(run)


def test_saved_answers_are_the_students_and_what_its_teacher_hands_over(digits_study):
    results = digits_study.results
    run = taught(results, "cooled")
    for part, split in zip(saved_parts(run), ("validation", "test"), strict=True):
        assert part.name == split and torch.equal(part.student, run.outputs(split))
        torch.testing.assert_close(part.teacher, results.teacher_logits("cooled", 1, split).float())
        assert torch.equal(part.labels, results.targets[f"{split}.labels"])


def test_a_table_explains_its_student_too(gaussian_study):
    part = saved_parts(taught(gaussian_study.results, "oracle"))[1]
    torch.testing.assert_close(torch.softmax(part.teacher, 1), gaussian_study.results.targets["test.truth"])


def test_who_was_not_taught_cannot_be_explained(digits_study):
    results = digits_study.results
    with pytest.raises(ConfigError, match="must be a student that was taught"):
        teaching_of(results.run(results.teachings["plain"][0].runs[0]))
    (alone,) = [c.run for c in results.plan.cells if c.teacher is None and c.seed == 0]
    with pytest.raises(ConfigError, match="a student without one"):
        saved_parts(results.run(alone))


def test_the_conclusion_says_who_wins_and_where():
    labels = torch.tensor([0] * 30 + [1] * 30)
    generator = torch.Generator().manual_seed(1)
    noise = 0.1 * torch.rand(60, 2, generator=generator)
    teacher = one_hot([0] * 60, of=2) + noise
    student = one_hot([0] * 30 + [1] * 30, of=2) + noise
    said = conclusion_of([explain(Part("test", teacher, student, labels), ("zero", "one"))])
    assert "right on 30 examples where its teacher is wrong and wrong on 0" in said and "+50.00 points" in said
    assert "told apart" in said and "better than its teacher on one (Holm" in said and "worse" not in said
    assert binomtest(30, 30).pvalue < 0.05


def test_the_conclusion_gives_exaggeration_beside_what_the_exchange_of_roles_shows():
    generator = torch.Generator().manual_seed(2)
    teacher = 2 * torch.randn(600, 3, generator=generator)
    part = Part("test", teacher, 0.5 * teacher, teacher.argmax(1))  # softer everywhere, so it never is the surer one
    found = explain(part, ("a", "b", "c"))
    assert found.deviations["log_odds"]["all"].underfit.mean == 1 and found.exchanged.overfit.mean == 1
    said = conclusion_of([found])
    where = "less sure on 100% of the third where its teacher is least sure, 0% with the roles exchanged"
    assert f"it underfits low-confidence points ({where})." in said and "surer on" not in said
    back = conclusion_of([explain(Part("test", 0.5 * teacher, teacher, teacher.argmax(1)), ("a", "b", "c"))])
    assert "surer on 100% of the third where its teacher is most sure, 0% with the roles exchanged" in back
