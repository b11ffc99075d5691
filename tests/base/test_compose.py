from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from goodteacher.base.compose import (
    Joined,
    LossRow,
    build_parts,
    checked_options,
    join,
    option_defaults,
    parse,
)
from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Loss, Needs, Output, Progress, Setting


class Silent(Loss):
    def forward(self, network, teacher, batch, progress):
        return {}


class Toy(Silent):
    def __init__(
        self,
        *,
        weight: float = 1.0,
        steps: int = 3,
        exact: bool = False,
        kind: Literal["sum", "mean"] = "sum",
        widths: tuple[int, ...] = (8,),
        limit: float | None = None,
        auto: float | Literal["auto"] = "auto",
        note: str = "",
    ) -> None:
        super().__init__()
        self.weight, self.steps = weight, steps


class Plain(Silent):
    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting


TABLE = {"toy": LossRow(Toy, "here", joined={"weight": 0.5, "steps": 9}), "plain": LossRow(Plain, "here")}


def toy(**options):
    return parse({"toy": options}, TABLE, "objective")["toy"]


def test_names_sums_and_mappings():
    assert parse("toy", TABLE, "objective") == {"toy": {}}
    assert list(parse(" plain+ toy", TABLE, "objective")) == ["plain", "toy"]
    assert parse({"toy": {"weight": 2.0}, "plain": None}, TABLE, "objective") == {"toy": {"weight": 2.0}, "plain": {}}


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("toy + toy", "objective: may name each part once, got 'toy + toy'."),
        ("tory", "objective: must be a known name, got 'tory'; did you mean 'toy'?"),
        ("toy +", "objective: must be a known name, got ''; choose one of: plain, toy."),
        ({}, "objective: must be a name or a mapping from name to options, got {}."),
        (None, "objective: must be a name or a mapping from name to options, got None."),
        ({"toy": 3}, "objective 'toy': takes a mapping from option to value, got 3."),
        ({"toy": []}, "objective 'toy': takes a mapping from option to value, got []."),
        ({"toy": {"wieght": 1}}, "option of objective 'toy': must be one of its parameters, got 'wieght'; "
         "did you mean 'weight'?"),
        ({"toy": {3: 1}}, "option of objective 'toy': must be one of its parameters, got 3; choose one of: auto, exact, "
         "kind, limit, note, steps, weight, widths."),
        ({"plain": {"x": 1}}, "option of objective 'plain': must be one of its parameters, got 'x'; it has no options."),
        ({"plain": {"setting": 1}}, "option of objective 'plain': must be one of its parameters, got 'setting'; "
         "it has no options."),
    ],
)  # fmt: skip
def test_mistakes(spec, text):
    with pytest.raises(ConfigError) as caught:
        parse(spec, TABLE, "objective")
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("option", "given", "want"),
    [
        ("weight", 10, 10.0),
        ("weight", "1e-5", 1e-5),
        ("steps", 4, 4),
        ("exact", True, True),
        ("kind", "mean", "mean"),
        ("widths", [4, 2], (4, 2)),
        ("widths", (4, 2), (4, 2)),
        ("limit", None, None),
        ("limit", "2", 2.0),
        ("auto", "auto", "auto"),
        ("auto", "1e1", 10.0),
        ("note", "x", "x"),
    ],
)
def test_values_become_the_annotated_type(option, given, want):
    got = toy(**{option: given})[option]
    assert got == want and type(got) is type(want)


@pytest.mark.parametrize(
    ("option", "given", "rule"),
    [
        ("weight", "ten", "must be a number, got 'ten'"),
        ("weight", True, "must be float, got True"),
        ("weight", None, "must be float, got None"),
        ("weight", [1.0], r"must be float, got \[1.0\]"),
        ("steps", True, "must be int, got True"),
        ("steps", 2.5, "must be int, got 2.5"),
        ("steps", "4", "must be int, got '4'"),
        ("exact", 1, "must be bool, got 1"),
        ("exact", "yes", "must be bool, got 'yes'"),
        ("kind", "max", "must be 'sum' or 'mean', got 'max'"),
        ("widths", 4, "must be tuple, got 4"),
        ("limit", "none", "must be a number, got 'none'"),
        ("limit", False, "must be float, None, got False"),
        ("auto", "never", "must be float, 'auto', got 'never'"),
        ("note", 3, "must be str, got 3"),
    ],
)
def test_values_of_another_type_are_refused(option, given, rule):
    with pytest.raises(ConfigError, match=f"option '{option}' of objective 'toy': {rule}"):
        toy(**{option: given})


def test_options_given_are_not_changed_in_place():
    given = {"weight": "2"}
    assert checked_options("x", Toy, given) == {"weight": 2.0}
    assert given == {"weight": "2"} and checked_options("x", Toy, None) == {}


def test_option_defaults_leave_the_setting_out():
    assert option_defaults(Toy)["steps"] == 3 and list(option_defaults(Toy))[:2] == ["weight", "steps"]
    assert option_defaults(Plain) == {}


def test_build_hands_over_the_setting_and_joined_defaults_only_in_a_sum():
    setting = Setting(classes=4)
    (alone,) = build_parts({"toy": {}}, TABLE, setting)
    assert (alone.weight, alone.steps) == (1.0, 3)
    both = build_parts({"toy": {"weight": 7.0}, "plain": {}}, TABLE, setting)
    assert (both[0].weight, both[0].steps) == (7.0, 9) and both[1].setting is setting


class Part(Loss):
    def __init__(self, needs, advice="", **terms):
        super().__init__()
        self.needs, self.terms, self.advice = needs, terms, advice
        self.seen = []
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, network, teacher, batch, progress):
        return {k: v * self.scale for k, v in self.terms.items()}

    def prepare(self, network, batches):
        self.seen += batches

    def deployed(self, network):
        return nn.Sequential(network) if self.terms else network

    def memory_bytes(self):
        return len(self.terms)


class Pure(Loss):
    needs = Needs(views=frozenset({"weak"}))

    def forward(self, network, teacher, batch, progress):
        assert teacher == "teacher" and batch == "batch"
        return {"a": network.logits.sum()}


STUDENT = Output(torch.ones(2, 3))


def call(joined, **progress):
    return joined(STUDENT, "teacher", "batch", Progress(0, 1, 1, **progress))


def test_a_sum_has_all_terms_needs_and_parameters():
    part = Part(Needs(uses_teacher=True, initial_epochs=2), a=2.0, b=3.0)
    joined = join([Pure(), part])
    assert isinstance(joined, Joined)
    assert joined.needs == Needs(views=frozenset({"weak"}), uses_teacher=True, initial_epochs=2)
    assert list(joined.parameters()) == [part.scale]
    terms = call(joined)
    assert len(terms) == 3 and terms["a"] == 6 and terms["b"] == 3 and sum(terms.values()) == 11


def test_a_sum_hands_over_every_member_of_its_parts():
    asking, silent = [Part(Needs(prepares=True), a=1.0) for _ in range(2)], Part(Needs())
    joined, network = join([silent, *asking]), nn.Linear(2, 2)
    assert joined.parts == (silent, *asking) and joined.needs.prepares and joined.memory_bytes() == 2
    joined.prepare(network, iter("ab"))  # one pass, which both see
    assert asking[0].seen == asking[1].seen == ["a", "b"] and silent.seen == []
    assert joined.deployed(network)[0][0] is network and join([silent, silent]).deployed(network) is network


def test_no_term_is_lost_to_a_name_used_often():
    joined = join([Part(Needs(), x=1.0, x_2=10.0), Part(Needs(), x=100.0), Part(Needs(), x=1000.0)])
    assert {k: v.item() for k, v in call(joined).items()} == {"x": 1, "x_2": 10, "x_3": 100, "x_4": 1000}


def test_in_initialisation_only_parts_with_a_stage_speak():
    joined = join([Pure(), Part(Needs(initial_epochs=1), b=3.0)])
    assert list(call(joined, initial=True)) == ["b"] and list(call(joined)) == ["a", "b"]


def test_one_part_is_not_wrapped():
    part = Pure()
    assert join([part]) is part


def test_advice_is_that_of_the_first_part_with_some():
    assert join([Pure(), Part(Needs(), "warm up"), Part(Needs(), "other")]).advice == "warm up"
    assert join([Pure(), Pure()]).advice == ""
