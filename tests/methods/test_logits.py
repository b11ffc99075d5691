from __future__ import annotations

import math

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.methods.logits import DKD, LogitStandardization, dkd, kd, standardise
from rows_logits import at_epoch, fake_step, method


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(3)
    draw = lambda: torch.randn(8, 5, generator=generator, dtype=torch.float64) * 2  # noqa: E731
    return draw(), draw(), torch.randint(5, (8,), generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_decoupling_is_an_identity(pair, temperature):
    # KL(p^t || p^s) = TCKD + (1 - p^t_y) NCKD at equal T, example by example.
    student, teacher, labels = pair
    share = {"temperature": temperature, "reduction": "none"}
    target = dkd(student, teacher, labels, alpha=1.0, beta=0.0, **share)
    others = dkd(student, teacher, labels, alpha=0.0, beta=1.0, **share)
    q_y = (teacher / temperature).softmax(1).gather(1, labels[:, None]).squeeze(1)
    torch.testing.assert_close(kd(student, teacher, **share), target + (1 - q_y) * others)


def test_two_classes_have_no_others_to_compare(pair):
    student, teacher, labels = pair[0][:, :2], pair[1][:, :2], pair[2] % 2
    torch.testing.assert_close(dkd(student, teacher, labels, beta=1e3), kd(student, teacher))


def test_kd_at_high_temperature_matches_centred_logits(pair):
    student, teacher, _ = pair
    student = student.clone().requires_grad_(True)
    kd(student, teacher, temperature=1e5, reduction="sum").backward()
    centred = lambda z: z - z.mean(dim=1, keepdim=True)  # noqa: E731
    torch.testing.assert_close(student.grad, (centred(student) - centred(teacher)).detach() / 5, rtol=1e-3, atol=1e-4)


def test_the_squared_temperature_keeps_the_size_of_gradients(pair):
    sizes = []
    for temperature in (20.0, 40.0, 80.0):
        student = pair[0].clone().requires_grad_(True)
        kd(student, pair[1], temperature=temperature).backward()
        sizes.append(float(student.grad.norm()))
    assert max(sizes) / min(sizes) < 1.05


def test_dkd_of_confident_networks_is_exact_in_log_space():
    # At T = 1 the student's odds against the target are e^-2000: its log must survive float32.
    student, teacher = torch.tensor([[1000.0, -1000.0, -1000.0]]), torch.zeros(1, 3)
    loss = dkd(student, teacher, torch.tensor([0]), beta=0.0, temperature=1.0)
    expected = math.log(1 / 3) / 3 + 2 / 3 * (math.log(2 / 3) - (-2000 + math.log(2)))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    half = dkd(student.half(), teacher.half(), torch.tensor([0]), beta=0.0, temperature=1.0)
    assert half.dtype == torch.float32 and float(half) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("epoch", "share"), [(1, 0.05), (10, 0.5), (20, 1.0), (200, 1.0)])
def test_dkd_warms_up(epoch, share):
    student, teacher, batch = fake_step()
    full = dkd(student.logits, teacher.logits, batch.labels, alpha=1.0, beta=8.0, temperature=4.0)
    terms = DKD()(student, teacher, batch, at_epoch(epoch))
    assert list(terms) == ["dkd"]
    torch.testing.assert_close(terms["dkd"], share * full)
    torch.testing.assert_close(DKD(warmup=0)(student, teacher, batch, at_epoch(epoch))["dkd"], full)


def test_kd_has_its_published_weight():
    student, teacher, batch = fake_step()
    terms = method("kd")(student, teacher, batch, at_epoch(1))
    torch.testing.assert_close(terms["kd"], 0.9 * kd(student.logits, teacher.logits, temperature=4.0))


def test_standardised_logits(pair):
    z = standardise(pair[0] * 7 + 3)
    torch.testing.assert_close(z.mean(dim=1), torch.zeros(8, dtype=torch.float64))
    torch.testing.assert_close(z.std(dim=1, correction=1), torch.ones(8, dtype=torch.float64), rtol=1e-6, atol=0)
    assert standardise(pair[0].half()).dtype == torch.float32


def test_equal_logits_standardise_to_zero_with_a_finite_gradient():
    z = torch.full((2, 3), 5.0, requires_grad=True)
    loss = kd(standardise(z), torch.randn(2, 3))
    loss.backward()
    assert torch.equal(standardise(z).detach(), torch.zeros(2, 3)) and torch.isfinite(z.grad).all()


def test_logit_standardization_on_both_bases():
    student, teacher, batch = fake_step()
    own, theirs = standardise(student.logits), standardise(teacher.logits)
    term = LogitStandardization()(student, teacher, batch, at_epoch(1))["logit_standardization"]
    torch.testing.assert_close(term, 9 * kd(own, theirs, temperature=2.0))
    built = LogitStandardization(base="dkd")
    term = built(student, teacher, batch, at_epoch(5))["logit_standardization"]
    full = dkd(own, theirs, batch.labels, beta=2.0, temperature=2.0)
    torch.testing.assert_close(term, 9 * 5 / 20 * full)
    built = LogitStandardization(base="dkd", beta=0.0, warmup=0, alpha=1.0)
    term = built(student, teacher, batch, at_epoch(1))["logit_standardization"]
    torch.testing.assert_close(term, dkd(own, theirs, batch.labels, beta=0.0, temperature=2.0))


@pytest.mark.parametrize(
    "build",
    [
        lambda: method("kd", temperature=0.0),
        lambda: DKD(alpha=-1.0),
        lambda: DKD(beta=-1.0),
        lambda: DKD(warmup=-1),
        lambda: DKD(temperature=-1.0),
        lambda: LogitStandardization(base="dist"),
        lambda: LogitStandardization(beta=2.0),
        lambda: LogitStandardization(warmup=20),
        lambda: LogitStandardization(base="dkd", warmup=-1),
        lambda: dkd(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), alpha=-1.0),
        lambda: dkd(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), temperature=0.0),
    ],
)
def test_options_out_of_range(build):
    with pytest.raises(ConfigError, match=r"alpha|beta|warmup|temperature|base"):
        build()
