"""Targets of the toy by hand, the figure's axes, pairing of students."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from goodteacher_lab.mse.toy_panels import BRIER, CROSS_ENTROPY, PERTURBED, SHARE
from goodteacher_lab.mse.toy_targets import FLOOR, Target, label_share, perturbed, points_of, student_seeds

TRUTH = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
LABELS = torch.tensor([0, 2])


def test_a_share_of_the_label_is_mixed_in():
    q = label_share(TRUTH, LABELS, 0.5).exp()
    assert torch.allclose(q, torch.tensor([[0.85, 0.1, 0.05], [0.05, 0.4, 0.55]]).double())
    assert torch.allclose(label_share(TRUTH, LABELS, 0.0).exp(), TRUTH.double())


def test_perturbations_reduce_to_each_alone():
    options = {"temperature": 1.0, "share": 0.0, "concentration": 1e9, "seed": 0}
    even = (1 - FLOOR) * TRUTH.double() + FLOOR / 3
    assert torch.allclose(perturbed(TRUTH, LABELS, **options).exp(), even, atol=1e-3)
    warm = perturbed(TRUTH, LABELS, **{**options, "temperature": 2.0}).exp()
    expected = TRUTH.double().sqrt() / TRUTH.double().sqrt().sum(dim=1, keepdim=True)
    assert torch.allclose(warm, (1 - FLOOR) * expected + FLOOR / 3, atol=1e-3)
    hard = perturbed(TRUTH, LABELS, **{**options, "share": 1.0}).exp()
    assert hard.argmax(dim=1).tolist() == [0, 2] and float(hard.max(dim=1).values.min()) == pytest.approx(
        1 - FLOOR * 2 / 3
    )
    noisy = perturbed(TRUTH.repeat(5000, 1), LABELS.repeat(5000), **{**options, "concentration": 3.0}).exp()
    assert torch.allclose(noisy[::2].mean(dim=0), even[0], atol=0.02)  # noise that is right in the mean
    # Dirichlet noise of concentration k has variance r(1 - r)/(k + 1).
    assert float(noisy[::2, 0].var()) == pytest.approx(0.7 * 0.3 / 4, rel=0.1)
    assert torch.allclose(noisy.sum(dim=1), torch.ones(10_000).double())


def test_axes_are_the_paper_s_and_as_they_should_be():
    q = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]).double()
    noise, teacher = Target(SHARE, q.log(), {}, {}), Target(CROSS_ENTROPY, q.log(), {}, {"accuracy": 0.5})
    a, b = points_of([noise, teacher], [0.6, 0.7], TRUTH)
    squares = 0.04 + 0.01 + 0.01 + 0.0 + 0.04 + 0.04
    assert a.mse == pytest.approx(squares / 2) and a.drawn_mse == pytest.approx(squares**0.5)
    p, q = TRUTH.double().numpy(), q.numpy()
    forward, backward = (-(u * np.log(v)).sum(axis=1).mean() for u, v in ((p, q), (q, p)))
    assert a.ce == pytest.approx(forward, rel=1e-6) and a.drawn_ce == pytest.approx(forward, rel=1e-6)
    assert b.ce == pytest.approx(forward, rel=1e-6) and b.drawn_ce == pytest.approx(backward, rel=1e-6)
    assert abs(forward - backward) > 0.01 and (a.accuracy, b.accuracy) == (0.6, 0.7)


def test_the_paper_clamps_logarithms_at_minus_ten():
    q = torch.tensor([[1 - 2e-9, 1e-9, 1e-9]] * 2).double()
    (point,) = points_of([Target(SHARE, q.log(), {}, {})], [0.5], TRUTH)
    assert point.drawn_ce == pytest.approx(10 * (0.3 + 0.9) / 2, rel=1e-3)
    assert point.ce == pytest.approx(-np.log(1e-9) * 0.6, rel=1e-3)


def test_students_of_the_same_teacher_number_are_paired():
    def of(kind, **settings):
        return Target(kind, torch.zeros(1, 3), settings, {})

    targets = [
        of(SHARE, share=0.1), of(CROSS_ENTROPY, teacher=0.0), of(CROSS_ENTROPY, teacher=1.0), of(BRIER, teacher=0.0),
        of(BRIER, teacher=1.0), of(PERTURBED, share=0.2),
    ]  # fmt: skip
    assert student_seeds(targets) == [2, 0, 1, 0, 1, 3]
