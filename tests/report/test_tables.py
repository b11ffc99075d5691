import io
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from goodteacher.base.stats import Estimate
from goodteacher.diagnose.ranking import Ranked
from goodteacher.diagnose.results import Results, StudentRow
from goodteacher.report.tables import (
    Grid,
    correlation,
    distance_grid,
    each,
    grid,
    number,
    percent,
    predictor_grid,
    scorecard_grid,
    show,
    student_grid,
    teacher_grid,
)

NAN = float("nan")
SCORES = {
    "calibrated_brier": 0.31,
    "calibrated_nll": 0.52,
    "brier": 0.33,
    "nll": 0.6,
    "accuracy": 0.7512,
    "ece": 0.0456,
}


def ranked(name="ce", seeds=3, mean=0.0, half=0.0, tied=True, **scores):
    spread = Estimate(0.31, 0.30, 0.32, seeds)
    to_best = Estimate(mean, mean - half, mean + half, seeds)
    over = "seeds" if seeds > 1 else "examples"
    return Ranked(name, {**SCORES, **scores}, 1.234, spread, to_best, tied, seeds, 250, over=over)


def student(name="kd", teacher="ce", mean=0.9, n=3, to_baseline=None, to_alone=None, holm=NAN):
    accuracy = Estimate(mean, mean - 0.01, mean + 0.01, n)
    return StudentRow(
        name, teacher, accuracy, (mean,) * n, to_baseline, to_alone, holm, {"brier": 0.2, "nll": 0.4, "ece": 0.05}
    )


def column(grid, name):
    return [row[grid.columns.index(name)] for row in grid.rows]


def test_percent_and_number():
    e = Estimate(0.0123, 0.01, 0.0146, 5)
    assert percent(e) == "1.23 ± 0.23" and percent(e, signed=True) == "+1.23 ± 0.23"
    assert percent(None) == "-" and percent(Estimate(0.5, NAN, NAN, 1)) == "50.00"
    assert percent(Estimate(-0.02, -0.03, -0.01, 2), signed=True) == "-2.00 ± 1.00"
    assert number(NAN) == "-" and number(0.12345) == "0.1235" and number(0.0456, 3) == "0.046"


def test_teachers():
    grid = teacher_grid(
        [ranked(), ranked("brier", mean=0.02, half=0.03), ranked("focal", mean=0.05, half=0.01, tied=False)]
    )
    assert grid.title == "Teachers, ranked on validation before any student (n = 3 seeds of 250 examples)"
    assert column(grid, "#") == ["1", "2", "3"] and column(grid, "teacher") == ["ce", "brier", "focal"]
    assert column(grid, "to the best") == ["best", "+0.0200 ± 0.0300 (tied)", "+0.0500 ± 0.0100"]
    first = dict(zip(grid.columns, grid.rows[0], strict=True))
    want = {"calibrated Brier": "0.3100 ± 0.0100", "Brier": "0.3300", "calibrated NLL": "0.5200", "NLL": "0.6000"}
    assert want.items() <= first.items()
    assert (first["accuracy %"], first["ECE"], first["T"]) == ("75.12", "0.046", "1.23")
    assert "over seeds; tied" in grid.note and "lower is better" in grid.note


def test_teachers_say_what_n_is():
    single = teacher_grid([ranked(seeds=1)], title="Mine")
    assert single.title == "Mine (n = 1 seed of 250 examples)" and "over examples; tied" in single.note
    mixed = teacher_grid([ranked(seeds=5), ranked("b", seeds=5), ranked("given", seeds=1)])
    assert "(n = 1 to 5 seeds of 250 examples)" in mixed.title
    assert "over seeds, or examples where seeds do not pair or do not differ; tied" in mixed.note
    assert teacher_grid([]).title.endswith("(n = 0)") and teacher_grid([]).rows == ()


def decided(name, by, estimate, to_best, over="examples", tied=False, **scores):
    return Ranked(name, {**SCORES, **scores}, 1.0, estimate, to_best, tied, 1, 250, by, over)


def test_teachers_ranked_by_accuracy_differ_in_points():
    e, d = Estimate(0.75, 0.74, 0.76, 250), Estimate(0.021, 0.011, 0.031, 250)
    grid = teacher_grid([decided("a", "accuracy", e, d), decided("b", "accuracy", e, d)])
    assert grid.columns[:5] == ("#", "teacher", "accuracy %", "to the best", "calibrated Brier")
    assert grid.columns.count("accuracy %") == 1 and column(grid, "accuracy %")[0] == "75.00 ± 1.00"
    assert column(grid, "to the best") == ["best", "+2.10 ± 1.00"] and "higher is better" in grid.note


def test_teachers_ranked_by_another_quantity_show_it_and_what_has_no_interval():
    e, none = Estimate(3.25, 3.2, 3.3, 250), Estimate(0.5, NAN, NAN, 0)
    rows = [
        decided("a", "lipschitz_pgd", e, none),
        decided("b", "lipschitz_pgd", e, none, over="nothing", tied=True),
        decided("c", "lipschitz_pgd", Estimate(4.0, NAN, NAN, 1), e, over="resamples"),
    ]
    grid = teacher_grid(rows)
    assert column(grid, "lipschitz pgd") == ["3.2500 ± 0.0500", "3.2500 ± 0.0500", "4.0000"]
    assert column(grid, "to the best")[1:] == ["+0.5000 (no interval)", "+3.2500 ± 0.0500"]
    assert "gradient ascent" in grid.note and "over resamples of the examples; tied" in grid.note
    assert "over nothing" in teacher_grid(rows[:2]).note


def test_the_scorecard_has_quantities_down_and_candidates_across():
    one, other = ranked(entropy=0.123456, lipschitz_pgd=12.3456), ranked("brier", view_variance=1.23456e-5)
    grid = scorecard_grid([one, other])
    assert grid.title == "Scorecard (n = 3 seeds of 250 examples)"
    assert grid.columns == ("quantity", "better", "ce", "brier")
    rows = {row[0]: row[1:] for row in grid.rows}
    assert list(rows) == [
        "calibrated brier", "calibrated nll", "brier", "nll", "accuracy", "ece", "entropy", "view variance", "lipschitz pgd",
    ]  # fmt: skip
    assert rows["accuracy"] == ("higher", "0.7512", "0.7512") and rows["entropy"] == ("", "0.1235", "-")
    assert rows["view variance"] == ("lower", "-", "1.235e-05") and rows["lipschitz pgd"] == ("lower", "12.35", "-")


def test_the_scorecard_before_the_map_comes_last():
    mapped = replace(ranked("mapped"), before={"brier": 0.4, "accuracy": 0.75})
    grid = scorecard_grid([ranked(), mapped])
    assert grid.rows[-3:] == (
        ("before the map", "", "", ""),
        ("  brier", "lower", "-", "0.4"),
        ("  accuracy", "higher", "-", "0.75"),
    )
    assert all(len(row) == len(grid.columns) for grid in (grid,) for row in grid.rows)


def test_the_scorecard_shows_so_many():
    many = scorecard_grid([ranked(str(i)) for i in range(10)], most=3)
    assert many.columns[2:] == ("0", "1", "2") and "The first 3 of 10 candidates." in many.note
    assert "first" not in scorecard_grid([ranked()]).note and scorecard_grid([]).rows == ()


def students_of(*rows):
    return SimpleNamespace(students=list(rows), baseline="ce", is_unbalanced=False)


def test_students():
    gain = Estimate(0.02, 0.01, 0.03, 3, 0.25)
    loss = Estimate(-0.02, -0.03, -0.01, 3, 0.5)
    rows = [
        student("alone", None, 0.85),
        student("kd", "ce", 0.86, to_alone=gain),
        student("kd", "brier", 0.88, to_baseline=gain, to_alone=loss, holm=0.0432),
    ]
    grid = student_grid(students_of(*rows))
    assert column(grid, "student") == ["alone", "kd", "kd"]
    assert column(grid, "taught by") == ["(alone)", "brier", "ce"]
    assert column(grid, "test accuracy %") == ["85.00 ± 1.00", "88.00 ± 1.00", "86.00 ± 1.00"]
    assert column(grid, "minus taught by ce") == ["-", "+2.00 ± 1.00", "baseline"]
    assert column(grid, "p exact / Holm") == ["-", "0.2500 / 0.0432", "-"]
    assert column(grid, "minus alone") == ["-", "-2.00 ± 1.00", "+2.00 ± 1.00"]
    assert column(grid, "Brier") == ["0.2000"] * 3 and column(grid, "n") == ["3"] * 3
    assert "cannot go below 0.2500 here" in grid.note and "paired by seed" in grid.note


def test_students_floor_of_p_follows_n():
    assert "below 0.0625 here" in student_grid(students_of(student(n=5))).note


def test_predictors():
    e = {
        "brier": Estimate(0.5, -0.2, 1.0, 5),
        "nll": Estimate(NAN, NAN, NAN, 5),
        "calibrated_brier": Estimate(0.9, 0.1, 1.0, 5),
    }
    grid = predictor_grid(SimpleNamespace(predictors=e))
    assert grid.rows == (
        ("calibrated brier", "+0.90", "[+0.10, +1.00]", "5"),
        ("brier", "+0.50", "[-0.20, +1.00]", "5"),
    )
    assert predictor_grid(SimpleNamespace(predictors={"nll": e["nll"]})) is None
    assert predictor_grid(SimpleNamespace(predictors={})) is None


def test_distances():
    found = {"ce": {"mse@T=1": 0.0312345, "kl@T=1": 0.1}, "brier": {"mse@T=1": 0.02, "kl@T=1": 0.05}}
    results = SimpleNamespace(ranked=[ranked(), ranked("brier")], distances=found.get, targets={"test.truth": 0})
    grid = distance_grid(results)
    assert grid.title == "Teachers' distance to the true label distribution, on test (n = 3 seeds)"
    assert grid.columns == ("teacher", "mse@T=1", "kl@T=1")
    assert grid.rows == (("ce", "0.03123", "0.10000"), ("brier", "0.02000", "0.05000"))
    results.targets = {"test.votes": 0}
    assert "human votes, corrected for their number" in distance_grid(results).title
    assert distance_grid(SimpleNamespace(ranked=[ranked()], distances=lambda arm: {}, targets={})) is None
    assert distance_grid(SimpleNamespace(ranked=[], distances=None, targets={})) is None


def printed(grid):
    console = Console(file=io.StringIO(), width=200)
    show(grid, console)
    return console.file.getvalue()


def test_show_prints_every_cell_title_and_note():
    text = printed(Grid("Title", ("teacher", "score"), (("ce", "1.5"), ("brier", "2.5")), "A note."))
    assert all(part in text for part in ("Title", "teacher", "score", "ce", "1.5", "brier", "2.5", "A note."))
    assert printed(None) == ""


def test_tables_of_a_real_study(digits_study):
    results = digits_study.results
    teachers, students = teacher_grid(results.ranked), student_grid(results)
    assert "n = 3 seeds of 250 examples" in teachers.title
    assert sorted(column(teachers, "teacher")) == ["cooled", "focal", "kept", "plain"]
    scorecard = scorecard_grid(results.ranked)
    assert all(len(row) == len(grid.columns) for grid in (teachers, students, scorecard) for row in grid.rows)
    assert ("before the map", "", "", "", "", "") in scorecard.rows  # cooled
    assert len(students.rows) == 5 and len(predictor_grid(results).rows) >= 1 and distance_grid(results) is None
    taught = [
        (float(a.split()[0]))
        for a, s in zip(column(students, "test accuracy %"), column(students, "student"), strict=True)
        if s == "taught"
    ]
    assert taught == sorted(taught, reverse=True) and not any(math.isnan(a) for a in taught)


def test_tables_of_a_study_with_known_truth(gaussian_study):
    results = gaussian_study.results
    grid = distance_grid(results)
    want = results.distances("network")
    assert grid.rows == (("network", *(f"{v:.5f}" for v in want.values())),)
    assert predictor_grid(results) is None


@pytest.mark.parametrize("mean", [0.1 + 0.2, 1 / 3])
def test_cells_are_rounded_not_cut(mean):
    assert percent(Estimate(mean, mean, mean, 2)) == f"{round(100 * mean, 2):.2f} ± 0.00"


def test_rows_of_any_kind_become_a_table():
    found = grid(
        "t",
        ({"a": 1}, {"a": 2}),
        {"a": lambda r: str(r["a"]), **each({"b": 2, "c": 3}, lambda r, k: str(r["a"] * k))},
        "n",
    )
    assert found == Grid("t", ("a", "b", "c"), (("1", "2", "3"), ("2", "4", "6")), "n")


def test_a_correlation_is_written_with_its_interval_where_it_has_one():
    assert correlation(Estimate(0.5, 0.25, 0.75, 9)) == "+0.50 [+0.25, +0.75]"
    assert correlation(Estimate(-0.5, NAN, NAN, 3)) == "-0.50" and correlation(Estimate(NAN, NAN, NAN, 1)) == "-"


def test_unlike_classes_get_the_scores_that_count_them_alike(digits_study, monkeypatch):
    results = Results(digits_study.folder)
    assert "balanced accuracy %" not in student_grid(results).columns
    monkeypatch.setitem(vars(results), "is_unbalanced", True)
    grid = student_grid(results)
    place = grid.columns.index("balanced accuracy %")
    assert grid.columns[place + 1] == "macro-F1 %"
    best = max(results.students, key=lambda r: r.accuracy.mean)
    (row,) = [row for row in grid.rows if row[0] == best.student and row[1] == (best.teacher or "(alone)")]
    assert row[place] == f"{100 * best.extra['balanced_accuracy']:.2f}"
    assert abs(best.extra["balanced_accuracy"] - best.accuracy.mean) < 0.05  # digits are nearly balanced
