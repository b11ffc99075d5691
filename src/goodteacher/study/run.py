"""A finished run on disk: one trained network with its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from goodteacher.base.errors import StoreError
from goodteacher.teachers.targets import Identity, Linear, TargetMap, Temperature, parse_map
from goodteacher.train.checkpoint import load_tensors, load_weights
from goodteacher.train.records import read_json, read_records, write_json

FORMAT = 1
FITTED = {"Identity": Identity, "Temperature": Temperature, "Linear": Linear}


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
        return load_tensors(self.path.parent.parent / "problems" / self.spec["problem"] / "targets.safetensors")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What is known of its problem."""
        value: dict[str, Any] = checked_format(
            self.path.parent.parent / "problems" / self.spec["problem"] / "facts.json"
        )
        return value

    @cached_property
    def model(self) -> nn.Module:
        """The trained network, a plain `torch.nn.Module` in eval mode."""
        from goodteacher.study.assemble import rebuild  # which reads runs itself: teachers of teachers

        model = rebuild(self)
        load_weights(model, load_tensors(self.path / "model.safetensors"), f"run {self.id}")
        return model.eval()

    def sibling(self, run: str) -> Run:
        """Return another run of the same store."""
        return Run(self.path.parent / run)

    def target_map(self, spec: Mapping[str, Any]) -> TargetMap:
        """Return a target map fitted on this run's validation outputs; it is fitted once and kept beside the run."""
        (name,) = spec
        if name == "identity":
            return Identity()
        path = self.path / "maps" / f"{_short_name(spec)}.json"
        if path.exists():
            saved = read_json(path)
            built: TargetMap = FITTED[saved["kind"]](**saved["state"])
            return built
        fitted = parse_map(dict(spec)).fit(self.outputs("validation"), self.targets["validation.labels"])
        write_json(path, {"kind": type(fitted).__name__, "state": fitted.state(), "spec": dict(spec), "map": name})
        return fitted

    def describe(self) -> str:
        """Return one line: id, model, loss, seed."""
        loss = " + ".join(self.spec["loss"])
        return f"{self.id}: {self.spec['kind']} {next(iter(self.spec['model']))}, {loss}, seed {self.spec['seed']}"


def _short_name(spec: Mapping[str, Any]) -> str:
    (name,) = spec
    options = "-".join(f"{k}={v}" for k, v in sorted((spec[name] or {}).items()) if v is not None)
    return f"{name}-{options}" if options else name


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
