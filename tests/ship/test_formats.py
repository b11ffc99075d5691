from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError, ExportError
from goodteacher.base.input_spec import InputSpec
from goodteacher.ship.deployed import Deployed, deployed
from goodteacher.ship.formats import FORMATS, checked_formats, label_onnx, write
from goodteacher.study.known_names import FORMATS as NAMES
from ship.conftest import needs_onnx

EVERY = [pytest.param(name, marks=needs_onnx if row.packages else ()) for name, row in FORMATS.items()]


@pytest.mark.parametrize("name", EVERY)
def test_a_file_answers_any_number_of_examples_as_its_network_does(name, run, problem, tmp_path):
    row, path = FORMATS[name], tmp_path / FORMATS[name].file
    pixels = problem.test.inputs.rows(torch.arange(64))
    write(name, deployed(run), problem.train.inputs.rows(torch.arange(100)), path)
    answer = row.opened(path, deployed(run))
    for count in (1, 2, 64):
        with torch.no_grad():
            ours, theirs = deployed(run)(pixels[:count]), answer(pixels[:count])
        assert theirs.shape == (count, 10) and theirs.dtype == torch.float32
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5 if row.exact else 0.1)
    assert [path.name for path in tmp_path.iterdir()] == [row.file]


@needs_onnx
def test_an_onnx_file_says_what_it_takes_and_names_its_classes(run, tmp_path):
    import onnx

    path = tmp_path / "model.onnx"
    write("onnx", deployed(run), torch.zeros(0), path)
    label_onnx(path, {"class_names": list(run.facts.class_names)})
    model = onnx.load(path)
    (given,), (answer,) = model.graph.input, model.graph.output
    assert (given.name, answer.name) == ("pixels", "probabilities")
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert {p.key: json.loads(p.value) for p in model.metadata_props}["class_names"] == list("0123456789")


class Undecided(nn.Module):
    """A network whose path depends on the numbers it sees, which no exporter can write down."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x) if bool(x.sum() > 0) else -self.layer(x)


def test_a_network_that_a_format_cannot_hold_is_refused_with_the_others_named(tmp_path):
    spec = InputSpec("vector", (4,), (0.0,) * 4, (1.0,) * 4)
    network = Deployed(Undecided(), spec, spec).eval()
    with pytest.raises(ExportError, match=r"format 'torch': must be able to hold the network, .*--format safetensors"):
        write("torch", network, torch.zeros(0), tmp_path / "m.pt2")
    write("safetensors", network, torch.zeros(0), tmp_path / "m.safetensors")


def test_names_are_checked_and_so_is_what_they_need(monkeypatch):
    assert tuple(FORMATS) == NAMES
    with pytest.raises(ConfigError, match="did you mean 'onnx'"):
        checked_formats(("onx",))
    assert checked_formats(("torch", "torch", "safetensors")) == ("torch", "safetensors")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else object())
    with pytest.raises(
        ConfigError,
        match=r"format 'onnx': needs the packages onnx, onnxscript, onnxruntime; pip install onnx onnxscript onnxruntime, or",
    ):
        checked_formats(())
