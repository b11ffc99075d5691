"""Networks that see what others do not: a teacher for small pictures beside a student for large ones, from end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional
from typer.testing import CliRunner

import goodteacher as gt
from goodteacher.api import run_study
from goodteacher.base.errors import ConfigError
from goodteacher.base.input_spec import InputSpec
from goodteacher.cli import app
from goodteacher.data.problem import Problem
from goodteacher.report.page import write_page
from goodteacher.study.cohort import assemble
from goodteacher.study.plan import plan_study
from goodteacher.study.planned import Given
from goodteacher.study.spec import parse_study
from goodteacher.study.store import Store
from goodteacher.train.frozen import answer_all
from goodteacher.train.infer import predict

# No narrower: PyTorch 2.13 aborts in the backward pass of a 1x1 convolution with stride 2 on 8 channels of 64x64, channels_last.
SMALL = {"resnet8": {"widths": [16, 16, 16, 32]}}
TINY = {"resnet8": {"widths": [16, 16, 16, 16]}}
RECIPE = {"epochs": 1, "batch_size": 12, "lr": 0.02, "augment": "none", "precision": "fp32"}
NAMES = ("flat", "left", "top")


def pictures(size, brightness, seed, channels=3, names=NAMES):
    """Return a problem of noise whose classes differ in which half is brighter."""
    draws = np.random.default_rng(seed)

    def part(count):
        labels = np.arange(count) % len(names)
        x = draws.normal(brightness, 20, (count, size, size, channels))
        x[labels == 1, :, : size // 2] += 40
        x[labels == 2, : size // 2] += 40
        return x.clip(0, 255).round().astype(np.uint8), labels

    (x, y), (x_val, y_val), (x_test, y_test) = (part(n) for n in (24, 12, 9))
    return Problem.from_arrays(x, y, x_test, y_test, x_val=x_val, y_val=y_val, class_names=names, name=f"p{size}")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def low():
    return pictures(32, 60, 0)


@pytest.fixture(scope="module")
def high():
    return pictures(64, 150, 1)


@pytest.fixture(scope="module")
def teacher(low, store):
    return gt.teach(SMALL, low, out=store.root, **RECIPE)


def study(teacher, **changes):
    methods = {"kd": "kd", "at": "at", "fitnet": "fitnet", "vid": "vid + kd"}
    return {
        "name": "across",
        "problem": "made",
        "recipe": RECIPE,
        "teachers": {"t": {"run": teacher.id}},
        "students": {name: {"model": TINY, "method": method} for name, method in methods.items()},
        "seeds": 1,
        **changes,
    }


@pytest.fixture(scope="module")
def finished(teacher, high, store):
    return run_study(study(teacher), high, out=store.root, device="cpu")


def shown(raw, spec):
    """Return raw pictures ``(N, H, W, C)`` as a network of a spec wants them, worked in float64 from the pixels."""
    x = raw.double().permute(0, 3, 1, 2) / 255
    x = x.expand(-1, spec.shape[0], -1, -1)
    if x.shape[2:] != spec.size:
        x = functional.interpolate(x, size=spec.size, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (spec.mean, spec.std))
    return ((x - mean) / std).float()


def stored_spec(run):
    return InputSpec.read(json.loads((run.path / "spec.json").read_text())["inputs"])


def test_the_problems_do_differ(low, high):
    assert low.spec.size == (32, 32) and high.spec.size == (64, 64)
    assert high.spec.mean[0] - low.spec.mean[0] > 0.3 and low.spec.std != high.spec.std


def test_a_teacher_of_small_pictures_teaches_on_large_ones(finished, teacher, low, high):
    assert finished.summary.failed == {} and len(finished.summary.finished) == 4
    results = finished.results
    for cell in finished.plan.cells:
        run = results.run(cell.run)
        assert run.spec.teaching.runs == (teacher.id,) and run.spec.inputs is None
        assert stored_spec(run) == run.input_spec == high.spec
        assert torch.equal(run.outputs("test"), predict(run.model, high, "test"))
        assert all(value == value for event in run.records for value in event["loss"].values())
    assert stored_spec(teacher) == teacher.input_spec == low.spec


def test_the_library_call_finds_the_same_run(finished, teacher, high, store):
    by_call = gt.distill(TINY, high, teacher, method="kd", out=store.root, **RECIPE)
    by_study = next(cell.run for cell in finished.plan.cells if cell.student == "kd")
    assert by_call.id == by_study


def test_what_the_teacher_says_in_the_loop_is_what_its_network_says_of_the_raw_pictures(finished, low, high, store):
    plan = finished.plan
    trainings = {plan.runs[cell.run].training_id: [plan.runs[cell.run]] for cell in plan.cells}
    learners, loader = assemble(trainings, plan.names, plan.facts, high, store, "cpu")
    batch = loader.batch(1)
    answers = answer_all([(x.teacher, x.needs.teacher) for x in learners.values()], batch)
    assert len(answers) == 1 and {x.spec for x in learners.values()} == {high.spec}
    (answer,) = answers.values()
    network = store.run(plan.teachers["t", 0].network).model
    with torch.no_grad():
        wanted = network(shown(high.train.inputs.rows(batch.indices), low.spec))
        as_made = network(batch.inputs)
    torch.testing.assert_close(answer.logits, wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(answer.logits, as_made, atol=1e-2)  # which a mean over any size would answer


def test_its_held_out_answers_are_saved_through_its_own_eyes(finished, teacher, low, high):
    saved = teacher.outputs("validation", problem=high.fingerprint)
    with torch.no_grad():
        wanted = teacher.model(shown(high.validation.inputs.rows(torch.arange(12)), low.spec))
    torch.testing.assert_close(saved, wanted, rtol=1e-4, atol=1e-4)
    own = teacher.outputs("validation")
    assert own.shape == saved.shape and not torch.allclose(own, saved, atol=1e-2)


def test_results_and_page_read_on(finished):
    results = finished.results
    assert {row.student for row in results.students} == {"kd", "at", "fitnet", "vid"}
    assert results.ranked[0].name == "t" and results.missing == []
    assert "fitnet" in write_page(results).read_text()


def test_rank_on_the_other_problem(teacher, high, store, finished):
    native = gt.teach(TINY, high, out=store.root, **RECIPE)
    ranked = {r.name: r for r in gt.rank({"low": teacher, "high": native}, high)}
    labels = high.validation.labels
    log_p = teacher.outputs("validation", problem=high.fingerprint).double().log_softmax(dim=1)
    brier = (log_p.exp() - functional.one_hot(labels, 3)).square().sum(dim=1).mean()
    assert ranked["low"].scores["brier"] == pytest.approx(float(brier), abs=1e-5)
    assert len(ranked) == 2


def test_a_study_file_and_the_command_line(teacher, high, store, finished, tmp_path):
    np.savez(
        tmp_path / "high.npz",
        **{f"{k}_{s}": v for s, part in (("train", high.train), ("val", high.validation), ("test", high.test))
           for k, v in (("x", part.inputs.tensor.numpy()), ("y", part.labels.numpy()))},
        class_names=np.array(NAMES),
    )  # fmt: skip
    values = study(teacher, problem={"name": str(tmp_path / "high.npz")}, name="by-file")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    done = CliRunner().invoke(app, ["run", str(tmp_path / "study.yaml"), "--out", str(store.root), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    planned = json.loads((store.root / "studies" / "by-file" / "plan.json").read_text())
    assert set(planned["runs"]) == set(finished.plan.runs)  # the same data in a file: nothing is trained again


def test_an_arm_that_sees_less_than_the_problem_makes(low, store):
    arms = {"t": {"model": SMALL}, "few": {"model": SMALL, "inputs": {"size": 16}}}
    students = {
        "s": {"model": TINY, "method": "at + kd", "taught_by": ["few", "t"]},
        "tiny": {"model": TINY, "method": "kd", "taught_by": ["t"], "inputs": {"size": [16, 24], "mean": [0.5] * 3}},
    }
    values = {"name": "sizes", "problem": "made", "recipe": RECIPE, "teachers": arms, "seeds": 1}
    done = run_study({**values, "students": students}, low, out=store.root, device="cpu")
    assert done.summary.failed == {}
    full, few = (store.run(done.plan.teachers[arm, 0].network) for arm in ("t", "few"))
    assert full.id != few.id and full.spec.inputs is None and few.spec.training_id != full.spec.training_id
    assert few.input_spec == InputSpec("image", (3, 16, 16), low.spec.mean, low.spec.std) == stored_spec(few)
    assert few.input_spec.size == (16, 16) and few.facts.input_shape == (3, 32, 32)
    with torch.no_grad():
        answers = few.model(shown(low.test.inputs.rows(torch.arange(9)), few.input_spec))
    torch.testing.assert_close(few.outputs("test"), answers, rtol=1e-4, atol=1e-4)
    tiny = store.run(next(cell.run for cell in done.plan.cells if cell.student == "tiny"))
    assert tiny.input_spec == InputSpec("image", (3, 16, 24), (0.5,) * 3, low.spec.std)
    assert done.results.missing == [] and not torch.allclose(full.outputs("test"), few.outputs("test"))
    again = run_study(values, low, out=store.root, device="cpu")
    assert again.summary.finished == [] and set(again.plan.runs) == {full.id, few.id}


def test_it_trained_at_that_size(low, store, monkeypatch):
    from goodteacher.models.resnet import CifarResNet

    sizes, forward = [], CifarResNet.forward
    monkeypatch.setattr(CifarResNet, "forward", lambda self, x: sizes.append(tuple(x.shape[2:])) or forward(self, x))
    arms = {"few": {"model": TINY, "inputs": {"size": 16}}}
    done = run_study({"name": "sized", "problem": "made", "recipe": RECIPE, "teachers": arms, "seeds": 1},
                     low, out=store.root, device="cpu")  # fmt: skip
    assert len(done.summary.finished) == 1 and set(sizes) == {(16, 16)}


def test_inputs_that_are_those_of_the_problem_change_no_id(low):
    def ids(**arm):
        values = {"problem": "made", "recipe": RECIPE, "teachers": {"t": {"model": TINY, **arm}}, "seeds": 1}
        return set(plan_study(parse_study(values), low.facts).runs)

    plain = ids()
    assert ids(inputs={"size": 32}) == plain == ids(inputs={})
    assert len(plain | ids(inputs={"size": 31}) | ids(inputs={"std": [0.5] * 3})) == 3


def test_a_preparation_sees_what_its_teacher_sees(teacher, high, store):
    student = gt.distill(TINY, high, teacher, method="ft", out=store.root, **RECIPE)
    prepared = student.sibling(student.spec.teaching.runs[0])
    assert prepared.spec.kind == "preparation" and prepared.input_spec == teacher.input_spec
    assert prepared.model(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("method", ["hsakd", "simkd", "mlkd"])
def test_methods_with_views_or_parts_of_the_teacher_work_across_sizes_too(teacher, high, store, method):
    student = gt.distill(TINY, high, teacher, method=method, out=store.root, **RECIPE)
    assert student.model(torch.zeros(2, 3, 64, 64)).shape == (2, 3) and student.input_spec == high.spec


def test_a_map_and_a_mean_around_teachers_of_two_sizes(teacher, high, store):
    arms = {
        "low": {"run": teacher.id},
        "high": {"model": TINY},
        "both": {"ensemble": ["low", "high"], "map": "temperature"},
        "viewed": {"run": teacher.id, "map": {"view_average": {"views": 1}}},
    }
    values = study(
        teacher, name="joined", teachers=arms, students={"s": {"model": TINY, "taught_by": ["both", "viewed"]}}
    )
    done = run_study(values, high, out=store.root, device="cpu")
    assert done.summary.failed == {} and done.results.missing == []


OTHER_NAMES = ("flat", "left", "bottom")


@pytest.mark.parametrize(
    ("names", "received"), [(OTHER_NAMES, "got 3: flat, left, top"), (("flat", "left"), "got 3: flat, left, top")]
)
def test_other_classes_are_refused_in_one_sentence(teacher, store, names, received):
    other = pictures(64, 150, 2, names=names)
    rule = f"must know the problem's {len(names)} classes by the same names in the same order: {', '.join(names)}"
    said = rf"^teachers.teacher.run, run {teacher.id}: {rule}, {received}\.$"
    with pytest.raises(ConfigError, match=said) as refused:
        gt.distill(TINY, other, teacher, out=store.root, **RECIPE)
    assert str(refused.value).count("\n") == 0
    with pytest.raises(ConfigError, match="by the same names"):
        gt.rank([teacher], other)


def test_a_grey_problem_has_a_teacher_of_colour(teacher, low, store):
    grey = pictures(32, 150, 3, channels=1)
    student = gt.distill(TINY, grey, teacher, method="at + kd", out=store.root, **RECIPE)
    assert student.model(torch.zeros(1, 1, 32, 32)).shape == (1, 3) and student.input_spec.shape == (1, 32, 32)
    with torch.no_grad():
        wanted = teacher.model(shown(grey.test.inputs.rows(torch.arange(9)), low.spec))
    torch.testing.assert_close(teacher.outputs("test", problem=grey.fingerprint), wanted, rtol=1e-4, atol=1e-4)


def test_a_problem_of_colour_has_no_grey_teacher(high, store):
    grey = gt.teach(TINY, pictures(32, 150, 3, channels=1), out=store.root, **RECIPE)
    said = rf"^teachers.teacher.run, run {grey.id}: must take the problem's images of shape \(3, 64, 64\), got images of shape"
    with pytest.raises(ConfigError, match=said):
        gt.distill(TINY, high, grey, out=store.root, **RECIPE)
    with pytest.raises(ConfigError, match=r"^rank, run .*: must take the problem's images"):
        gt.rank([grey], high)


def test_vectors_of_another_length_are_refused(tmp_path):
    sizes = {"train": 60, "validation": 30, "test": 30}
    short, long = (gt.load("gaussian", dimension=d, **sizes) for d in (4, 5))
    recipe = {**RECIPE, "lr": 0.01}
    given = gt.teach({"mlp": {"widths": [4]}}, short, out=tmp_path, **recipe)
    said = rf"run {given.id}: must take the problem's vectors of shape \(5,\), got vectors of shape \(4,\); "
    with pytest.raises(ConfigError, match=said):
        gt.distill({"mlp": {"widths": [4]}}, long, given, out=tmp_path, **recipe)
    other = gt.load("gaussian", dimension=4, seed=1, **sizes)  # of the same length: normalised as its network wants it
    student = gt.distill({"mlp": {"widths": [4]}}, other, given, out=tmp_path, **recipe)
    saved = given.outputs("test", problem=other.fingerprint)
    mean, std = (torch.tensor(values) for values in (short.spec.mean, short.spec.std))
    with torch.no_grad():
        wanted = given.model((other.test.inputs.tensor - mean) / std)
    torch.testing.assert_close(saved, wanted, rtol=1e-4, atol=1e-4)
    assert student.input_spec == other.spec != given.input_spec


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"size": 0}, "size"),
        ({"sizes": 16}, "did you mean 'size'"),
        ({"mean": [0.5]}, "one number for each of 3 channels"),
        ({"std": [0.5, 0.5, 0.0]}, "std"),
    ],
)
def test_inputs_that_mean_nothing_are_refused(low, inputs, said):
    with pytest.raises(ConfigError, match=said):
        plan_study(parse_study({"problem": "made", "teachers": {"t": {"model": TINY, "inputs": inputs}}}), low.facts)


def test_vectors_have_no_size(tmp_path):
    vectors = gt.load("gaussian", train=60, validation=30, test=30)
    values = {"problem": "made", "teachers": {"t": {"model": "mlp", "inputs": {"size": 16}}}}
    with pytest.raises(ConfigError, match=r"^teachers.t.inputs: needs image inputs, got vectors"):
        plan_study(parse_study(values), vectors.facts)


def test_what_a_finished_run_sees_is_part_of_who_needs_what(teacher, high):
    """A plan asks a run's own facts for the shape its network sees: a network that takes no other size is no hindrance."""
    plan = plan_study(parse_study(study(teacher)), high.facts, {teacher.id: Given(teacher.spec, teacher.facts)})
    assert len(plan.runs) == 4 and all(spec.problem == high.fingerprint for spec in plan.runs.values())
