from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Needs
from goodteacher.data.facts import Facts
from goodteacher.methods.table import METHODS
from goodteacher.study import build
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import parse_study
from goodteacher.study.trial import FEW, Trial, with_defaults
from goodteacher.train.recipe import Recipe

SHAPE = (1, 8, 8)
FACTS = Facts("f" * 16, 10, SHAPE, 1000, is_image=True, knows_truth=False, has_votes=False)
VECTORS = Facts("e" * 16, 10, (30,), 1000, is_image=False, knows_truth=False, has_votes=False)
SMALL = {"resnet8": {"widths": [4, 4, 6, 8]}}
BIG = {"resnet8": {"widths": [4, 6, 8, 10]}}
MLP = {"mlp": {"widths": [4]}}
STAGES, EMBEDDING = frozenset({"stages"}), frozenset({"embedding"})


@pytest.fixture
def built(monkeypatch):
    """The models that were built, by name."""
    names, real = [], build.build_model
    monkeypatch.setattr(build, "build_model", lambda name, **given: names.append(name) or real(name, **given))
    return names


def needs(method, student=SMALL, teacher=BIG, facts=FACTS):
    trial = Trial(facts)
    parts, _ = trial.method(method)
    network, other = (model and (model, facts.input_shape) for model in (student, teacher))
    return trial.needs(network, other, parts, where="students.s, taught by t")


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("none", Needs()),
        ("kd", Needs(uses_teacher=True)),
        ("at", Needs(STAGES, STAGES, uses_teacher=True)),
        ("rkd", Needs(EMBEDDING, EMBEDDING, uses_teacher=True)),
        ("mlkd", Needs(views=frozenset({"strong"}), uses_teacher=True, weighs_classes=True)),
        ("rkd + at", Needs(STAGES | EMBEDDING, STAGES | EMBEDDING, uses_teacher=True)),
        ("crd", Needs(EMBEDDING, EMBEDDING, uses_teacher=True, examples=True)),
        ("ft", Needs(STAGES, STAGES, uses_teacher=True, preparation=frozenset({"paraphraser"}))),
    ],
)
def test_what_a_method_needs_on_a_pair(method, found):
    assert needs(method) == found


def test_every_method_says_what_it_needs():
    for method in METHODS:
        found = needs(method, teacher=SMALL)
        assert found.uses_teacher == (method not in ("none", "labelled")), method


def test_epochs_of_initialisation_are_needed():
    assert needs({"ab": {"initial_epochs": 3}}).initial_epochs == 3


@pytest.mark.parametrize(
    ("method", "student", "teacher", "facts", "said"),
    [
        ("at", SMALL, None, FACTS, r"method 'at' is not defined here: .* reads the teacher's tap 'stages'"),
        ("rkd", SMALL, None, FACTS, r"method 'rkd' "),
        ("ft", SMALL, None, FACTS, r"method 'ft' (reads a teacher's features|is not defined here)"),
        ("at", MLP, BIG, FACTS, r"method 'at' is not defined here: .*\(4,\)"),
        ("simkd", SMALL, MLP, FACTS, r"method 'simkd' is not defined here: "),
        ("mlkd", MLP, MLP, VECTORS, r"the view 'strong' needs image inputs, got vectors"),
        ("ft + hsakd", SMALL, BIG, FACTS, r"a sum can have one preparation .*\['paraphraser', 'rotation_heads'\]"),
    ],
)
def test_what_is_undefined_for_a_pair_is_refused_in_its_place(method, student, teacher, facts, said):
    with pytest.raises(ConfigError, match=rf"^students.s, taught by t: {said}"):
        needs(method, student, teacher, facts)


def test_weak_views_of_vectors_are_no_hindrance():
    assert needs("kd", MLP, MLP, VECTORS) == Needs(uses_teacher=True)


def test_each_network_and_each_method_on_a_pair_is_tried_once(built, monkeypatch):
    from goodteacher.study import trial as room

    tried, real = [], room.build_parts
    monkeypatch.setattr(room, "build_parts", lambda parts, *given: tried.append(tuple(parts)) or real(parts, *given))
    values = {
        "problem": "made",
        "recipe": {"epochs": 4},
        "teachers": {"t": {"model": BIG}, "again": {"model": BIG, "objective": "brier"}, "same": {"model": SMALL}},
        "students": {"kd": {"model": SMALL}, "at": {"model": SMALL, "method": "at + kd"}, "big": {"model": BIG}},
        "seeds": 7,
    }
    plan = plan_study(parse_study(values), FACTS)
    assert len(plan.runs) == 7 * (3 + 3 * 3)
    assert len(built) == 2  # however many arms, seeds and pairs
    # Two objectives on one network and one on the other; kd (alone and in a sum) and at on two pairs, kd on two more.
    assert sorted(tried) == sorted([("brier",), ("cross_entropy",), ("cross_entropy",), *[("kd",)] * 6, *[("at",)] * 2])


def test_a_model_seen_at_another_size_is_another_network(built):
    trial = Trial(FACTS)
    for shape in (SHAPE, (1, 16, 16), SHAPE):
        assert trial.model(SMALL, shape) == SMALL
    assert len(built) == 2
    assert trial.measured(SMALL, (1, 16, 16)).shapes["stages"][0] == (4, 16, 16)
    assert trial.measured(SMALL, SHAPE) is trial.measured(dict(SMALL), SHAPE)


def test_planning_draws_no_numbers():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    trial = Trial(FACTS)
    trial.objective({"sftn": {"student": SMALL}}, BIG, SHAPE, Recipe(), where="teachers.t", fine_tunes=False)
    for method in METHODS:
        trial.needs((SMALL, SHAPE), (SMALL, SHAPE), trial.method(method)[0], where="s")
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("examples", [100, 1000, 50000])
def test_memories_are_sized_for_all_examples_and_tried_on_few(examples):
    facts = Facts("f" * 16, 10, SHAPE, examples, is_image=True, knows_truth=False, has_votes=False)
    trial = Trial(facts)
    crd = trial.method({"crd": {"width": 16}})[0]
    size = trial.memory_bytes((SMALL, SHAPE), (BIG, SHAPE), crd)
    assert size == pytest.approx(2 * examples * 16 * 4, rel=0.01)  # a row of each network's projection per example
    assert trial.memory_bytes((SMALL, SHAPE), (BIG, SHAPE), trial.method("kd")[0]) == 0
    assert FEW < 1000


def test_objectives_are_written_out_with_their_defaults():
    trial = Trial(FACTS)
    found = trial.objective("brier", MLP, SHAPE, Recipe(), where="teachers.t", fine_tunes=False)
    assert found == {"brier": {"scale": "auto", "warmup": 0.6, "per_class": "sum"}}
    assert trial.method("kd")[0]["kd"]["alpha"] == 0.9 and trial.method("at + kd")[0]["kd"]["alpha"] == 1.0
    assert with_defaults({"kd": {"alpha": 0.5}}, METHODS)["kd"] == {**trial.method("kd")[0]["kd"], "alpha": 0.5}


@pytest.mark.parametrize(
    ("spec", "recipe", "said"),
    [
        ("brir", {}, "did you mean 'brier'"),
        ("mcmi", {}, r"^teachers.t.objective: fine-tunes a finished teacher, got mcmi; say which: "),
        ("soteacher", {"mixup": 0.2}, r"^mixup: makes inputs that are no single example, got SoTeacher"),
        ({"sftn": {"student": {"resnet": {}}}}, {}, "did you mean 'resnet"),
    ],
)
def test_objectives_that_cannot_be_are_refused(spec, recipe, said):
    with pytest.raises(ConfigError, match=said):
        Trial(FACTS).objective(spec, SMALL, SHAPE, Recipe(**recipe), where="teachers.t", fine_tunes=False)


@pytest.mark.parametrize(
    ("model", "said"),
    [({"mlp": {}, "resnet8": {}}, "^model: must be one name"), ("resnet9", "did you mean 'resnet"), ({}, "one name")],
)
def test_a_model_is_one_that_is_known(model, said):
    with pytest.raises(ConfigError, match=said):
        Trial(FACTS).model(model, SHAPE)
