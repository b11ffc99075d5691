from __future__ import annotations

import pytest
import torch
from torch import nn

import goodteacher as gt
from goodteacher.base.errors import TrainingError
from goodteacher.models import custom
from goodteacher.models.custom import hand_over
from goodteacher.models.taps import guess_taps
from goodteacher.study.kept_networks import network_files

RECIPE = {"epochs": 1, "batch_size": 20, "precision": "fp32"}


class Net(nn.Module):
    taps = gt.Taps(stages=("layer",), head="fc")

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3)
        self.layer = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.layer(self.stem(x)).mean(dim=(2, 3)))


class Undecided(Net):
    def forward(self, x):
        return super().forward(x if bool(x.sum() > 0) else -x)


@pytest.fixture(scope="module")
def problem():
    return gt.load("digits", subset=10)


@pytest.fixture(scope="module")
def run(problem, tmp_path_factory):
    return gt.teach(Net(), problem, out=tmp_path_factory.mktemp("store"), **RECIPE)


@pytest.fixture
def later(run, monkeypatch):
    """The run as a later process finds it: nothing was handed over in that."""
    monkeypatch.setattr(custom, "_HANDED_OVER", {})
    monkeypatch.setattr(custom, "_RECALLED", {})
    return gt.Store(run.root).run(run.id)


def test_a_network_object_loads_in_a_later_process_and_answers_the_same(run, later, problem):
    pixels = problem.test.inputs.rows(torch.arange(7)).numpy()
    torch.testing.assert_close(later.predict(pixels), run.predict(pixels))
    assert guess_taps(later.model) == Net.taps and not later.model.training
    assert [f.name for f in network_files(run.spec.model_name, (1, 8, 8), run.root)] == sorted(
        (f.name for f in (run.root / "networks").iterdir()), reverse=True
    )


def test_it_teaches_with_its_features_and_is_shipped(later, problem, tmp_path):
    student = gt.distill(
        {"resnet8": {"widths": [8, 8, 8, 8]}}, problem, later, method="at", out=tmp_path / "other", **RECIPE
    )
    assert student.spec.teaching.runs == (later.id,) and student.sibling(later.id).model is not None
    made = gt.export(later, tmp_path / "model", problem, formats=("torch",))
    assert made.checks[0].difference < 1e-5


def test_it_is_not_trained_on_in_a_later_process_unless_handed_over_again(run, later, problem):
    _ = later.model
    with pytest.raises(
        TrainingError, match=r"can teach, be ranked and be shipped, but not be trained; build the same network"
    ):
        gt.teach({run.spec.model_name: {}}, problem, out=run.root, lr=0.01, **RECIPE)
    network = Net()
    again = gt.teach(network, problem, out=run.root, **RECIPE)
    assert gt.teach(network, problem, out=run.root, lr=0.01, **RECIPE).id != again.id


def test_what_cannot_be_written_down_is_said_before_it_trains(problem, tmp_path, capsys, monkeypatch):
    run = gt.teach(Undecided(), problem, out=tmp_path, quiet=False, **RECIPE)
    said = capsys.readouterr().err.replace("\n", " ")
    assert "cannot be written down" in said and said.index("cannot be written down") < said.index("epochs of")
    assert "module:function" in said and not list((tmp_path / "networks").glob("*"))
    assert run.model is not None
    monkeypatch.setattr(custom, "_HANDED_OVER", {})
    with pytest.raises(gt.GoodteacherError, match="was an object of another process"):
        _ = gt.Store(tmp_path).run(run.id).model


def test_a_name_of_the_table_keeps_nothing(problem, tmp_path):
    gt.teach({"mlp": {"widths": [4]}}, problem, out=tmp_path, **RECIPE)
    assert not (tmp_path / "networks").exists() and hand_over(Net()).startswith("object:Net-")


def test_one_network_at_two_sizes_is_kept_for_each(problem, tmp_path, monkeypatch):
    network = Net()
    runs = [gt.Teacher(network, (0.5,), (0.5,), size=size).register(problem, tmp_path) for size in (8, 12)]
    pixels = problem.test.inputs.rows(torch.arange(3)).numpy()
    before = [run.predict(pixels) for run in runs]
    monkeypatch.setattr(custom, "_HANDED_OVER", {})
    monkeypatch.setattr(custom, "_RECALLED", {})
    for run, answer in zip(runs, before, strict=True):
        torch.testing.assert_close(gt.Store(tmp_path).run(run.id).predict(pixels), answer)
