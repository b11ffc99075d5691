"""A run is named by what decides its numbers, a user's own source included, and its network is recognised when it is rebuilt."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import goodteacher as gt
from goodteacher.base.errors import StoreError
from goodteacher.study.run import Run
from goodteacher.train.checkpoint import load_tensors, save_tensors

NET = """
from torch import nn

def make(classes, input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, {width}), nn.{activation}(), nn.Linear({width}, classes))
"""
# What each process does: teach a network of one's own, say which run it was, and whether its network can be had again.
TEACH = """
import sys, torch
import goodteacher as gt
torch.set_num_threads(1)
if sys.argv[1] == "teach":
    run = gt.teach("edited_net:make", gt.load("digits", subset=5), epochs=1, precision="fp32", out="store")
    print(run.id, run.result.seconds)
else:
    try:
        print("loaded", type(gt.Store("store").run(sys.argv[2]).model).__name__)
    except gt.GoodteacherError as error:
        print(error)
"""


@pytest.fixture
def process(tmp_path):
    def run(*arguments, **net):
        if net:
            (tmp_path / "edited_net.py").write_text(NET.format(**net))
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", TEACH, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    return run


@pytest.mark.slow
def test_an_edited_network_is_another_run_and_the_old_one_is_not_served_for_it(process):
    first = process("teach", width=8, activation="ReLU")
    assert process("teach") == first  # the same source: the finished run
    wider = process("teach", width=9, activation="ReLU")
    other = process("teach", width=8, activation="Tanh")  # the same shapes, another function
    ids = [line.split()[0] for line in (first, wider, other)]
    assert len(set(ids)) == 3
    assert process("load", ids[2]) == "loaded Sequential"
    assert "needs 'edited_net:make' as it was when the run was planned" in process("load", ids[0])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    problem = gt.load("digits", subset=5)
    return gt.teach({"mlp": {"widths": [8]}}, problem, epochs=1, precision="fp32", out=tmp_path_factory.mktemp("store"))


def test_a_rebuilt_network_answers_as_it_did(run):
    kept = run.extra("check")
    assert kept["inputs"].shape == (4, 1, 8, 8)
    torch.testing.assert_close(Run(run.path).model(kept["inputs"]), kept["logits"])
    torch.testing.assert_close(kept["logits"], run.outputs("validation")[:4], rtol=1e-5, atol=1e-5)


def test_a_network_that_answers_otherwise_is_refused(run):
    path = run.path / "outputs" / "check.safetensors"
    before = load_tensors(path)
    save_tensors(path, {**before, "logits": before["logits"] + 0.5})
    with pytest.raises(
        StoreError, match=r"must answer as it did when it was trained, got 0\.5 away in the worst logit"
    ):
        _ = Run(run.path).model
    path.unlink()
    assert Run(run.path).model is not None  # of an earlier version: nothing to compare with
    save_tensors(path, before)


def test_nothing_of_ones_own_is_looked_for_where_there_is_none(run):
    assert run.spec.code is None and run.spec.own_names == ()
