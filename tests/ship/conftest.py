from __future__ import annotations

import importlib.util

import pytest

import goodteacher as gt

SMALL = {"resnet8": {"widths": [8, 8, 8, 8]}}
needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None,
    reason="the extra 'export' is not installed; CI's second stage has it",
)


@pytest.fixture(scope="session")
def problem():
    return gt.load("digits", subset=20)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def run(problem, store):
    teacher = gt.teach({"mlp": {"widths": [8]}}, problem, out=store, epochs=1)
    return gt.distill(SMALL, problem, teacher, out=store, epochs=2, batch_size=20, lr=0.05, precision="fp32")
