"""Checkpoints and weights: written atomically, read without unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from goodteacher.base.errors import StoreError
from goodteacher.train.records import write_atomically


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a training state: nested dicts and lists of tensors, numbers and strings."""
    write_atomically(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a training state, or return None if there is none.

    Raises:
        StoreError: if the file is damaged; written atomically, it was damaged later.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise StoreError(
            f"checkpoint {path}",
            rule="cannot be read",
            received=str(error).splitlines()[0],
            remedy="delete it to train from the start",
        ) from None
    return state


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write named tensors as safetensors."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, lambda file: file.write(save(plain, metadata)))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors from safetensors.

    Raises:
        StoreError: if the file is missing or damaged.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise StoreError(f"file {path}", rule="cannot be read", received=str(error).splitlines()[0]) from None
    return tensors


def load_weights(model: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    """Load weights into a network.

    Args:
        model: receives them.
        tensors: its state dict.
        what: names the source in a message.

    Raises:
        StoreError: if names or shapes do not fit.
    """
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise StoreError(f"weights of {what}", rule="must fit the model", received=" ".join(lines)) from None
