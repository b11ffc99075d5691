from __future__ import annotations

import numpy as np
import pytest
import torch

import goodteacher as gt
from goodteacher.ship.deployed import deployed
from goodteacher.study.spec import parse_study

RECIPE = {"epochs": 1, "batch_size": 20, "precision": "fp32", "augment": "none"}


def test_raw_pictures_become_the_runs_own_probabilities(run, problem):
    network, pixels = deployed(run), problem.test.inputs.rows(torch.arange(9))
    assert network.input_name == "pixels" and not network.training
    with torch.no_grad():
        answer = network(pixels)
    torch.testing.assert_close(answer, run.predict(pixels.numpy()))
    torch.testing.assert_close(answer.sum(dim=1), torch.ones(9))
    assert network.example(3).shape == (3, 8, 8, 1) and network.example().dtype == torch.uint8


def test_a_network_of_its_own_size_and_normalisation_sees_what_it_saw_in_training(problem, tmp_path):
    arm = {
        "model": {"resnet8": {"widths": [8, 8, 8, 8]}},
        "method": "none",
        "inputs": {"size": 12, "mean": [0.1], "std": [0.7]},
    }
    study = parse_study(
        {"name": "s", "problem": {"name": "digits"}, "students": {"s": arm}, "recipe": RECIPE, "seeds": 1}
    )
    finished = gt.run_study(study, problem, out=tmp_path)
    run = gt.Store(tmp_path).run(finished.plan.cells[0].run)
    pixels = problem.test.inputs.rows(torch.arange(9))
    with torch.no_grad():
        answer = deployed(run)(pixels)
    torch.testing.assert_close(answer, run.predict(pixels.numpy()))
    torch.testing.assert_close(answer, run.outputs("test")[:9].softmax(dim=1), rtol=1e-3, atol=1e-4)


def test_vectors_go_in_as_they_are(tmp_path):
    problem = gt.load("gaussian", train=60, validation=30, test=30)
    run = gt.teach({"mlp": {"widths": [8]}}, problem, out=tmp_path, epochs=1, batch_size=20)
    network = deployed(run)
    x = problem.test.inputs.rows(torch.arange(5))
    assert network.input_name == "features" and network.example().shape == (2, 30)
    with torch.no_grad():
        torch.testing.assert_close(network(x), run.predict(x.numpy().astype(np.float64)))


def test_a_run_that_does_not_say_what_it_sees_is_refused(run, monkeypatch):
    monkeypatch.setitem(run.__dict__, "input_spec", None)
    with pytest.raises(
        gt.GoodteacherError, match=r"must say what its network expects to see, got a run of an earlier version"
    ):
        deployed(run)
