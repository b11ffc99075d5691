from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import goodteacher as gt
from goodteacher.base.errors import ConfigError, ExportError
from goodteacher.data.splits import Split
from goodteacher.ship import formats, verify
from goodteacher.ship.deployed import deployed
from goodteacher.ship.verify import check_file, held_out_rows


@pytest.fixture
def written(run, tmp_path):
    path = tmp_path / "model.safetensors"
    formats.write("safetensors", deployed(run), torch.zeros(0), path)
    return path


def other(monkeypatch, answer, *, exact):
    row = replace(formats.FORMATS["safetensors"], opened=lambda path, network: answer, exact=exact)
    monkeypatch.setitem(verify.FORMATS, "safetensors", row)


def test_a_check_holds_size_difference_loss_and_times(run, problem, written):
    inputs, labels = held_out_rows(run, problem)
    found = check_file("safetensors", written, deployed(run), inputs, labels, max_loss=0.01)
    assert found.difference == 0 and found.loss.mean == 0 < found.loss.high and found.loss.n == len(problem.test)
    assert found.accuracy.mean == pytest.approx(float((run.outputs("test").argmax(1) == labels).double().mean()))
    assert sorted(found.milliseconds) == [1, 64] and found.bytes == written.stat().st_size
    assert found.stored()["loss"] == {k: getattr(found.loss, k) for k in ("mean", "low", "high", "n")}


def test_a_file_that_answers_otherwise_is_an_error(run, problem, written, monkeypatch):
    inputs, labels = held_out_rows(run, problem)
    network = deployed(run)
    other(monkeypatch, lambda x: network(x) + 0.01, exact=True)
    with pytest.raises(
        ExportError, match=r"must answer as the network does, to 0.001, got 0.01 away in the worst of 539"
    ):
        check_file("safetensors", written, network, inputs, labels, max_loss=0.01)


def test_a_file_of_fewer_bits_may_lose_so_much_and_no_more(run, problem, written, monkeypatch):
    inputs, labels = held_out_rows(run, problem)
    network = deployed(run)
    other(monkeypatch, lambda x: network(x).roll(1, dims=1), exact=False)
    with pytest.raises(
        ExportError, match=r"may lose 1 points of accuracy, got .* held-out examples; distil while quantising"
    ):
        check_file("safetensors", written, network, inputs, labels, max_loss=0.01)
    assert check_file("safetensors", written, network, inputs, labels, max_loss=1.0).loss.low > 0.01


def test_examples_the_run_was_trained_on_are_left_out(run, problem):
    seen, test = problem.train.take(torch.arange(30)), problem.test
    both = Split(
        torch.cat([seen.inputs.tensor, test.inputs.tensor]), torch.cat([seen.labels, test.labels]), torch.arange(569)
    )
    mixed = replace(problem, test=both)
    inputs, labels = held_out_rows(run, mixed)
    assert len(inputs) == len(labels) == len(problem.test)
    with pytest.raises(ConfigError, match="must be checked on examples it was not trained on"):
        held_out_rows(run, replace(problem, test=seen))


def test_other_data_are_refused(run):
    x = np.zeros((6, 9, 9), dtype=np.uint8)
    others = gt.Problem.from_arrays(x, np.arange(6) % 2, x, np.arange(6) % 2, x_val=x, y_val=np.arange(6) % 2)
    with pytest.raises(ConfigError, match=r"must have the classes and the inputs \(1, 8, 8\).*got 2 classes"):
        held_out_rows(run, others)
