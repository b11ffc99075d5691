from __future__ import annotations

import os
import pickle

import pytest
import torch
from torch import nn

from goodteacher.base.errors import StoreError
from goodteacher.train.checkpoint import load_checkpoint, load_tensors, load_weights, save_checkpoint, save_tensors


def test_a_state_comes_back_as_it_was(tmp_path):
    state = {"step": 3, "names": ["a"], "model": {"w": torch.randn(2, 2)}, "nested": {"score": 0.5, "none": None}}
    save_checkpoint(tmp_path / "c.pt", state)
    back = load_checkpoint(tmp_path / "c.pt")
    assert torch.equal(back["model"]["w"], state["model"]["w"]) and back["nested"] == state["nested"]
    assert load_checkpoint(tmp_path / "none.pt") is None


def test_a_damaged_checkpoint_says_what_to_do(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"step": 1})
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StoreError, match=r"c\.pt.*delete it"):
        load_checkpoint(path)


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/goodteacher-was-here",)


def test_code_in_a_checkpoint_is_never_run(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(os, "system", called.append)
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(StoreError, match="cannot be read"):
        load_checkpoint(tmp_path / "c.pt")
    torch.save({"x": Evil()}, tmp_path / "d.pt")
    with pytest.raises(StoreError, match="cannot be read"):
        load_checkpoint(tmp_path / "d.pt")
    assert called == []


def test_weights_that_do_not_fit_name_what_does_not(tmp_path):
    save_tensors(tmp_path / "w.safetensors", {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)})
    tensors = load_tensors(tmp_path / "w.safetensors")
    load_weights(nn.Linear(2, 3), tensors, "x")
    with pytest.raises(StoreError, match=r"weights of run 7.*size mismatch"):
        load_weights(nn.Linear(2, 4), tensors, "run 7")
    (tmp_path / "w.safetensors").write_bytes(b"no")
    with pytest.raises(StoreError, match=r"w\.safetensors"):
        load_tensors(tmp_path / "w.safetensors")
