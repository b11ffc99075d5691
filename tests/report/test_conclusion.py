from types import SimpleNamespace

import pandas as pd
import pytest

from goodteacher.base.stats import Estimate
from goodteacher.diagnose.ranking import Ranked
from goodteacher.diagnose.results import StudentRow
from goodteacher.report.conclusion import conclusion

NAN = float("nan")


def teacher(name, tied=False):
    return Ranked(name, {}, 1.0, Estimate(0.3, 0.2, 0.4, 5), Estimate(0.0, 0.0, 0.0, 5), tied, 5, 100)


def around(mean, half=0.005):
    return Estimate(mean, mean - half, mean + half, 5)


def student(taught_by, accuracy, *, name="kd", to_baseline=None, holm=NAN, to_alone=None, holm_alone=NAN):
    return StudentRow(name, taught_by, around(accuracy), (accuracy,) * 5, to_baseline, to_alone, holm, {}, holm_alone)


def fake(ranked=(), students=(), predictor=None, missing=(), alarms=(), arms=("kd",)):
    return SimpleNamespace(
        ranked=list(ranked),
        students=list(students),
        baseline="ce",
        predictors={"calibrated_brier": predictor} if predictor else {},
        missing=list(missing),
        alarms=lambda: list(alarms),
        points=pd.DataFrame({"student": list(arms)}),
    )


TWO = [teacher("ce"), teacher("brier")]


def test_a_study_of_nothing_says_nothing():
    assert conclusion(fake()) == ""


def test_teachers_that_can_be_told_apart():
    text = conclusion(fake(TWO))
    assert text == (
        "Before any student was trained, 'ce' had the lowest calibrated Brier score on validation, ahead of every other "
        "teacher (n = 5)."
    )


def test_teachers_that_are_tied():
    text = conclusion(fake([teacher("ce"), teacher("brier", True), teacher("focal", True), teacher("poor")]))
    assert "not to be told apart from 'brier' and 'focal' (n = 5)." in text and "poor" not in text
    three = conclusion(fake([teacher("ce"), *(teacher(n, True) for n in "abc")]))
    assert "from 'a', 'b' and 'c'" in three


def test_one_teacher():
    assert conclusion(fake([teacher("ce")])) == "There is one teacher, 'ce'."


def test_no_difference_is_called_none():
    rows = [student("ce", 0.90), student("brier", 0.91, to_baseline=around(0.01), holm=0.05)]
    text = conclusion(fake(TWO, rows))
    assert "Student 'kd' was most accurate on average when taught by 'brier' (91.00%, n = 5)" in text
    assert "no difference in favour of any teacher over 'ce' was shown." in text
    assert "better" not in text and "worse" not in text


def test_a_planted_gain_is_named_with_its_interval():
    rows = [student("ce", 0.90), student("brier", 0.92, to_baseline=around(0.02), holm=0.01)]
    text = conclusion(fake(TWO, rows))
    assert "better than taught by 'ce' was shown for 'brier' (+2.00 points, 95% interval [+1.50, +2.50])." in text
    assert "no difference" not in text and "worse" not in text


def test_a_planted_loss_is_named_too():
    rows = [
        student("ce", 0.90),
        student("good", 0.92, to_baseline=around(0.02), holm=0.01),
        student("poor", 0.88, to_baseline=around(-0.02), holm=0.02),
        student("same", 0.90, to_baseline=around(0.001), holm=0.9),
    ]
    text = conclusion(fake(TWO, rows))
    assert "was shown for 'good' (+2.00 points" in text
    assert "; worse was shown for 'poor' (-2.00 points, 95% interval [-2.50, -1.50])." in text and "'same'" not in text


def test_a_comparison_of_one_seed_shows_nothing():
    unsure = Estimate(0.05, NAN, NAN, 1)
    text = conclusion(
        fake(TWO, [student("ce", 0.9), student("brier", 0.95, to_baseline=unsure, holm=NAN, to_alone=unsure)])
    )
    assert "no difference in favour of any teacher over 'ce' was shown." in text
    assert "Taught as 'kd' or alone: one seed cannot show a difference (measured +5.00 points); take 3 or more." in text


def test_against_the_student_alone():
    rows = [
        student(None, 0.89),
        student("ce", 0.90, to_alone=around(0.01), holm_alone=0.02),
        student("brier", 0.90, to_baseline=around(0.0), holm=0.9, to_alone=around(-0.01), holm_alone=0.03),
    ]
    text = conclusion(fake(TWO, rows))
    assert (
        "Taught as 'kd' against alone: a gain was shown for 'ce' (+1.00 points, 95% interval [+0.50, +1.50]) and a loss was "
        "shown for 'brier' (-1.00 points, 95% interval [-1.50, -0.50])."
    ) in text
    none = conclusion(fake(TWO, [student("ce", 0.9, to_alone=around(0.01), holm_alone=0.06)]))
    assert "Taught as 'kd' or alone: no difference was shown for any teacher." in none


def test_each_student_arm_has_its_own_sentence():
    rows = [
        student(t, a, name=n, to_baseline=None if t == "ce" else around(0.02), holm=h)
        for n, t, a, h in (
            ("kd", "ce", 0.9, NAN),
            ("kd", "b", 0.92, 0.01),
            ("at", "ce", 0.8, NAN),
            ("at", "b", 0.82, 0.5),
        )
    ]
    text = conclusion(fake(TWO, rows))
    assert "Student 'kd'" in text and "Student 'at'" in text
    assert text.count("better than taught by") == 1 and text.count("no difference in favour") == 1


@pytest.mark.parametrize(
    ("low", "high", "n", "verdict"),
    [
        (0.2, 1.0, 9, "which excludes zero"),
        (-0.3, 1.0, 9, "which is too wide to say more"),
        (0.2, 1.0, 5, "too few teachers to say more"),
    ],
)
def test_prediction(low, high, n, verdict):
    text = conclusion(fake(predictor=Estimate(0.6, low, high, n)))
    assert text == (
        f"Over {n} teacher arms the calibrated Brier score, known beforehand, had rank correlation +0.60 with student accuracy, "
        f"95% interval [{low:+.2f}, {high:+.2f}], {verdict}."
    )


def test_prediction_over_several_students_says_so_and_without_enough_teachers_nothing():
    text = conclusion(fake(predictor=Estimate(0.6, 0.1, 1.0, 8), arms=("kd", "at")))
    assert text.startswith("Over 8 pairs of a teacher arm and one of 2 student arms the calibrated")
    assert conclusion(fake(predictor=Estimate(NAN, NAN, NAN, 3))) == ""


def test_missing_runs_and_alarms_are_said():
    assert conclusion(fake(missing=["a"])) == "1 planned run is not finished, so this is a partial result."
    text = conclusion(fake(missing=["a", "b"], alarms=["x", "y"]))
    assert text == (
        "2 planned runs are not finished, so this is a partial result. Training raised 2 alarms: see below."
    )
    assert conclusion(fake(alarms=["x"])) == "Training raised 1 alarm: see below."


def test_of_a_real_study(digits_study):
    results = digits_study.results
    text = conclusion(results)
    assert results.ranked[0].name in text and "Student 'taught'" in text and "n = 3" in text
    assert text.endswith(".") and "None" not in text and "nan" not in text
