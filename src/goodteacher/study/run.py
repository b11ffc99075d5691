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

import torch
from torch import Tensor, nn

from goodteacher.base.errors import StoreError
from goodteacher.base.input_spec import InputSpec
from goodteacher.base.seeds import undisturbed
from goodteacher.base.types import Probabilities
from goodteacher.data.facts import Facts
from goodteacher.maps.table import fitted_from
from goodteacher.maps.target_map import Identity, TargetMap, kind_of
from goodteacher.methods.preparation import Prepared
from goodteacher.models.taps import TappedModel
from goodteacher.study.build import Measured, measure, rebuild
from goodteacher.study.kept_networks import recall_network
from goodteacher.study.result import RunResult
from goodteacher.study.runspec import RunSpec
from goodteacher.train.checkpoint import load_tensors, load_weights
from goodteacher.train.predict import probabilities_of
from goodteacher.train.records import read_json, read_records, write_json

FORMAT = 3
# Format 2 did not say what a network expects to see; everything in it is read on.
READ = (2, FORMAT)
# Beside a problem's facts: the hashes of its examples.
ROWS = "rows.safetensors"


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
    def spec(self) -> RunSpec:
        """Everything that decided its numbers."""
        return RunSpec.read(checked_format(self.path / "spec.json")["run"])

    @cached_property
    def result(self) -> RunResult:
        """The checkpoint kept, seconds, precision, alarms, environment."""
        return RunResult.read(read_json(self.path / "result.json"))

    @property
    def records(self) -> list[dict[str, Any]]:
        """One event per epoch."""
        return read_records(self.path / "records.jsonl")

    @cached_property
    def input_spec(self) -> InputSpec | None:
        """What its network expects to see; None where an earlier version did not write it down."""
        stored = checked_format(self.path / "spec.json").get("inputs")
        return InputSpec.read(stored) if stored else self.spec.input_spec(self.facts)

    def outputs_file(self, name: str, problem: str) -> Path:
        """Return the file of saved outputs on a problem, its own or another, by the problem's fingerprint."""
        where = "" if problem == self.spec.problem else f"on-{problem}-"
        return self.path / "outputs" / f"{where}{name}.safetensors"

    def outputs(self, split: str, *, checkpoint: str = "kept", problem: str | None = None) -> Tensor:
        """Return the logits ``(N, C)`` of a split by the ``kept`` or the ``last`` checkpoint.

        Args:
            split: ``validation`` or ``test``.
            checkpoint: which one.
            problem: fingerprint of the problem whose examples are meant; by default the one it was trained on.

        Raises:
            StoreError: if they were not saved.
        """
        path = self.outputs_file(checkpoint, problem or self.spec.problem)
        if checkpoint == "last" and not path.exists():
            path = self.outputs_file("kept", problem or self.spec.problem)
        tensors = load_tensors(path)
        if split not in tensors:
            raise StoreError(
                f"outputs of run {self.id}", rule=f"hold {', '.join(sorted(tensors))}", received=repr(split)
            )
        return tensors[split]

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """Labels, and where known truth and votes, of validation and test: ``validation.labels``, ``test.truth``, ..."""
        return load_tensors(self.root / "problems" / self.spec.problem / "targets.safetensors")

    @cached_property
    def facts(self) -> Facts:
        """What is known of its problem."""
        return read_facts(self.root / "problems" / self.spec.problem)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The trained network's weights."""
        return load_tensors(self.path / "model.safetensors")

    @cached_property
    def model(self) -> nn.Module:
        """The trained network, a plain `torch.nn.Module` in eval mode."""
        recall_network(self.spec.model_name, self.spec.input_shape(self.facts), self.root)
        with undisturbed():  # a network is initialised before its weights are loaded
            model = rebuild(self.spec, self.facts, self._teacher)
        load_weights(model, self.weights, f"run {self.id}")
        self._recognise(model.eval())
        return model

    @torch.no_grad()
    def _recognise(self, network: nn.Module) -> None:
        """Raise `StoreError` unless a rebuilt network answers the inputs kept with the run as it did when it was trained."""
        kept = self.extra("check")
        if kept is None:
            return
        logits = TappedModel(network)(kept["inputs"]).logits.float()
        if logits.shape != kept["logits"].shape or not torch.allclose(logits, kept["logits"], rtol=1e-3, atol=1e-3):
            away = (
                f"{float((logits - kept['logits']).abs().max()):.3g} away in the worst logit"
                if logits.shape == kept["logits"].shape
                else f"answers of shape {tuple(logits.shape)}"
            )
            raise StoreError(
                f"network of run {self.id}",
                rule="must answer as it did when it was trained",
                received=away,
                remedy="its code or its files have changed since: bring them back, or train anew",
            )

    def predict(self, values: Any) -> Probabilities:
        """Return the network's probabilities for raw inputs.

        Pictures are fitted, normalised and resized as those it was trained on; nothing is to be done to them beforehand.

        Args:
            values: pictures of whole numbers from 0 to 255, ``(N, H, W)`` or ``(N, H, W, 1 or 3)`` of any size; or a sequence of
                pictures, of files or of PIL images; or vectors ``(N, D)``.

        Returns:
            ``(N, C)`` float32; `Facts.class_names` of ``run.facts`` names the columns.

        Raises:
            DataError: if the values are no inputs of this kind.
            StoreError: if the run is of an earlier version, which did not write down what its network sees.

        Example:
            >>> import tempfile, goodteacher as gt
            >>> problem = gt.load("digits", subset=5)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     run = gt.teach("mlp", problem, epochs=1, out=folder)
            ...     tuple(run.predict(problem.test.inputs.tensor[:3]).shape)
            (3, 10)
        """
        made, spec = self.path_of_inputs()
        return probabilities_of(self.model, values, made=made, spec=spec)

    def path_of_inputs(self) -> tuple[InputSpec, InputSpec]:
        """Return what raw inputs become on their way to the network: what its problem makes of them, and what it sees.

        Raises:
            StoreError: if the run is of an earlier version, which did not write that down.
        """
        made, spec = self.facts.inputs, self.input_spec
        if made is None or spec is None:
            raise StoreError(
                f"run {self.id}",
                rule="must say what its network expects to see",
                received="a run of an earlier version",
                remedy="run any study on its own data with this store once: that writes it down",
            )
        return made, spec

    def _teacher(self) -> Measured:
        """Return the network that taught this one."""
        assert self.spec.teaching is not None, "only a run with a teacher holds parts of one"
        run = self.sibling(self.spec.teaching.runs[0])
        network = run.model.teacher if isinstance(run.model, Prepared) else run.model
        return measure(network, run.spec.input_shape(run.facts))

    @property
    def root(self) -> Path:
        """The folder of its store."""
        return self.path.parent.parent

    def sibling(self, run: str) -> Run:
        """Return another run of the same store."""
        return Run(self.path.parent / run)

    def views(self, split: str, count: int, *, problem: str) -> Tensor:
        """Return ``(V, N, C)`` logits of so many augmented views of a split of a problem.

        Raises:
            StoreError: if they were not saved.
        """
        path = self.outputs_file(f"views{count}", problem)
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
        loss = " + ".join(self.spec.loss)
        return f"{self.id}: {self.spec.kind} {self.spec.model_name}, {loss}, seed {self.spec.seed}"


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


def read_facts(folder: Path) -> Facts:
    """Return what is known of a problem from its folder in a store.

    Raises:
        StoreError: if it is missing, damaged, or was written by another version.
    """
    stored = checked_format(folder / "facts.json")
    # Only what earlier versions wrote needs the tensors to say what is known.
    tensors = () if "knows_truth" in stored else load_tensors(folder / "targets.safetensors")
    return Facts.read(stored, fingerprint=folder.name, tensors=tensors)


def checked_format(path: Path) -> dict[str, Any]:
    """Read a JSON file of the store, and refuse one of another format.

    Raises:
        StoreError: if it is missing, damaged, or was written by another version.
    """
    value: dict[str, Any] = read_json(path)
    if value.get("format") not in READ:
        raise StoreError(
            f"store at {path.parent}",
            rule=f"must have format {' or '.join(map(str, READ))}",
            received=value.get("format"),
            remedy="it was written by another version of goodteacher: use another --out, or that version",
        )
    return value
