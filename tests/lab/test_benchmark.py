from __future__ import annotations

import pytest

from goodteacher.base.compose import option_defaults
from goodteacher.methods.table import METHODS
from goodteacher.models.table import MODELS
from goodteacher_lab.benchmark import LIGHT, PAIRS, benchmark, options_of


@pytest.mark.parametrize("pair", PAIRS)
def test_every_row_names_models_methods_options_and_a_source(pair):
    assert set(pair.split("-")) <= set(MODELS)
    for method, known in PAIRS[pair].items():
        assert set(known["options"]) <= set(option_defaults(METHODS[method].build)) and known["source"]


def test_published_options_reach_the_study_and_gaps_are_said():
    study = benchmark("resnet110", "resnet20", ["kd", "dkd", "crd + kd"], problem={"name": "cifar100"}, epochs=24)
    assert study.recipe.lr == 0.05 and study.recipe.milestones == pytest.approx((0.625, 0.75, 0.875))
    assert study.students["dkd"].method == {"dkd": {}} and set(study.students["crd_kd"].method) == {"crd", "kd"}
    assert any("dkd has no published options for resnet110 -> resnet20" in note for note in study.notes)
    assert any("epochs: 24" in note for note in study.notes)
    known = benchmark("resnet56", "resnet20", ["dkd"], problem={"name": "cifar100"})
    assert known.students["dkd"].method == {"dkd": {"beta": 2.0}} and known.notes == ()


def test_light_networks_train_at_a_fifth_of_the_rate():
    assert "shufflenetv1" in LIGHT
    study = benchmark("resnet32x4", "shufflenetv1", ["kd"], problem={"name": "cifar100"})
    assert study.students["kd"].recipe == {"lr": 0.01} and study.teachers["cross_entropy"].recipe == {}


def test_methods_with_one_setting_for_all_need_none():
    assert options_of("resnet56", "resnet20", "kd") == ({}, "")
