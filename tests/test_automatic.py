"""The teacher picked by itself: what is tried, that validation alone decides, and that the student learns from the pick."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch

from goodteacher import automatic
from goodteacher.api import run_study
from goodteacher.automatic import MAPS_TRIED, OBJECTIVES_TRIED, candidate_arms, choose_teacher
from goodteacher.data.digits import digits_problem
from goodteacher.diagnose.cross_fitted import cross_fitted_map
from goodteacher.maps.table import MAPS
from goodteacher.objectives.table import OBJECTIVES

STUDENT = {"mlp": {"widths": [4]}}
STUDY = {
    "name": "small",
    "problem": "digits",
    "recipe": {"epochs": 3, "batch_size": 64, "lr": 0.1},
    "students": {"kd": {"model": STUDENT}},
    "seeds": 2,
}


def test_what_is_tried_exists():
    assert set(OBJECTIVES_TRIED) <= set(OBJECTIVES) and set(MAPS_TRIED) <= set(MAPS)


def test_a_budget_goes_round_the_models_objective_by_objective():
    arms = candidate_arms(["resnet8", "vgg8"], 3, 60)
    assert list(arms) == ["cross_entropy_resnet8", "cross_entropy_vgg8", "brier_resnet8"]
    assert all(arm["checkpoints"] == 10 for arm in arms.values())
    assert len(candidate_arms(["resnet8", "vgg8"], 1000, 60)) == 2 * len(OBJECTIVES_TRIED)


@pytest.fixture(scope="module", autouse=True)
def _two_folds():
    """Judge target maps on two folds: to fit one on each of five is most of what a choice takes, and is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automatic, "cross_fitted_map", functools.partial(cross_fitted_map, folds=2))
        yield


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    out, problem = tmp_path_factory.mktemp("auto"), digits_problem()
    return choose_teacher({"mlp": {"widths": [16]}}, STUDY, problem, budget=2, out=out), out, problem


@pytest.mark.slow
def test_checkpoints_are_candidates_and_the_pick_is_the_best_of_them(chosen):
    choice, _, _ = chosen
    assert len(choice.ranked) == 6 and choice.ranked[0].name == choice.arm
    assert 0 < choice.sure <= 1 and set(choice.maps) == set(MAPS_TRIED)
    assert choice.maps[choice.map] == min(choice.maps.values())


@pytest.mark.slow
def test_the_student_learns_from_the_pick_and_the_page_says_what_was_tried(chosen):
    choice, out, problem = chosen
    finished = run_study(choice.study, problem, out=out, page=True)
    picked = finished.plan.teachers["picked", 0]
    assert set(picked.runs) <= set(finished.summary.reused) and list(picked.target_map) == [choice.map]
    page = (finished.folder / "report.html").read_text()
    assert (
        "picked before any student: 6 candidates from 2 trainings" in page
        and "Distilling from all 6 candidates" in page
    )


@pytest.mark.slow
def test_validation_alone_decides(chosen, tmp_path):
    choice, _, problem = chosen
    part = problem.test
    shuffled = dataclasses.replace(problem, test=part.with_labels(part.labels[torch.arange(len(part)).flip(0)], None))
    again = choose_teacher({"mlp": {"widths": [16]}}, STUDY, shuffled, budget=2, out=tmp_path)
    assert (again.arm, again.map, again.sure) == (choice.arm, choice.map, choice.sure)
