from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from torch import nn

import goodteacher as gt
from goodteacher.base.errors import ConfigError, TrainingError

SMALL = {"mlp": {"widths": [8]}}
QUICK = {"epochs": 2, "batch_size": 64}


@pytest.fixture(scope="module")
def problem():
    return gt.load("digits")


def test_teach_rank_distil(problem, tmp_path):
    good = gt.teach(SMALL, problem, objective="brier", out=tmp_path, epochs=8, batch_size=64)
    bad = gt.teach(SMALL, problem, out=tmp_path, epochs=1, lr=1e-4, batch_size=64)
    ranked = gt.rank({"bad": bad, "good": good})
    assert [r.name for r in ranked] == ["good", "bad"] and not ranked[1].tied
    assert [r.scores for r in gt.rank({"bad": bad, "good": good}, problem)] == [r.scores for r in ranked]
    student = gt.distill(SMALL, problem, good, method={"kd": {"temperature": 2}}, out=tmp_path, **QUICK)
    assert isinstance(student.model, nn.Module) and not student.model.training
    assert student.spec.teaching.runs == (good.id,)
    alone = gt.distill(SMALL, problem, None, method="none", out=tmp_path, **QUICK)
    assert alone.spec.teaching is None


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A tiny problem of pictures, and a teacher with stages to read, in a store of their own."""
    few, out = gt.load("digits", subset=6), tmp_path_factory.mktemp("pictures")
    return few, gt.teach("resnet8", few, out=out, epochs=1, batch_size=20), out


@pytest.mark.parametrize("method", ["ft", "hsakd", "ft + kd", "kd + at"])
def test_a_method_hands_over_its_student_whatever_is_prepared_first(pictures, method):
    few, teacher, out = pictures
    run = gt.distill("resnet8", few, teacher, method=method, out=out, epochs=1, batch_size=20)
    assert run.spec.kind == "student" and list(run.spec.loss) == method.split(" + ")
    prepared = method.startswith(("ft", "hsakd"))
    (source,) = run.spec.teaching.runs
    assert (run.sibling(source).spec.kind == "preparation") == prepared and (source == teacher.id) != prepared
    assert run.model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_a_preparation_that_fails_says_why(pictures):
    few, teacher, out = pictures
    with pytest.raises(TrainingError, match="not finite"):
        gt.distill("resnet8", few, teacher, method="ft", out=out, epochs=1, batch_size=20, lr=1e30)


def test_asking_twice_trains_once(problem, tmp_path):
    first = gt.teach(SMALL, problem, out=tmp_path, **QUICK)
    stamp = (first.path / "result.json").stat().st_mtime_ns
    assert gt.teach(SMALL, problem, out=tmp_path, **QUICK).id == first.id
    assert (first.path / "result.json").stat().st_mtime_ns == stamp


def test_a_network_of_ones_own(problem, tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    start = net[1].weight.detach().clone()
    run = gt.teach(net, problem, out=tmp_path, **QUICK)
    assert type(run.model) is nn.Sequential
    assert torch.equal(net[1].weight, start) and not torch.equal(run.model[1].weight, start)
    student = gt.distill(SMALL, problem, run, out=tmp_path, **QUICK)
    assert student.result.parameters == 64 * 8 + 8 + 8 * 10 + 10


FACTORY = """
from torch import nn
def small(classes, input_shape, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, classes))
"""


def test_a_factory_of_ones_own_by_name(tmp_path, monkeypatch, problem):
    (tmp_path / "my_networks.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = gt.teach({"my_networks:small": {"width": 6}}, problem, out=tmp_path / "runs", **QUICK)
    assert run.result.parameters == 64 * 6 + 6 + 6 * 10 + 10
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        gt.teach({"my_networks:small": {"widht": 6}}, problem, out=tmp_path / "runs", **QUICK)
    with pytest.raises(ConfigError, match="must name a function"):
        gt.teach("my_networks:large", problem, out=tmp_path / "runs", **QUICK)
    with pytest.raises(ConfigError, match="importable"):
        gt.teach("no_such_module:x", problem, out=tmp_path / "runs", **QUICK)


def test_a_teacher_from_another_store_is_adopted(problem, tmp_path):
    teacher = gt.teach(SMALL, problem, out=tmp_path / "a", **QUICK)
    student = gt.distill(SMALL, problem, teacher, out=tmp_path / "b", **QUICK)
    assert gt.Store(tmp_path / "b").run(teacher.id).spec == teacher.spec and student.path.is_relative_to(tmp_path / "b")


def test_a_teacher_of_other_classes_is_refused(problem, tmp_path):
    teacher = gt.teach(SMALL, problem, out=tmp_path, **QUICK)
    fewer = gt.load("digits", pair=[3, 8])
    with pytest.raises(
        ConfigError, match=r"must know the problem's 2 classes by the same names .*: 3, 8, got 10: 0, 1"
    ):
        gt.distill(SMALL, fewer, teacher, out=tmp_path, **QUICK)
    with pytest.raises(ConfigError, match="same examples"):
        gt.rank([teacher, gt.teach(SMALL, fewer, out=tmp_path, **QUICK)])


def test_a_network_with_too_few_outputs_is_refused(problem, tmp_path):
    with pytest.raises((ConfigError, TrainingError), match="classes"):
        gt.teach(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), problem, out=tmp_path, **QUICK)


def test_failed_training_says_why(problem, tmp_path):
    with pytest.raises(TrainingError, match="not finite"):
        gt.teach(SMALL, problem, out=tmp_path, epochs=2, batch_size=64, lr=1e30)


def test_unknown_recipe_keys_and_devices(problem, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        gt.teach(SMALL, problem, out=tmp_path, epoch=2)
    with pytest.raises(ConfigError, match="device"):
        gt.teach(SMALL, problem, out=tmp_path, device="tpu", **QUICK)


STUDY = {"name": "still", "problem": "digits", "recipe": QUICK, "teachers": {"ce": {"model": SMALL}}, "seeds": 1}


def test_a_library_call_draws_nothing_and_writes_no_page(problem, tmp_path, capsys):
    finished = gt.run_study(STUDY, problem, out=tmp_path)
    assert capsys.readouterr() == ("", "") and not (finished.folder / "report.html").exists()


def test_progress_and_page_are_there_when_asked_for(problem, tmp_path, capsys):
    console = Console(file=io.StringIO(), width=150)
    finished = gt.run_study(STUDY, problem, out=tmp_path, console=console, page=True)
    assert "ce/0: 2 epochs of" in console.file.getvalue() and (finished.folder / "report.html").exists()
    gt.run_study(STUDY, problem, out=tmp_path, console=console, quiet=True)
    assert "finished already" not in console.file.getvalue() and capsys.readouterr().err == ""
    gt.run_study(STUDY, problem, out=tmp_path, quiet=False)
    assert "1 of 1 runs are finished already" in capsys.readouterr().err


def test_a_library_call_leaves_the_callers_random_numbers_alone(problem, tmp_path):
    torch.manual_seed(5)
    before, ahead = torch.get_rng_state(), torch.rand(3)
    torch.set_rng_state(before)
    teacher = gt.teach(SMALL, problem, out=tmp_path, **QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    gt.distill(SMALL, problem, teacher, out=tmp_path, **QUICK)
    gt.rank([teacher], problem, maps=["temperature"])
    assert torch.equal(torch.get_rng_state(), before) and torch.equal(torch.rand(3), ahead)


def test_losses_work_in_anybodys_loop():
    logits = torch.zeros(2, 3, requires_grad=True)
    gt.losses.brier(logits, torch.tensor([0, 1])).backward()
    assert logits.grad.abs().sum() > 0


def test_the_module_runs_as_a_command():
    shown = subprocess.run([sys.executable, "-m", "goodteacher", "--help"], capture_output=True, text=True, check=True)
    assert "demo" in shown.stdout


def test_single_studies_of_problems_of_one_name_stand_side_by_side(tmp_path):
    problems = [gt.load("gaussian", train=n, validation=30, test=30) for n in (60, 90)]
    problems.append(replace(problems[0], name="мои данные/1"))
    for problem in problems:
        gt.teach({"mlp": {"widths": [4]}}, problem, epochs=1, out=tmp_path)
    names = [path.name for path in (tmp_path / "studies").iterdir()]
    assert len(names) == 3 and sum(name.startswith("single-gaussian-") for name in names) == 2


def test_unlike_classes_are_shown_equally_often_or_weighed(problem, tmp_path):
    common = (problem.train.labels != 3).nonzero().flatten()
    rare = (problem.train.labels == 3).nonzero().flatten()[:4]
    unlike = replace(problem, train=problem.train.take(torch.cat([common, rare])))

    def found(**recipe):
        run = gt.teach(SMALL, unlike, out=tmp_path, epochs=6, batch_size=64, lr=0.05, **recipe)
        answers = run.outputs("test").argmax(dim=1)
        return (answers == run.targets["test.labels"])[run.targets["test.labels"] == 3].float().mean()

    natural = found()
    assert found(sampling="balanced") > natural + 0.2 and found(class_weights="balanced") > natural + 0.2
    by_hand = [1.0] * 10
    assert found(class_weights=by_hand) == natural
