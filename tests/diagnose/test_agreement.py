"""Fidelity: against its definition, and where it must be exact."""

from __future__ import annotations

import math

import pytest
import torch

from goodteacher.base.errors import ShapeError
from goodteacher.base.stats import mean_interval
from goodteacher.diagnose.agreement import fidelity, predictive_kl, top1_agreement


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(40, 5, generator=generator), torch.randn(40, 5, generator=generator)


def test_agreement_counts_equal_first_classes(pair):
    teacher, student = pair
    by_hand = [
        float(max(range(5), key=t.__getitem__) == max(range(5), key=s.__getitem__)) for t, s in zip(*pair, strict=True)
    ]
    assert top1_agreement(teacher, student).tolist() == by_hand and 0 < sum(by_hand) < 40


def test_divergence_is_from_the_teacher_at_temperature_one(pair):
    teacher, student = (torch.softmax(z.double(), 1) for z in pair)
    by_hand = [
        sum(q * math.log(q / p) for q, p in zip(t, s, strict=True))
        for t, s in zip(teacher.tolist(), student.tolist(), strict=True)
    ]
    assert predictive_kl(*pair).tolist() == pytest.approx(by_hand)
    assert predictive_kl(pair[1], pair[0]).tolist() != pytest.approx(by_hand)


def test_a_constant_added_to_all_logits_changes_nothing(pair):
    teacher, student = pair
    torch.testing.assert_close(predictive_kl(teacher + 7, student), predictive_kl(teacher, student), atol=1e-6, rtol=0)


def test_fidelity_has_intervals_over_examples(pair):
    found = fidelity(*pair)
    assert found.agreement == mean_interval(top1_agreement(*pair).tolist()) and found.divergence.n == 40
    same = fidelity(pair[0], pair[0])
    assert same.agreement.mean == 1 and same.divergence.mean == pytest.approx(0, abs=1e-12)


def test_shapes_must_match(pair):
    with pytest.raises(ShapeError, match="same shape"):
        fidelity(pair[0], pair[1][:, :4])
