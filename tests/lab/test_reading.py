"""What recipes read off a study: held-out scores, fidelity, corrected differences, and the pictures of a job."""

from __future__ import annotations

import math

import numpy as np
import pytest

from goodteacher_lab import reading
from goodteacher_lab.job import Job


def test_held_out_scores_are_those_of_the_mapped_answers(digits_study):
    results = digits_study.results
    mapped, plain = (reading.held_out(results, "cooled", mapped=m) for m in (True, False))
    logits, labels = results.teacher_logits("cooled", 1, "test"), results.targets["test.labels"]
    assert mapped["accuracy"][1] == pytest.approx(float((logits.argmax(dim=1) == labels).double().mean()))
    assert mapped["accuracy"] == plain["accuracy"] and mapped["brier"] != plain["brier"]
    assert set(mapped) == {"accuracy", "nll", "brier", "ece"} and set(mapped["nll"]) == {0, 1, 2}


def test_where_the_truth_is_known_distances_are_given(gaussian_study):
    found = reading.held_out(gaussian_study.results, "oracle")
    assert found["mse"][0] == pytest.approx(0, abs=1e-10) and found["kl"][0] == pytest.approx(0, abs=1e-6)
    assert reading.held_out(gaussian_study.results, "network")["mse"][0] > 0


def test_fidelity_is_agreement_and_divergence_by_seed(digits_study):
    results = digits_study.results
    agreement, divergence = reading.fidelity(results, "taught", "plain")
    cell = next(c for c in results.plan.cells if (c.student, c.teacher, c.seed) == ("taught", "plain", 2))
    own, other = results.run(cell.run).outputs("test"), results.teacher_logits("plain", 2, "test")
    assert agreement[2] == pytest.approx(float((own.argmax(dim=1) == other.argmax(dim=1)).double().mean()))
    assert set(divergence) == {0, 1, 2} and min(divergence.values()) > 0


def test_differences_are_paired_by_common_seeds_and_corrected_together():
    a, b = {0: 0.5, 1: 0.7, 2: 0.6, 9: 1.0}, {0: 0.4, 1: 0.5, 2: 0.55}
    one, two = reading.differences([("a - b", a, b), ("b - b", b, b)])
    assert one.estimate.mean == pytest.approx((0.1 + 0.2 + 0.05) / 3) and one.estimate.n == 3
    assert one.holm > reading.differences([("a - b", a, b)])[0].holm and two.holm == 1
    clear = {0: 0.80, 1: 0.81, 2: 0.82, 3: 0.80}, {0: 0.70, 1: 0.715, 2: 0.72, 3: 0.71}
    slight = {0: 0.80, 1: 0.81, 2: 0.82, 3: 0.80}, {0: 0.79, 1: 0.805, 2: 0.811, 3: 0.797}
    alone, corrected = reading.differences([("x", *slight)])[0], reading.differences([("x", *slight)] * 5)[0]
    assert alone.estimate.low > 0 and "a difference" in alone.words  # p 0.025
    assert corrected.estimate.low > 0 and "not told apart" in corrected.words  # of five tests it is not shown
    assert "a difference" in reading.differences([("x", *clear)] * 5)[0].words
    assert "not told apart" in two.words and math.isnan(reading.differences([("x", {0: 1.0}, {0: 0.0})])[0].holm)
    assert reading.difference_grid("d", [one, two]).rows[0][:2] == ("a - b", "+11.67 ± 18.97")


def test_pictures_come_from_the_job_with_as_many_a_class_as_there_are(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8), "y_train": np.arange(60) % 3}
    arrays |= {"x_test": arrays["x_train"][:12], "y_test": arrays["y_train"][:12]}
    np.savez(tmp_path / "few.npz", **arrays)
    job = Job(images=str(tmp_path / "few.npz"))
    words, problem = reading.problem_of(job, 5)
    assert words["subset"] == 5 and len(problem.train) == 15
    assert reading.problem_of(job, 500)[0]["subset"] == 18  # 20 a class, less a tenth for validation
    assert reading.problem_of(job, None)[0] == {"name": job.images, "root": "data"}
    assert any("5 training examples per class" in line for line in reading.problem_departures(job, problem))
    words, problem = reading.problem_of(Job(), 5)
    assert words == {"name": "digits", "noise": 0.3} and len(problem.train) == 1008


def test_numbers_and_models_in_words():
    assert reading.decimal({0: 0.25}, 2) == "0.25" and reading.decimal({0: 1.0, 1: 1.0}, 1) == "1.0 ± 0.0"
    assert reading.model_name("resnet8") == "resnet8" and reading.model_name({"mlp": {"widths": [4]}}) == "mlp [4]"
