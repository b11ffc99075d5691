from __future__ import annotations

import math

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.seeds import seeded
from goodteacher.base.types import Output, Setting
from goodteacher.methods.curriculum import CTKD, ctkd
from goodteacher.methods.logits import kd
from rows_logits import at_epoch, fake_step

START = 1 + 20 / (1 + math.exp(-1))


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(5)
    draw = lambda: torch.randn(6, 5, generator=generator, dtype=torch.float64) * 2  # noqa: E731
    return draw(), draw()


@pytest.mark.parametrize("reversal", [0.0, 0.3, 1.0])
def test_the_temperature_receives_the_reversed_gradient(pair, reversal):
    temperature = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    ctkd(*pair, temperature, reversal=reversal).backward()
    at = lambda t: float(kd(*pair, temperature=t))  # noqa: E731
    slope = (at(3.0 + 1e-6) - at(3.0 - 1e-6)) / 2e-6
    assert slope != 0 and float(temperature.grad) == pytest.approx(-reversal * slope, rel=1e-5, abs=1e-12)


def test_at_a_constant_temperature_it_is_kd(pair):
    for reversal in (0.0, 1.0):
        torch.testing.assert_close(ctkd(*pair, torch.tensor(4.0), reversal=reversal), kd(*pair, temperature=4.0))
        each = ctkd(*pair, torch.full((6,), 4.0), reversal=reversal, reduction="none")
        torch.testing.assert_close(each, kd(*pair, temperature=4.0, reduction="none"))


def test_the_reversal_grows_over_ten_epochs():
    method = CTKD(Setting(classes=5))
    values = [method.reversal(at_epoch(e)) for e in (1, 5, 10, 240)]
    assert values == pytest.approx([0.5 * (1 - math.cos(0.1 * math.pi)), 0.5, 1.0, 1.0])
    assert CTKD(Setting(classes=5), ramp=0).reversal(at_epoch(1)) == 1.0


def test_a_step_on_its_own_parameter_makes_the_task_harder():
    student, teacher, batch = fake_step()
    method = CTKD(Setting(classes=5))
    before = method(student, teacher, batch, at_epoch(20))["ctkd"]
    before.backward()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter -= 0.1 * parameter.grad / parameter.grad.abs()
    assert method(student, teacher, batch, at_epoch(20))["ctkd"] > before


@pytest.mark.parametrize("form", ["global", "instance"])
def test_both_forms_start_alike_at_the_published_weight(form):
    student, teacher, batch = fake_step()
    method = CTKD(Setting(classes=5), form=form)
    terms = method(student, teacher, batch, at_epoch(1))
    assert list(terms) == ["ctkd"]
    torch.testing.assert_close(
        terms["ctkd"].detach(), 0.9 * kd(student.logits, teacher.logits, temperature=START), rtol=1e-5, atol=1e-6
    )


def test_parameters_of_both_forms():
    count = lambda form: sum(p.numel() for p in CTKD(Setting(classes=10), form=form).parameters())  # noqa: E731
    assert count("global") == 1
    assert count("instance") == (20 + 1) * 128 + 128 + 1


def test_the_instance_form_tells_examples_apart_but_does_not_steer_the_student():
    student, teacher, batch = fake_step()
    with seeded(0, "init"):
        method = CTKD(Setting(classes=5), form="instance")
        torch.nn.init.normal_(method.last.weight, std=0.05)
    own = student.logits.clone().requires_grad_(True)
    temperature = method.temperature(own, teacher.logits)
    assert temperature.shape == (4,) and len(set(temperature.tolist())) == 4
    assert float(temperature.detach().min()) > 1 and float(temperature.detach().max()) < 21
    method(Output(own), teacher, batch, at_epoch(10))["ctkd"].backward()
    assert all(torch.isfinite(p.grad).all() and float(p.grad.abs().max()) > 0 for p in method.parameters())
    through_loss_alone = student.logits.clone().requires_grad_(True)
    (0.9 * ctkd(through_loss_alone, teacher.logits, temperature.detach())).backward()
    torch.testing.assert_close(own.grad, through_loss_alone.grad)


def test_bad_temperatures_are_refused(pair):
    with pytest.raises(ShapeError, match="temperature"):
        ctkd(*pair, torch.ones(2))
    with pytest.raises(ShapeError, match="temperature"):
        ctkd(*pair, torch.ones((), dtype=torch.int64))
    with pytest.raises(ConfigError, match="temperature"):
        ctkd(*pair, torch.zeros(()))
    with pytest.raises(ConfigError, match="reversal"):
        ctkd(*pair, torch.ones(()), reversal=-1.0)


@pytest.mark.parametrize("options", [{"alpha": -1.0}, {"form": "local"}, {"lowest": 0.0}, {"span": 0.0}, {"ramp": -1}])
def test_options_out_of_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        CTKD(Setting(classes=5), **options)
