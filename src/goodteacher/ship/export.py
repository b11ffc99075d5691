"""Write a finished network as files that load anywhere, each checked on held-out data, with a card."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from goodteacher.base.errors import StoreError
from goodteacher.base.seeds import torch_stream
from goodteacher.data.problem import Problem
from goodteacher.ship.card import card
from goodteacher.ship.deployed import Deployed, deployed
from goodteacher.ship.formats import FORMATS, checked_formats, label_onnx, write
from goodteacher.ship.verify import Check, check_file, held_out_rows
from goodteacher.study.machine import environment
from goodteacher.study.origin import data_of
from goodteacher.study.run import Run
from goodteacher.train.records import read_json, write_atomically, write_json

CONFIG = "config.json"
CALIBRATED = 512


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: of all files.
        checks: what came of running each.
    """

    folder: Path
    checks: tuple[Check, ...]


def export(
    run: Run,
    to: str | Path,
    problem: Problem | None = None,
    *,
    formats: tuple[str, ...] = (),
    max_loss: float = 0.01,
    licence: str = "",
    for_int8: Run | None = None,
) -> Exported:
    """Write a finished run's network with its preprocessing, and check every file on held-out data.

    The folder appears whole or not at all: ``config.json``, a model card ``README.md`` and one file per format, which takes raw
    pictures ``(N, H, W, channels)`` uint8, or vectors, and answers probabilities ``(N, C)``.

    Args:
        run: finished.
        to: the folder; one of an earlier export is replaced.
        problem: whose test split the files are checked on and whose training inputs calibrate; by default the run's own data,
            loaded anew.
        formats: keys of `FORMATS`; all by default.
        max_loss: share of accuracy that a file of fewer bits may lose before it counts as a failure.
        licence: for the card, such as ``apache-2.0``.
        for_int8: the run that files of 8 bits are written from, see `trained_for_int8`; by default the run itself.

    Returns:
        The folder, and what came of running each file.

    Raises:
        ConfigError: for an unknown format, a missing package, or data that do not fit the run.
        ExportError: if a file does not answer as the network does.
        StoreError: if the folder holds something else.

    Example:
        >>> import tempfile, goodteacher as gt
        >>> problem = gt.load("digits", subset=10)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = gt.teach("mlp", problem, epochs=1, out=f"{folder}/store")
        ...     made = gt.export(run, f"{folder}/model", problem, formats=("safetensors", "torch"))
        ...     sorted(path.name for path in made.folder.iterdir())
        ['README.md', 'config.json', 'model.pt2', 'model.safetensors']
    """
    names, final = checked_formats(formats), Path(to)
    _check_folder(final)
    data = problem if problem is not None else data_of(run)
    inputs, labels = held_out_rows(run, data)
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=final.parent, prefix=".export-"))
    try:
        network, calibration, checks = deployed(run), _calibration(data), []
        for name in names:
            path, source = folder / FORMATS[name].file, run if FORMATS[name].exact else for_int8 or run
            write(name, deployed(source), calibration, path)
            if path.suffix == ".onnx":
                label_onnx(path, {"class_names": list(run.facts.class_names), "run": source.id})
            checks.append(check_file(name, path, deployed(run), inputs, labels, max_loss=max_loss))
        write_json(folder / CONFIG, _config(run, network, checks))
        text = card(run, data, network, checks, licence=licence, for_int8=for_int8)
        write_atomically(folder / "README.md", lambda file: file.write(text.encode()))
        folder.chmod(0o755)
        if final.exists():
            shutil.rmtree(final)
        os.rename(folder, final)  # noqa: PTH104 - the atomic one
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Exported(final, tuple(checks))


def _check_folder(folder: Path) -> None:
    """Raise `StoreError` unless a folder is free, or holds an earlier export."""
    if not folder.exists():
        return
    inside = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    earlier = folder / CONFIG
    if inside and not (earlier.is_file() and "goodteacher" in read_json(earlier)):
        raise StoreError(
            f"'{folder}'",
            rule="must be free, or hold an earlier export",
            received=inside[0].name,
            remedy="another --to",
        )


def _calibration(problem: Problem) -> Tensor:
    """Return raw training inputs drawn for calibration, the same each time."""
    order = torch.randperm(len(problem.train), generator=torch_stream(0, "calibration"))
    return problem.train.inputs.rows(order[:CALIBRATED])


def _config(run: Run, network: Deployed, checks: list[Check]) -> dict[str, Any]:
    example, machine = network.example(1), environment()
    return {
        "goodteacher": machine["goodteacher"],
        "run": run.id,
        "task": "image-classification" if run.facts.is_image else "tabular-classification",
        "class_names": list(run.facts.class_names),
        "input": {
            "name": network.input_name,
            "type": str(example.dtype).removeprefix("torch."),
            "shape": ["N", *example.shape[1:]],
            "preparation": "scaled to cover this size (bilinear), cut to it around the centre; no normalisation"
            if run.facts.is_image
            else "as in training; no normalisation",
        },
        "output": {"name": "probabilities", "type": "float32", "shape": ["N", run.facts.classes]},
        "network": {"model": run.spec.model, "made": network.made.stored(), "sees": network.wanted.stored()},
        "checks": [check.stored() for check in checks],
        "environment": machine,
    }
