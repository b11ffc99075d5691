from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Batch, Mixed, Output, Progress, Setting
from goodteacher.maps.temperature import Temperature
from goodteacher.methods.table import build_method
from goodteacher.models.mlp import MLP
from goodteacher.objectives.table import build_objective
from goodteacher.train.frozen import FoldTeacher, MappedTeacher, NetworkTeacher, TableTeacher
from goodteacher.train.learner import Learner
from goodteacher.train.mixing import check_mixing, check_weighing, mixed_terms
from goodteacher.train.recipe import Recipe

C = 3
SETTING = Setting(C, examples=8, network=nn.Linear(2, C), labels=torch.arange(8) % C)
LOGITS = torch.randn(8, C, generator=torch.Generator().manual_seed(0))
OWN, OTHER = torch.arange(8) % C, (torch.arange(8) + 1) % C
PROGRESS = Progress(0, 1, 4)
PLAIN = build_objective("cross_entropy", SETTING)
MIXING = Recipe(mixup=0.2)


def batch(mixed):
    return Batch(torch.zeros(8, 2), OWN, torch.arange(8), mixed=mixed)


def test_cross_entropy_on_a_mixed_batch_is_that_to_the_mixed_label():
    soft = 0.3 * nn.functional.one_hot(OWN, C) + 0.7 * nn.functional.one_hot(OTHER, C)
    terms = mixed_terms(PLAIN, Output(LOGITS), None, batch(Mixed(OTHER, 0.3)), PROGRESS)
    torch.testing.assert_close(terms["cross_entropy"], nn.functional.cross_entropy(LOGITS, soft))


def test_each_term_is_mixed_by_itself():
    loss = build_objective("brier + confidence_penalty", SETTING)
    terms = mixed_terms(loss, Output(LOGITS), None, batch(Mixed(OTHER, 0.3)), PROGRESS)
    own, other = (loss(Output(LOGITS), None, Batch(LOGITS, y, OWN), PROGRESS) for y in (OWN, OTHER))
    assert list(terms) == list(own) and len(terms) == 4
    for name, term in terms.items():
        torch.testing.assert_close(term, 0.3 * own[name] + 0.7 * other[name])


def test_a_plain_batch_calls_the_loss_once():
    calls = []

    def loss(*given):
        calls.append(given)
        return {"x": LOGITS.sum()}

    mixed_terms(loss, Output(LOGITS), None, batch(None), PROGRESS)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (build_objective("soteacher", SETTING), "SoTeacher, which keeps a row for each example"),
        (build_objective("brier + consistency", SETTING), "Consistency, which keeps a row"),
        (build_objective("mcmi", SETTING), "MCMI, which is prepared"),
        (build_method("mlkd", SETTING), "MLKD, which reads the views strong"),
    ],
)
@pytest.mark.parametrize("options", [{"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
def test_losses_that_remember_or_look_elsewhere_are_refused(loss, said, options):
    with pytest.raises(ConfigError, match=f"^{' and '.join(options)}: .*{said}.*leave out"):
        check_mixing(Recipe(**options), loss)
    check_mixing(Recipe(), loss)


def test_a_table_of_predictions_is_refused_on_mixed_inputs():
    with pytest.raises(ConfigError, match="filter_table"):
        check_mixing(Recipe(mixup=0.2, filter_table=0.05), PLAIN)
    check_mixing(Recipe(filter_table=0.05), PLAIN)


def test_teachers_that_answer_by_example_are_refused():
    kd = build_method("kd", SETTING)
    network = NetworkTeacher(MLP(C, input_shape=(2,)))
    table = TableTeacher(torch.full((8, C), 1 / C))
    folds = FoldTeacher([network, network], torch.arange(8) % 2)
    for teacher in (table, folds, MappedTeacher(table, Temperature(2.0))):
        with pytest.raises(ConfigError, match=r"mixup: .*answers by example"):
            check_mixing(MIXING, kd, teacher)
        check_mixing(Recipe(), kd, teacher)
    check_mixing(MIXING, kd, network)


def test_a_learner_refuses_by_itself():
    with pytest.raises(ConfigError, match=r"mixup: .*SoTeacher"):
        Learner("x", MLP(C, input_shape=(2,)), build_objective("soteacher", SETTING), MIXING)


WEIGHTS = torch.tensor([0.5, 1.0, 4.0])
SCORES = (
    "cross_entropy",
    "focal",
    "brier_logits",
    "label_smoothing",
    "brier",
    "confidence_penalty",
    "soteacher",
    "tolerant",
)


@pytest.mark.parametrize("name", SCORES)
def test_class_weights_multiply_what_each_label_contributes(name):
    loss, terms = build_objective(name, SETTING), {}
    scored = {**terms, **loss(Output(LOGITS), None, replace(batch(None), class_weights=WEIGHTS), PROGRESS)}
    alike = loss(Output(LOGITS), None, replace(batch(None), class_weights=torch.ones(C)), PROGRESS)
    plain = loss(Output(LOGITS), None, batch(None), PROGRESS)
    assert loss.needs.weighs_classes
    for term in plain:
        torch.testing.assert_close(alike[term], plain[term])
    assert any(not torch.allclose(scored[term], plain[term]) for term in plain)


def test_weighed_cross_entropy_is_pytorchs_times_the_mean_weight():
    terms = PLAIN(Output(LOGITS), None, replace(batch(None), class_weights=WEIGHTS), PROGRESS)
    theirs = nn.functional.cross_entropy(LOGITS, OWN, weight=WEIGHTS) * WEIGHTS[OWN].mean()
    torch.testing.assert_close(terms["cross_entropy"], theirs)
    mixed = mixed_terms(PLAIN, Output(LOGITS), None, replace(batch(Mixed(OTHER, 0.3)), class_weights=WEIGHTS), PROGRESS)
    own, other = (nn.functional.cross_entropy(LOGITS, y, reduction="none") * WEIGHTS[y] for y in (OWN, OTHER))
    torch.testing.assert_close(mixed["cross_entropy"], (0.3 * own + 0.7 * other).mean())


def test_a_method_weighs_its_labels_cross_entropy_and_nothing_of_the_teacher():
    weighed, teacher = replace(batch(None), class_weights=WEIGHTS), Output(LOGITS.flip(0))
    method = build_method({"kd": {"gamma": 1.0}}, SETTING)
    plain, other = (method(Output(LOGITS), teacher, b, PROGRESS) for b in (batch(None), weighed))
    assert torch.equal(plain["kd"], other["kd"]) and not torch.equal(plain["cross_entropy"], other["cross_entropy"])
    assert method.needs.weighs_classes and not build_method({"kd": {"gamma": 0.0}}, SETTING).needs.weighs_classes


def test_weights_that_nothing_follows_are_refused():
    pure = build_method({"kd": {"gamma": 0.0}}, SETTING)
    with pytest.raises(ConfigError, match=r"class_weights: weigh scores against labels, got kd, .*sampling: balanced"):
        check_weighing(Recipe(class_weights="balanced"), pure.needs, "kd")
    check_weighing(Recipe(), pure.needs, "kd")
    check_weighing(Recipe(class_weights="balanced"), PLAIN.needs, "cross_entropy")
