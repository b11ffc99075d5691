from __future__ import annotations

import pytest
import torch
from torch import nn

from goodteacher.base.checks import trusted_values
from goodteacher.base.errors import ConfigError
from goodteacher.methods import table
from goodteacher.methods.labels import HardLabels
from goodteacher.methods.logits import kd
from goodteacher.methods.relations import rkd
from goodteacher.methods.table import METHODS, build_method, needs_teacher, parse_method
from rows_logits import at_epoch, fake_setting, fake_step

# Methods on logits and relations, with the weight of the label when alone and the names of their terms.
ALONE = {
    "kd": (0.1, ["kd"]),
    "dkd": (1.0, ["dkd"]),
    "logit_standardization": (0.1, ["logit_standardization"]),
    "dist": (1.0, ["dist"]),
    "ttm": (1.0, ["ttm"]),
    "wttm": (1.0, ["wttm"]),
    "mlkd": (1.0, ["mlkd", "mlkd_strong", "cross_entropy_strong"]),
    "ctkd": (0.1, ["ctkd"]),
    "ptloss": (0.0, ["ptloss"]),
    "filter": (0.0, ["filter"]),
    "pkt": (1.0, ["pkt"]),
    "sp": (1.0, ["sp"]),
    "cc": (1.0, ["cc"]),
    "rkd": (1.0, ["rkd"]),
}


def label_loss(student, batch):
    return nn.functional.cross_entropy(student.logits, batch.labels)


@pytest.mark.parametrize("name", ALONE)
def test_a_method_alone(name):
    gamma, names = ALONE[name]
    student, teacher, batch = fake_step()
    method = build_method(name, fake_setting())
    with trusted_values():
        terms = method(student, teacher, batch, at_epoch(30))
    assert list(terms) == (["cross_entropy", *names] if gamma else names)
    assert all(term.shape == () and torch.isfinite(term) for term in terms.values())
    if gamma:
        torch.testing.assert_close(terms["cross_entropy"], gamma * label_loss(student, batch))
    assert method.needs.uses_teacher and needs_teacher(name)


@pytest.mark.parametrize("name", METHODS)
def test_every_row_names_its_paper(name):
    assert METHODS[name].source and METHODS[name].gamma >= 0


def test_a_method_with_parameters_is_a_module_of_the_sum():
    method = build_method("cc + ctkd + kd", fake_setting())
    assert isinstance(method, nn.Module)
    assert len(list(method.parameters())) == 4 + 1
    assert method.needs.network == {"embedding"}


def test_weights_alone_and_in_a_sum():
    student, teacher, batch = fake_step()
    divergence, relation = kd(student.logits, teacher.logits), rkd(student.embedding, teacher.embedding)
    alone = build_method("kd", fake_setting())(student, teacher, batch, at_epoch(1))
    torch.testing.assert_close(alone["cross_entropy"], 0.1 * label_loss(student, batch))
    torch.testing.assert_close(alone["kd"], 0.9 * divergence)
    both = build_method("rkd + kd", fake_setting())(student, teacher, batch, at_epoch(1))
    assert list(both) == ["cross_entropy", "rkd", "kd"]
    torch.testing.assert_close(both["cross_entropy"], label_loss(student, batch))
    torch.testing.assert_close(both["kd"], divergence)
    torch.testing.assert_close(both["rkd"], relation)
    spec = {"rkd": {"beta": 2, "gamma": 0.5}, "kd": {"alpha": 0.3, "temperature": "2"}}
    given = build_method(spec, fake_setting())(student, teacher, batch, at_epoch(1))
    torch.testing.assert_close(given["cross_entropy"], 0.5 * label_loss(student, batch))
    torch.testing.assert_close(given["kd"], 0.3 * kd(student.logits, teacher.logits, temperature=2.0))
    torch.testing.assert_close(given["rkd"], 2 * relation)


def test_gamma_of_zero_leaves_the_label_out():
    student, teacher, batch = fake_step()
    terms = build_method({"dkd": {"gamma": 0}}, fake_setting())(student, teacher, batch, at_epoch(1))
    assert list(terms) == ["dkd"]


def test_none_is_the_student_alone():
    for spec, gamma in (("none", 1.0), ({"none": {"gamma": 0.5}}, 0.5)):
        alone = build_method(spec, fake_setting())
        assert isinstance(alone, HardLabels) and alone.gamma == gamma
    assert not needs_teacher("none")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("kdd", "did you mean 'kd'"),
        ("kd + nonsense", "nonsense"),
        ("kd + kd", "once"),
        ({}, "method"),
        ({"kd": {"temprature": 4}}, "did you mean 'temperature'"),
        ({"kd": {"temperature": "warm"}}, "temperature"),
        ({"kd": {"temperature": 0}}, "temperature"),
        ({"logit_standardization": {"base": "dist"}}, "base"),
        ({"dkd": {"warmup": 2.5}}, "warmup"),
        ({"mlkd": {"temperatures": []}}, "temperatures"),
        ({"kd": {"gamma": 0.1}, "rkd": {"gamma": 1.0}}, "gamma"),
        ("none + kd", "none"),
        ({"none": None, "kd": None}, "none"),
    ],
)
def test_what_cannot_be_built_says_why(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_method(spec, fake_setting())


def test_parts_that_agree_on_gamma():
    _, gamma = parse_method({"kd": {"gamma": 0.1}, "rkd": {"gamma": 0.1}})
    assert gamma == 0.1


def test_needs_in_words():
    assert table.describe_needs(build_method("kd", fake_setting()).needs) == "logits"
    words = table.describe_needs(build_method("mlkd + sp", fake_setting()).needs)
    assert words == "stages, view strong"
