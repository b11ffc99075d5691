from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from goodteacher.base.compose import checked_options, option_defaults
from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Batch, Needs, Output, Progress, Setting
from goodteacher.base.weighted import READS, weighted

SETTING = Setting(classes=3)
STEP = (
    Output(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[5.0, 7.0]]), (torch.ones(1, 1, 2, 2), torch.ones(1, 2, 1, 1))),
    Output(torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[4.0, 4.0]]), (torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 1, 1))),
    Batch(torch.zeros(1, 1), torch.tensor([2]), torch.tensor([0])),
    Progress(0, 1, 1),
)  # fmt: skip


def apart(student_logits, teacher_logits, *, power: float = 2.0, sign: int = 1, reduction="mean"):
    if power < 0:
        raise ConfigError("power", rule="must not be negative", received=power)
    return sign * (student_logits - teacher_logits).abs().pow(power).mean()


def gap(student_map, teacher_map):
    return (student_map - teacher_map).sum()


def built(function, given=None, setting=SETTING, **row):
    return weighted(function, **row)(setting=setting, **(given or {}))


def test_options_are_those_of_the_signature_after_the_weight():
    build = weighted(apart, alpha=0.5, power=1.0)
    assert option_defaults(build) == {"alpha": 0.5, "power": 1.0, "sign": 1}
    assert checked_options("x", build, {"alpha": "2", "sign": 3}) == {"alpha": 2.0, "sign": 3}
    with pytest.raises(ConfigError, match="must be int"):
        checked_options("x", build, {"sign": 0.5})
    assert option_defaults(weighted(apart, options=["sign"])) == {"sign": 1}
    assert option_defaults(weighted(apart, options=())) == {}
    assert inspect.signature(build).parameters["setting"].kind is inspect.Parameter.KEYWORD_ONLY


def test_the_term_is_the_weight_times_the_function():
    loss = built(apart, {"power": 1.0}, alpha=0.5)
    assert {k: v.item() for k, v in loss(*STEP).items()} == {"apart": 0.5}
    assert loss.needs == Needs(uses_teacher=True) and repr(loss) == "Weighted(apart, alpha=0.5, power=1.0, sign=1)"
    assert built(apart, term="other")(*STEP)["other"].item() == pytest.approx(5 / 3)
    assert built(apart, advice="less").advice == "less"


@pytest.mark.parametrize(
    ("name", "want", "needs"),
    [
        ("logits", [[1.0, 2.0, 3.0]], Needs()),
        ("student_logits", [[1.0, 2.0, 3.0]], Needs()),
        ("teacher_logits", [[1.0, 1.0, 1.0]], Needs(uses_teacher=True)),
        ("probabilities", [[1 / 3] * 3], Needs(uses_teacher=True)),
        ("labels", [2], Needs()),
        ("student_embedding", [[5.0, 7.0]], Needs(frozenset({"embedding"}))),
        ("teacher_embedding", [[4.0, 4.0]], Needs(teacher=frozenset({"embedding"}), uses_teacher=True)),
        ("student_map", [[[[1.0]], [[1.0]]]], Needs(frozenset({"stages"}))),
        ("teacher_map", [[[[0.0]], [[0.0]]]], Needs(teacher=frozenset({"stages"}), uses_teacher=True)),
    ],
)  # fmt: skip
def test_what_each_name_reads_and_needs(name, want, needs):
    seen = []

    def function(value):
        seen.append(value)
        return value.float().sum()

    namespace = {"function": function}
    exec(f"def reader({name}):\n    return function({name})", namespace)
    loss = built(namespace["reader"])
    loss(*STEP)
    torch.testing.assert_close(seen[-1], torch.tensor(want))
    assert loss.needs == needs and len(READS) == 9


def test_every_name_that_is_read_is_in_the_documents():
    page = (Path(__file__).parent.parent.parent / "docs" / "methods.md").read_text()
    assert [name for name in READS if f"`{name}`" not in page] == []


def test_maps_of_the_last_stage_or_of_every_stage():
    shapes = {"stages": ((1, 2, 2), (2, 1, 1))}
    setting = Setting(3, network_shapes=shapes, teacher_shapes=shapes)
    assert built(gap, setting=setting)(*STEP)["gap"] == 2
    assert built(gap, setting=setting, every_stage=True, beta=10.0)(*STEP)["gap"] == 60
    with pytest.raises(ConfigError, match="needs maps"):
        built(gap, every_stage=True, setting=Setting(3, network_shapes={"stages": ((4,),)}, teacher_shapes=shapes))


def test_the_function_refuses_its_options_when_the_loss_is_built():
    with pytest.raises(ConfigError, match="power: must not be negative, got -1"):
        built(apart, {"power": -1.0})
    with pytest.raises(ConfigError, match=r"alpha: must be a number in \[0, inf\]"):
        built(apart, {"alpha": -1.0}, alpha=1.0)


def test_a_loss_of_each_example_is_refused_and_no_random_stream_is_moved():
    def each(logits):
        return torch.randn(len(logits))

    before = torch.random.get_rng_state()
    with pytest.raises(
        ConfigError, match=r"'each': must return one number for a batch.*got shape \(4,\); take the mean"
    ):
        built(each)
    assert torch.equal(torch.random.get_rng_state(), before)
    with pytest.raises(ConfigError, match="got float"):
        built(lambda logits: 1.0)
