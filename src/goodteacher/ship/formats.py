"""The formats that a finished network is written in, and how a file of each answers; optional packages are imported inside."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, ExportError, GoodteacherError, check_choice
from goodteacher.ship.deployed import Deployed
from goodteacher.ship.int8 import quantised
from goodteacher.train.checkpoint import load_tensors, load_weights, save_tensors

Answer = Callable[[Tensor], Tensor]
"""Raw inputs to probabilities."""


@dataclass(frozen=True)
class Format:
    """A row of `FORMATS`.

    Attributes:
        file: its name in the folder.
        write: writes a network; ``inputs`` are raw training inputs, which only a quantiser looks at.
        opened: returns what answers as the file does.
        packages: that must be installed.
        exact: whether it must answer as the network does, to rounding.
        summary: one line for people.
    """

    file: str
    write: Callable[[Deployed, Tensor, Path], None]
    opened: Callable[[Path, Deployed], Answer]
    packages: tuple[str, ...]
    exact: bool
    summary: str


def _write_weights(network: Deployed, inputs: Tensor, path: Path) -> None:
    save_tensors(path, network.network.state_dict(), {"format": "pt"})


def _open_weights(path: Path, network: Deployed) -> Answer:
    load_weights(network.network, load_tensors(path), f"file {path.name}")
    return network


def _write_torch(network: Deployed, inputs: Tensor, path: Path) -> None:
    with _quiet():
        torch.export.save(_exported(network), path)


def _open_torch(path: Path, network: Deployed) -> Answer:
    with _quiet():
        module = torch.export.load(path).module()

    def answer(inputs: Tensor) -> Tensor:
        found: Tensor = module(inputs)
        return found

    return answer


def _write_onnx(network: Deployed, inputs: Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    with _quiet():
        # Two examples are shown: what is traced with one may be taken for a network of one.
        program = torch.onnx.export(
            network, (network.example(),), dynamo=True, verbose=False, dynamic_shapes=({0: batch},),
            input_names=[network.input_name], output_names=["probabilities"],
        )  # fmt: skip
        assert program is not None, "the exporter returns a program where no file is named"
        program.save(path, external_data=False)


def _open_onnx(path: Path, network: Deployed) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def answer(inputs: Tensor) -> Tensor:
        (found,) = session.run(None, {network.input_name: np.ascontiguousarray(inputs.numpy())})
        return torch.from_numpy(found)

    return answer


def _write_int8(network: Deployed, inputs: Tensor, path: Path) -> None:
    plain = path.with_suffix(".float")
    try:
        _write_onnx(network, inputs, plain)
        with _quiet():
            quantised(plain, network.input_name, inputs, path)
    finally:
        plain.unlink(missing_ok=True)


ONNX = ("onnx", "onnxscript", "onnxruntime")
FORMATS = {
    "safetensors": Format(
        "model.safetensors", _write_weights, _open_weights, (), True, "weights alone, for the network's own code"
    ),
    "torch": Format("model.pt2", _write_torch, _open_torch, (), True, "torch.export: runs wherever PyTorch does"),
    "onnx": Format("model.onnx", _write_onnx, _open_onnx, ONNX, True, "ONNX: runs wherever ONNX Runtime does"),
    "int8": Format(
        "model.int8.onnx", _write_int8, _open_onnx, ONNX, False, "ONNX with weights and activations of 8 bits"
    ),
}


def write(name: str, network: Deployed, inputs: Tensor, path: Path) -> None:
    """Write a network in a format.

    Args:
        name: of the format.
        network: in eval mode.
        inputs: raw training inputs, for a quantiser.
        path: of the file.

    Raises:
        ExportError: if the network cannot be written so.
    """
    try:
        FORMATS[name].write(network, inputs, path)
    except (GoodteacherError, OSError, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever an exporter makes of a network of somebody else's
        others = " ".join(f"--format {other}" for other in FORMATS if other != name)
        raise ExportError(
            f"format '{name}'",
            rule="must be able to hold the network",
            received=f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}",
            remedy=f"leave it out: {others}",
        ) from error


def checked_formats(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of formats, all of them where none is given.

    Raises:
        ConfigError: for an unknown name, or one whose packages are not installed.
    """
    for name in names or tuple(FORMATS):
        check_choice("format", name, FORMATS)
        missing = [package for package in FORMATS[name].packages if importlib.util.find_spec(package) is None]
        if missing:
            rule = f"needs the package{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            remedy = f"pip install {' '.join(ONNX)}, or choose --format safetensors --format torch"
            raise ConfigError(f"format '{name}'", rule=rule, remedy=remedy)
    return tuple(dict.fromkeys(names)) or tuple(FORMATS)


def _exported(network: Deployed) -> Any:
    return torch.export.export(network, (network.example(),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep exporters' warnings about their own insides from the user, who can do nothing about them."""
    loud = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "root", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loud]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loud:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loud, levels, strict=True):
                logger.setLevel(level)


def label_onnx(path: Path, texts: dict[str, Any]) -> None:
    """Write texts into an ONNX file's metadata, such as class names and what the inputs are."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {name: json.dumps(text) for name, text in texts.items()})
    onnx.save(model, path)
