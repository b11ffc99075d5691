import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from goodteacher.base.probability import log_probabilities, log_soften
from goodteacher.base.stats import holm, mean_interval, paired_difference, spearman, t_test_p
from goodteacher.diagnose.calibration import expected_calibration_error
from goodteacher.diagnose.distance import distance_to_truth, distance_to_votes
from goodteacher.diagnose.ranking import PREDICTORS, Candidate, rank_candidates
from goodteacher.diagnose.results import Results
from goodteacher.maps.temperature import fit_temperature
from goodteacher.study.store import Store
from goodteacher.train.infer import predict, quick_scores

ARMS = ("plain", "kept", "cooled", "focal")


@pytest.fixture
def results(digits_study):
    return digits_study.results


def accuracy(results, student, teacher, seed):
    (run,) = [c.run for c in results.plan.cells if (c.student, c.teacher, c.seed) == (student, teacher, seed)]
    right = results.run(run).outputs("test").argmax(1) == results.targets["test.labels"]
    return float(right.double().mean())


def row_of(results, student, teacher):
    (row,) = [r for r in results.students if (r.student, r.teacher) == (student, teacher)]
    return row


def test_everything_planned_is_there(results):
    assert results.missing == [] and results.alarms() == []
    assert results.baseline == "plain" and list(results.teachings) == list(ARMS)
    assert all(sorted(runs) == [0, 1, 2] for runs in results.teachings.values())
    assert {(r.student, r.teacher) for r in results.students} == {("alone", None)} | {("taught", a) for a in ARMS}


def test_teacher_logits_go_through_the_target_map(results):
    run = results.run(results.teachings["cooled"][1].runs[0])
    raw = run.outputs("validation")
    t = fit_temperature(raw, results.targets["validation.labels"])
    assert abs(t - 1) > 0.01
    torch.testing.assert_close(results.teacher_logits("cooled", 1, "validation"), raw / t)
    torch.testing.assert_close(results.teacher_logits("cooled", 1, "test"), run.outputs("test") / t)
    plain = results.run(results.teachings["plain"][1].runs[0])
    assert torch.equal(results.teacher_logits("plain", 1, "test"), plain.outputs("test"))


def test_ranking_is_by_validation_alone(results):
    labels = results.targets["validation.labels"]
    candidates = [
        Candidate(a, tuple(results.teacher_logits(a, s, "validation") for s in range(3)), labels) for a in ARMS
    ]
    again = rank_candidates(candidates)
    assert [(r.name, r.to_best, r.tied) for r in results.ranked] == [(r.name, r.to_best, r.tied) for r in again]
    assert all(r.scores.items() <= own.scores.items() for r, own in zip(again, results.ranked, strict=True))
    fresh = Results(results.folder)
    fresh.targets["test.labels"] = fresh.targets["test.labels"].flip(0)
    assert fresh.ranked == results.ranked


def test_students_are_compared_by_seed(results):
    for arm in ARMS:
        row = row_of(results, "taught", arm)
        values = [accuracy(results, "taught", arm, s) for s in range(3)]
        base = [accuracy(results, "taught", "plain", s) for s in range(3)]
        alone = [accuracy(results, "alone", None, s) for s in range(3)]
        assert list(row.values) == values and row.accuracy == mean_interval(values)
        assert row.to_alone == paired_difference(values, alone)
        if arm == "plain":
            assert row.to_baseline is None and np.isnan(row.holm)
        else:
            assert row.to_baseline == paired_difference(values, base)
    single = row_of(results, "alone", None)
    assert single.to_alone is None and single.to_baseline is None


def test_p_values_are_corrected_over_all_comparisons_with_the_baseline(results):
    p = []
    for arm in ARMS[1:]:
        p.append(
            t_test_p([accuracy(results, "taught", arm, s) - accuracy(results, "taught", "plain", s) for s in range(3)])
        )
    assert [row_of(results, "taught", a).holm for a in ARMS[1:]] == pytest.approx(holm(p))


def test_other_test_scores_are_means_over_seeds(results):
    labels = results.targets["test.labels"]
    runs = [c.run for c in results.plan.cells if c.teacher == "focal"]
    logits = [results.run(r).outputs("test") for r in runs]
    extra = row_of(results, "taught", "focal").extra
    for name in ("brier", "nll"):
        assert extra[name] == pytest.approx(np.mean([quick_scores(z, labels)[name] for z in logits]))
    errors = [expected_calibration_error(log_soften(z.double()).exp(), labels) for z in logits]
    assert extra["ece"] == pytest.approx(np.mean(errors)) and set(extra) == {
        "brier",
        "nll",
        "ece",
        "balanced_accuracy",
        "macro_f1",
    }


def test_predictors_are_rank_correlations_turned_the_good_way_up(results):
    points = results.points
    assert list(points["teacher"]) == list(ARMS) and set(points["student"]) == {"taught"}
    scores = {r.name: r.scores for r in results.ranked}
    students = [row_of(results, "taught", a).accuracy.mean for a in ARMS]
    for name in PREDICTORS:
        sign = 1 if name in {"accuracy", "resolution", "secondary_deviation", "cmi"} else -1
        want = stats.spearmanr([sign * scores[a][name] for a in ARMS], students).statistic
        assert results.predictors[name].mean == pytest.approx(want) and results.predictors[name].n == 4


def test_students_of_different_kinds_are_compared_with_their_own_mean(results):
    fresh = Results(results.folder)
    rows = results.points
    better = rows.assign(student="big", student_accuracy=rows["student_accuracy"] + 0.2)
    fresh.points = pd.concat([rows, better], ignore_index=True)
    level = (rows["student_accuracy"] - rows["student_accuracy"].mean()).tolist() * 2
    want = spearman((-rows["brier"]).tolist() * 2, level)
    assert fresh.predictors["brier"].mean == pytest.approx(want.mean) and fresh.predictors["brier"].n == 8


def test_reliability_joins_seeds(results):
    logits, labels = results.reliability_logits("cooled")
    n = len(results.targets["validation.labels"])
    assert len(logits) == len(labels) == 3 * n
    assert torch.equal(labels[n : 2 * n], results.targets["validation.labels"])
    assert torch.equal(logits[n : 2 * n], results.teacher_logits("cooled", 1, "validation"))


def test_teacher_test_accuracy(results):
    want = []
    for run in [w.runs[0] for w in results.teachings["plain"].values()]:
        want.append(quick_scores(results.run(run).outputs("test"), results.targets["test.labels"])["accuracy"])
    assert results.teacher_test_accuracy("plain") == mean_interval(want)


def test_saved_outputs_are_the_models_own(results):
    from goodteacher.data.digits import digits_problem

    run = results.run(results.teachings["kept"][0].runs[0])
    torch.testing.assert_close(predict(run.model, digits_problem(), "test"), run.outputs("test"), rtol=1e-4, atol=1e-4)


def test_temperatures_and_distances_where_nothing_is_known(results):
    assert results.teaching_temperatures() == [1.0, 2.0]
    assert results.distances("plain") == {}


def test_distances_to_votes(results):
    fresh = Results(results.folder)
    labels = fresh.targets["test.labels"]
    fresh.targets["test.votes"] = 9 * torch.nn.functional.one_hot(labels, 10) + 1
    got = fresh.distances("cooled")
    assert list(got) == ["mse@T=1", "kl@T=1", "mse@T=2", "kl@T=2"]
    each = [
        distance_to_votes(fresh.teacher_logits("cooled", s, "test"), fresh.targets["test.votes"], temperature=2.0)
        for s in range(3)
    ]
    assert got["mse@T=2"] == pytest.approx(np.mean([float(e["mse"].mean()) for e in each]))


def test_distances_to_a_known_truth(gaussian_study):
    results = gaussian_study.results
    got = results.distances("network")
    assert list(got) == ["mse@T=1", "kl@T=1", "mse@T=4", "kl@T=4"]
    truth = results.targets["test.truth"]
    for t in (1.0, 4.0):
        each = [distance_to_truth(results.teacher_logits("network", s, "test"), truth, temperature=t) for s in (0, 1)]
        for name in ("mse", "kl"):
            assert got[f"{name}@T={t:g}"] == pytest.approx(np.mean([float(e[name].mean()) for e in each]))
    row = row_of(results, "warm", "oracle")
    assert row.extra["mse to truth"] > 0 and row.accuracy.n == 2


def test_a_table_teaches_but_is_no_network_to_be_ranked(gaussian_study):
    results = gaussian_study.results
    assert list(results.teachings) == ["network"] and [r.name for r in results.ranked] == ["network"]
    torch.testing.assert_close(
        results.teacher_logits("oracle", 0, "test"), log_probabilities(results.targets["test.truth"])
    )
    assert (
        set(results.points["teacher"]) == {"network"} and results.predictors == {}
    )  # a student of one teacher tells nothing
    assert row_of(results, "warm", "oracle").to_alone is None


def test_unfinished_runs_are_left_out_and_counted(results, tmp_path):
    shutil.copytree(results.store.root, tmp_path, dirs_exist_ok=True)
    (lost,) = [c.run for c in results.plan.cells if (c.teacher, c.seed) == ("focal", 1)]
    teacher = results.teachings["kept"][2].runs[0]
    for run in (lost, teacher):
        shutil.rmtree(tmp_path / "runs" / run)
    partial = Results(Store(tmp_path).study_folder("tiny"))
    assert set(partial.missing) == {lost, teacher}
    row = row_of(partial, "taught", "focal")
    both = [(accuracy(partial, "taught", "focal", s), accuracy(partial, "taught", "plain", s)) for s in (0, 2)]
    assert row.accuracy.n == 2 and row.to_baseline == paired_difference(*map(list, zip(*both, strict=True)))
    assert sorted(partial.teachings["kept"]) == [0, 1]
    assert {r.name: r.seeds for r in partial.ranked} == {"plain": 3, "kept": 2, "cooled": 3, "focal": 3}


def test_alarms_are_gathered(results):
    fresh = Results(results.folder)
    run = fresh.run(fresh.teachings["plain"][0].runs[0])
    run.__dict__["result"] = replace(run.result, alarms=("it learns nothing",))
    assert fresh.alarms() == ["it learns nothing"]
