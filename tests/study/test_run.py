from __future__ import annotations

import json
import shutil

import pytest
import torch

import goodteacher as gt
from goodteacher.base.errors import StoreError
from goodteacher.data.digits import digits_problem
from goodteacher.data.labels import label_subset
from goodteacher.maps.target_map import Identity
from goodteacher.maps.temperature import Temperature
from goodteacher.methods.preparation import Prepared
from goodteacher.study.run import FORMAT, READ, Run, checked_format, fitted_map, read_facts
from goodteacher.train.infer import predict

NET = {"resnet8": {"widths": [4, 4, 6, 8]}}
RECIPE = {"epochs": 1, "batch_size": 10, "lr": 0.02, "precision": "fp32"}


@pytest.fixture(scope="module")
def problem():
    return label_subset(digits_problem(), per_class=3, seed=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def teacher(problem, root):
    return gt.teach(NET, problem, objective="brier", out=root, **RECIPE)


def test_a_run_is_read_from_its_folder_alone(teacher, problem, root):
    run = Run(root / "runs" / teacher.id)
    assert run.id == run.spec.id == teacher.id and run.root == root and run.facts == problem.facts
    assert run.describe() == f"{run.id}: teacher resnet8, brier, seed 0"
    assert run.input_spec == problem.spec and run.result.epoch == 1 and run.records[0]["epoch"] == 1
    assert run.sibling(run.id) == run
    assert torch.equal(run.targets["test.labels"], problem.test.labels)


def test_the_network_is_in_eval_mode_with_the_weights_kept(teacher, problem):
    model = Run(teacher.path).model
    assert not model.training and all(torch.equal(model.state_dict()[k], v) for k, v in teacher.weights.items())
    assert torch.equal(predict(model, problem, "validation"), teacher.outputs("validation"))


@pytest.mark.parametrize("method", ["simkd", "hsakd", "fitnet + kd"])
def test_whatever_a_method_hands_over_is_rebuilt(teacher, problem, root, method):
    student = gt.distill(NET, problem, teacher, method=method, out=root, **RECIPE)
    fresh = Run(student.path)
    assert torch.equal(predict(fresh.model, problem, "test"), student.outputs("test"))
    assert (type(fresh.model).__name__ == "Deployed") == (method == "simkd")


def test_a_preparation_is_rebuilt_around_the_teacher_it_was_made_for(teacher, problem, root):
    student = gt.distill(NET, problem, teacher, method="ft", out=root, **RECIPE)
    run = Run(root / "runs" / student.spec.teaching.runs[0])
    assert run.spec.kind == "preparation" and isinstance(run.model, Prepared)
    own, wanted = run.model.teacher.state_dict(), teacher.model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in wanted.items())
    assert any(name.startswith("part.") for name in run.weights)


def test_outputs_have_names_by_problem(teacher):
    own, other = teacher.spec.problem, "e" * 16
    assert teacher.outputs_file("kept", own).name == "kept.safetensors"
    assert teacher.outputs_file("kept", other).name == f"on-{other}-kept.safetensors"
    assert torch.equal(teacher.outputs("test", checkpoint="last"), teacher.outputs("test"))  # the last one was kept
    with pytest.raises(StoreError, match="hold test, validation, got 'train'"):
        teacher.outputs("train")
    with pytest.raises(StoreError, match="cannot be read"):
        teacher.outputs("test", problem=other)
    with pytest.raises(StoreError, match=r"^augmented views of run .*: must be saved to be averaged, got none of 3\.$"):
        teacher.views("test", 3, problem=own)
    assert teacher.extra("table") is None and sorted(teacher.extra("check")) == ["inputs", "logits"]


def test_weights_that_do_not_fit_are_refused(teacher, tmp_path):
    shutil.copytree(teacher.root, tmp_path / "copy")
    path = tmp_path / "copy" / "runs" / teacher.id / "spec.json"
    stored = json.loads(path.read_text())
    stored["run"]["model"]["resnet8"]["widths"] = [4, 4, 6, 9]
    path.write_text(json.dumps(stored))
    with pytest.raises(StoreError, match=rf"^weights of run {teacher.id}: must fit the model"):
        Run(path.parent).model  # noqa: B018 - it is loaded when it is asked for


def test_a_map_is_fitted_once(tmp_path):
    fits = []

    def fit():
        fits.append(1)
        return Temperature(2.5)

    spec = {"temperature": {"score": "brier", "value": None}}
    assert fitted_map(tmp_path, spec, fit).temperature == fitted_map(tmp_path, spec, fit).temperature == 2.5
    assert fits == [1] and len(list(tmp_path.glob("temperature-*.json"))) == 1
    other = {"temperature": {"score": "nll", "value": None}}
    fitted_map(tmp_path, other, fit)
    assert fits == [1, 1] and len(list(tmp_path.iterdir())) == 2
    assert isinstance(fitted_map(tmp_path, {"identity": {}}, fit), Identity) and fits == [1, 1]


def test_a_map_of_a_long_name_has_a_file_that_a_disk_takes(tmp_path):
    name = "temperature + top_k + " * 20 + "temperature"
    fitted_map(tmp_path, {name: {}}, lambda: Temperature(2.0))
    (path,) = tmp_path.iterdir()
    assert len(path.name) < 60 and " " not in path.name and "+" not in path.name


def test_formats(tmp_path):
    path = tmp_path / "spec.json"
    for known in READ:
        path.write_text(json.dumps({"format": known, "x": 1}))
        assert checked_format(path)["x"] == 1
    assert max(READ) == FORMAT
    for other, got in (({"format": 1}, ", got 1"), ({"format": FORMAT + 1}, ", got 4"), ({}, "")):
        path.write_text(json.dumps(other))
        with pytest.raises(StoreError, match=rf"must have format 2 or 3{got}; it was written by another version"):
            checked_format(path)


def test_facts_without_a_folder_are_refused(tmp_path):
    with pytest.raises(StoreError):
        read_facts(tmp_path / "nowhere")
