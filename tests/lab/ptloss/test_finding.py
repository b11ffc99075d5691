"""Proxy teachers: the study's arms, the cost of a search, and the comparison at a tiny size."""

from __future__ import annotations

import json

import pytest

from goodteacher_lab.job import Job
from goodteacher_lab.ptloss import finding as ptloss
from goodteacher_lab.ptloss.finding import in_sample, search_seconds
from goodteacher_lab.ptloss.study import BRIER, MAPS, TRUTH, arm_of, map_study
from goodteacher_lab.sizes import SIZES, size_of


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The toy on few examples for two epochs, and its results."""
    from goodteacher.data.gaussian import gaussian_problem

    job = Job(epochs=2, seeds=2, out=tmp_path_factory.mktemp("toy"), quiet=True)
    problem = gaussian_problem(train=200, validation=100, test=300)
    words = {"name": "gaussian", "train": 200, "validation": 100, "test": 300}
    study = map_study("toy", size_of(job, "ptloss/toy"), words, knows_truth=True)
    return ptloss._compared("ptloss/toy", study, problem, job, ("said",)), job.run(study, problem)


def test_all_maps_are_put_on_one_training():
    study = map_study("x", SIZES["ptloss/toy"]["paper"], {"name": "gaussian"}, knows_truth=False)
    assert len(study.teachers) == len(MAPS) + 1 and study.seed_list == tuple(range(10))
    objectives = [arm.objective for arm in study.teachers.values()]
    assert objectives == ["cross_entropy"] * len(MAPS) + ["brier"]
    assert study.recipe.lr == 5e-4 and study.recipe.epochs == 100 and study.recipe.batch_size == 32
    searches = [(m["pt_proxy"]["search"], "per_class" in m["pt_proxy"]) for m in MAPS.values() if isinstance(m, dict)]
    assert sorted(searches) == [("gradient", False), ("gradient", True), ("random", False), ("random", True)]


@pytest.mark.slow
def test_the_proxy_comes_nearer_to_the_truth_than_its_teacher(tiny):
    found, _ = tiny
    row = found.data["teachers"]["proxy, gradient"]
    assert sum(row["mse"]) < sum(row["mse before"])
    plain = found.data["teachers"]["plain KL"]
    assert plain["mse"] == plain["mse before"] == row["mse before"]
    assert found.data["teachers"][BRIER]["mse"] != plain["mse"]


@pytest.mark.slow
def test_every_way_has_students_a_distance_and_where_it_searches_a_cost(tiny):
    found, results = tiny
    assert set(found.data["students"]) == {*MAPS, BRIER, TRUTH, "alone"}
    assert all(len(v) == 2 for v in found.data["students"].values())
    for way, row in found.data["teachers"].items():
        assert ("seconds" in row) == (MAPS.get(way) is not None) and len(row["train mse"]) == 2
    assert min(search_seconds(results, "temperature").values()) > 0
    assert json.dumps(found.data) and "plain KL" in found.verdict and "said" in found.departures
    distance, nearer, students, differences = found.grids
    assert len(nearer.rows) == len(MAPS) and nearer.columns[1] == "score" and "Rank correlation" in students.note
    assert "nearer" in found.verdict or "not told apart" in found.verdict
    assert "search, seconds" in distance.columns and len(distance.rows) == len(MAPS) + 1
    assert students.rows[-1][0] == "(labels alone)" and len(differences.rows) == len(MAPS) + 1
    points = json.loads(found.charts["distance and students"])
    assert len(next(iter(points["datasets"].values()))) == 2 * (len(MAPS) + 1)


@pytest.mark.slow
def test_the_distance_on_training_inputs_is_that_of_the_mapped_answers(tiny):
    _, results = tiny
    answers = results.answers["temperature", 1]
    logits = answers.map(answers.runs[0].extra("train")["logits"]).double()
    expected = (logits.softmax(dim=1) - results.targets["train.truth"].double()).square().sum(dim=1).mean()
    assert in_sample(results, "temperature")[1] == pytest.approx(float(expected))
    assert in_sample(results, arm_of(TRUTH)) == {}


@pytest.mark.slow
def test_digits_stand_in_for_pictures(tmp_path):
    found = ptloss.images(Job(epochs=1, seeds=1, out=tmp_path, quiet=True))
    assert "mse" not in found.data["teachers"]["plain KL"] and found.data["correlation"]["of"] == "brier"
    assert any("digits" in line for line in found.departures)
