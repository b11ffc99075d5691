from __future__ import annotations

import pytest

from goodteacher.base.errors import ConfigError
from goodteacher.data.facts import Facts
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import parse_study

FACTS = Facts("f" * 16, 10, (1, 8, 8), 100, is_image=True, knows_truth=False, has_votes=False)
TEACHERS = {
    "ce": {"model": "mlp"},
    "early": {"model": "mlp", "keep": "best_brier"},
    "brier": {"model": "mlp", "objective": "brier"},
}
STUDENTS = {"alone": {"model": "mlp", "method": "none"}, "kd": {"model": "mlp"}}


def plan(facts=FACTS, **changes):
    return plan_study(
        parse_study({"problem": "digits", "teachers": TEACHERS, "students": STUDENTS, "seeds": 2, **changes}), facts
    )


def test_every_student_under_every_teacher_once_a_seed():
    p = plan()
    assert len(p.teachers) == 6 and len(p.cells) == 2 + 6
    assert len(p.runs) == 6 + 2 + 6
    for cell in p.cells:
        teaching = p.runs[cell.run].teaching
        assert teaching == p.teachers.get((cell.teacher, cell.seed))


def test_teachers_come_before_their_students():
    seen = set()
    for run, spec in plan().runs.items():
        assert set(spec.needs_runs) <= seen
        seen.add(run)


def test_the_checkpoint_rule_changes_the_run_but_not_the_training():
    p = plan()
    ce, early = (p.runs[p.teachers[arm, 0].network] for arm in ("ce", "early"))
    assert ce.id != early.id and ce.training_id == early.training_id


def test_identity_follows_content():
    ids = set(plan().runs)
    assert set(plan().runs) == ids
    renamed = {"x": TEACHERS["ce"], "y": TEACHERS["early"], "z": TEACHERS["brier"]}
    assert set(plan(teachers=renamed).runs) == ids  # a name is not content
    spelt_out = {**TEACHERS, "brier": {"model": {"mlp": {}}, "objective": {"brier": {"scale": "auto", "warmup": 0.6}}}}
    assert set(plan(teachers=spelt_out).runs) == ids  # a default written out is the same
    for change in (
        {"recipe": {"lr": 0.2}},
        {"teachers": {**TEACHERS, "brier": {"model": "mlp", "objective": {"brier": {"scale": 3}}}}},
        {"facts": Facts("e" * 16, 10, (1, 8, 8), 100, is_image=True, knows_truth=False, has_votes=False)},
    ):
        assert set(plan(**change).runs) != ids


def test_a_target_map_changes_the_students_and_not_the_teachers():
    plain, mapped = plan(), plan(teachers={**TEACHERS, "ce": {"model": "mlp", "map": "temperature"}})
    assert {k: w.runs for k, w in plain.teachers.items()} == {k: w.runs for k, w in mapped.teachers.items()}
    runs = lambda p, arm: {c.run for c in p.cells if c.teacher == arm}  # noqa: E731
    assert runs(plain, "ce") != runs(mapped, "ce") and runs(plain, "brier") == runs(mapped, "brier")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": {"t": {"model": "resnet21"}}}, "did you mean 'resnet"),
        ({"teachers": {"t": {"model": {"mlp": {"width": [3]}}}}}, "did you mean 'widths'"),
        ({"teachers": {"t": {"model": "mlp", "objective": "brir"}}}, "did you mean 'brier'"),
        ({"teachers": {"t": {"model": "mlp", "objective": {"brier": {"scal": 1}}}}}, "did you mean 'scale'"),
        ({"teachers": {"t": {"model": "mlp", "map": "temprature"}}}, "did you mean 'temperature'"),
        ({"teachers": {"t": {"model": "mlp", "keep": "epoch=99"}}}, "within the 60 epochs"),
        ({"teachers": {"t": {"table": "truth"}}}, "truth is known"),
        ({"students": {"s": {"model": "mlp", "method": "kdd"}}}, "did you mean 'kd'"),
        ({"students": {"s": {"model": "mlp", "method": {"kd": {"temperature": 0}}}}, "teachers": {}}, "needs a teacher"),
        ({"facts": Facts("f", 10, (30,), 100, is_image=False, knows_truth=False, has_votes=False),
          "recipe": {"augment": "crop_flip"}}, "needs image inputs"),
        ({"facts": Facts("f", 10, (30,), 100, is_image=False, knows_truth=False, has_votes=False),
          "teachers": {"t": {"model": "resnet8"}}}, "takes images"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_before_anything_trains(changes, message):
    with pytest.raises(ConfigError, match=message):
        plan(**changes)


def test_class_weights_that_nothing_follows_are_refused_before_anything_trains():
    weights = {"recipe": {"class_weights": "balanced"}}
    plan(**weights)  # objectives are scores, and methods have the label's cross-entropy
    students = {"pure": {"model": "mlp", "method": {"kd": {"gamma": 0}}}}
    with pytest.raises(ConfigError, match=r"class_weights: weigh scores against labels, got kd, "):
        plan(students=students, **weights)
    with pytest.raises(ConfigError, match=r"class_weights: must have one number for each of 10 classes, got 2"):
        plan(recipe={"class_weights": [1, 2]})
    with pytest.raises(ConfigError, match=r"sampling.* cannot be balanced with filter_table"):
        plan(recipe={"sampling": "balanced", "filter_table": 0.1})
