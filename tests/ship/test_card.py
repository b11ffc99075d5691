from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import goodteacher as gt
from ship.conftest import needs_onnx

# The import system knows no goodteacher: what runs here runs where it is not installed.
LEAN = "import sys; sys.modules['goodteacher'] = None\n"


@pytest.fixture(
    scope="module", params=["torch", pytest.param("onnx", marks=needs_onnx), pytest.param("int8", marks=needs_onnx)]
)
def made(request, run, problem, tmp_path_factory):
    return gt.export(
        run,
        tmp_path_factory.mktemp("made") / "model",
        problem,
        formats=(request.param,),
        licence="apache-2.0",
        max_loss=1,
    )


def test_the_card_has_the_metadata_that_hubs_read(made, run):
    text = (made.folder / "README.md").read_text()
    values = yaml.safe_load(text.split("---")[1])
    assert values["license"] == "apache-2.0" and values["pipeline_tag"] == "image-classification"
    (result,) = values["model-index"][0]["results"]
    assert result["metrics"][0]["type"] == "accuracy" and result["metrics"][0]["name"] == "accuracy (n = 539)"
    accuracy = (run.outputs("test").argmax(1) == run.targets["test.labels"]).double().mean()
    assert result["metrics"][0]["value"] == pytest.approx(float(accuracy), abs=1e-4)


def test_the_card_says_who_taught_and_what_each_file_lost(made, run):
    text = (made.folder / "README.md").read_text()
    assert f"Taught by {run.spec.teaching.runs[0]}: teacher mlp, cross_entropy, seed 0." in text
    assert "Teachers, ranked on validation before any student (n = 1 seed" in text
    assert made.checks[0].file in text and "points lost" in text and f"goodteacher export {run.id}" in text


def test_its_three_lines_answer_new_pictures_without_goodteacher(made, run, problem):
    text = (made.folder / "README.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)\n```", text, flags=re.S)
    assert len(lines.splitlines()) == 3
    pixels = problem.test.inputs.rows(torch.arange(1))[0]
    Image.fromarray(pixels[..., 0].numpy()).save(made.folder / "new.jpg", format="PNG")
    done = subprocess.run(
        [sys.executable, "-c", f"{LEAN}{lines}\nprint(numpy.asarray(p.detach() if hasattr(p, 'detach') else p).tolist())"],
        cwd=made.folder, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    answer = np.array(yaml.safe_load(done.stdout))
    atol = 1e-5 if made.checks[0].format != "int8" else 0.1
    np.testing.assert_allclose(answer, run.predict(pixels[None].numpy()).numpy(), atol=atol)


def test_a_network_without_a_teacher_says_so(problem, tmp_path):
    vectors = gt.load("gaussian", train=60, validation=30, test=30)
    run = gt.teach({"mlp": {"widths": [4]}}, vectors, out=tmp_path / "store", epochs=1, batch_size=20)
    made = gt.export(run, tmp_path / "model", vectors, formats=("safetensors", "torch"))
    text = (made.folder / "README.md").read_text()
    assert "It had none." in text and "vectors of 30 numbers" in text and "license" not in text.split("---")[1]
    assert "tabular-classification" in text
