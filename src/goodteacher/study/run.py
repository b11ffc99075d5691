"""A finished run on disk: one trained network with its outputs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from goodteacher.base.errors import StoreError
from goodteacher.maps.table import fitted_from
from goodteacher.maps.target_map import Identity, TargetMap, kind_of
from goodteacher.train.checkpoint import load_tensors, load_weights
from goodteacher.train.records import read_json, read_records, write_json

FORMAT = 2


@dataclass(frozen=True)
class Run:
    """A finished run: one trained network with its outputs.

    Attributes:
        path: its folder.
    """

    path: Path

    @property
    def id(self) -> str:
        """Content hash."""
        return self.path.name

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Everything that decided its numbers."""
        value: dict[str, Any] = checked_format(self.path / "spec.json")["run"]
        return value

    @cached_property
    def result(self) -> dict[str, Any]:
        """The checkpoint kept, seconds, precision, alarms, environment."""
        value: dict[str, Any] = read_json(self.path / "result.json")
        return value

    @property
    def records(self) -> list[dict[str, Any]]:
        """One event an epoch."""
        return read_records(self.path / "records.jsonl")

    def outputs(self, split: str, *, checkpoint: str = "kept") -> Tensor:
        """Return the logits ``(N, C)`` of a split by the ``kept`` or the ``last`` checkpoint.

        Raises:
            StoreError: if they were not saved.
        """
        path = self.path / "outputs" / f"{checkpoint}.safetensors"
        if checkpoint == "last" and not path.exists():
            path = self.path / "outputs" / "kept.safetensors"
        tensors = load_tensors(path)
        if split not in tensors:
            raise StoreError(
                f"outputs of run {self.id}", rule=f"hold {', '.join(sorted(tensors))}", received=repr(split)
            )
        return tensors[split]

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """Labels, and where known truth and votes, of validation and test: ``validation.labels``, ``test.truth``, ..."""
        return load_tensors(self.root / "problems" / self.spec["problem"] / "targets.safetensors")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What is known of its problem."""
        value: dict[str, Any] = checked_format(self.root / "problems" / self.spec["problem"] / "facts.json")
        return value

    @property
    def weights(self) -> dict[str, Tensor]:
        """The trained network's weights."""
        return load_tensors(self.path / "model.safetensors")

    @cached_property
    def model(self) -> nn.Module:
        """The trained network, a plain `torch.nn.Module` in eval mode."""
        from goodteacher.study.assemble import rebuild  # which reads runs itself: teachers of teachers

        model = rebuild(self)
        load_weights(model, self.weights, f"run {self.id}")
        return model.eval()

    @property
    def root(self) -> Path:
        """The folder of its store."""
        return self.path.parent.parent

    def sibling(self, run: str) -> Run:
        """Return another run of the same store."""
        return Run(self.path.parent / run)

    def views(self, split: str, count: int) -> Tensor:
        """Return ``(V, N, C)`` logits of so many augmented views of a split.

        Raises:
            StoreError: if they were not saved.
        """
        path = self.path / "outputs" / f"views{count}.safetensors"
        if not path.exists():
            raise StoreError(
                f"augmented views of run {self.id}", rule="must be saved to be averaged", received=f"none of {count}"
            )
        return load_tensors(path)[split]

    def extra(self, name: str) -> dict[str, Tensor] | None:
        """Return what else was saved (``train`` logits, the ``table`` of averages, a ``fold``, ``probes``), or None."""
        path = self.path / "outputs" / f"{name}.safetensors"
        return load_tensors(path) if path.exists() else None

    def describe(self) -> str:
        """Return one line: id, model, loss, seed."""
        loss = " + ".join(self.spec["loss"])
        return f"{self.id}: {self.spec['kind']} {next(iter(self.spec['model']))}, {loss}, seed {self.spec['seed']}"


def fitted_map(folder: Path, spec: Mapping[str, Any], fit: Callable[[], TargetMap]) -> TargetMap:
    """Return a fitted target map, from its file where there is one; fitted and written there otherwise.

    Args:
        folder: of the maps of one teacher.
        spec: the map's name to its options.
        fit: makes it.
    """
    (name,) = spec
    if name == "identity":
        return Identity()
    text = json.dumps(dict(spec), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[:40]}-{digest}.json"
    if path.exists():
        saved = read_json(path)
        return fitted_from(saved["kind"], saved["state"])
    fitted = fit()
    write_json(path, {"kind": kind_of(fitted), "state": fitted.state(), "spec": dict(spec), "map": name})
    return fitted


def checked_format(path: Path) -> dict[str, Any]:
    """Read a JSON file of the store, and refuse one of another format.

    Raises:
        StoreError: if it is missing, damaged, or was written by another version.
    """
    value: dict[str, Any] = read_json(path)
    if value.get("format") != FORMAT:
        raise StoreError(
            f"store at {path.parent}",
            rule=f"must have format {FORMAT}",
            received=value.get("format"),
            remedy="it was written by another version of goodteacher: use another --out, or that version",
        )
    return value
