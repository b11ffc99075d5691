"""Finished runs on disk, by content hash; a folder appears whole or not at all.

runs/<id>/spec.json result.json records.jsonl model.safetensors outputs/{kept,last,train,probes,...}.safetensors maps/
maps/<hash>/                                              (of teachers made of several runs)
problems/<fingerprint>/facts.json targets.safetensors rows.safetensors
training/<training id>/checkpoint.pt records.jsonl        (only while training)
studies/<name>/study.json plan.json report.html ...
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from torch import Tensor

from goodteacher.base.errors import StoreError, suggest
from goodteacher.base.input_spec import InputSpec
from goodteacher.data.facts import Facts
from goodteacher.data.problem import Problem
from goodteacher.study.planned import Cell, Plan
from goodteacher.study.result import RunResult
from goodteacher.study.run import FORMAT, ROWS, Run, checked_format, read_facts
from goodteacher.study.runspec import RunSpec
from goodteacher.train.checkpoint import save_tensors
from goodteacher.train.infer import quick_scores
from goodteacher.train.records import read_json, write_json

# Fewer characters than this are a word of something else, such as a model.
SHORTEST = 4


class Store:
    """A folder of runs that studies share.

    Args:
        root: made if missing.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def has(self, run: str) -> bool:
        """Say whether a run is finished."""
        return (self.root / "runs" / run / "result.json").exists()

    def find(self, name: str) -> str | None:
        """Return the id of the finished run that a name stands for: an id, its folder, or a beginning no other run shares.

        Raises:
            StoreError: if several runs begin so.
        """
        text = Path(name).name
        if self.has(text):
            return text
        matches = [path.name for path in self.runs() if len(text) >= SHORTEST and path.name.startswith(text)]
        if len(matches) > 1:
            raise StoreError(
                f"run {text}",
                rule="must be the beginning of one run's id",
                received=f"that of {len(matches)}: {', '.join(matches[:5])}",
                remedy="give more of it",
            )
        return matches[0] if matches else None

    def run(self, run: str) -> Run:
        """Return a finished run, by its id or a beginning of it that no other run shares.

        Raises:
            StoreError: if there is none of that id, or it was written in another format.
        """
        found = self.find(run)
        if found is None:
            known = [p.name for p in self.runs()]
            raise StoreError(
                f"run {run}",
                rule=f"must be finished in {self.root}",
                received="no such run",
                remedy=suggest(run, known) if known else "the store is empty",
            )
        path = self.root / "runs" / found
        checked_format(path / "spec.json")
        return Run(path)

    def runs(self) -> list[Path]:
        """Return the folders of all finished runs."""
        folder = self.root / "runs"
        return sorted(p for p in folder.iterdir() if (p / "result.json").exists()) if folder.exists() else []

    def training_folder(self, training: str) -> Path:
        """Return the folder of a training under way."""
        return self.root / "training" / training

    @contextlib.contextmanager
    def claim(self, trainings: list[str]) -> Iterator[None]:
        """Hold trainings for this process; the system lets go of them however the process ends.

        Raises:
            StoreError: if another process is training one of them.
        """
        with contextlib.ExitStack() as stack:
            for training in sorted(trainings):
                folder = self.training_folder(training)
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    stack.enter_context(FileLock(folder / "lock", timeout=0))
                except Timeout:
                    raise StoreError(
                        f"training {training}",
                        rule="is under way in another process",
                        remedy="wait for it, or use another --out",
                    ) from None
            yield

    def add_problem(self, problem: Problem, facts: Facts) -> None:
        """Keep a problem's labels and facts, so that reports need no data."""
        folder = self.root / "problems" / facts.fingerprint
        if (folder / "facts.json").exists():
            if (
                read_facts(folder).inputs is None
            ):  # of an earlier version, which did not say what networks expect to see
                save_tensors(folder / ROWS, problem.hashes)
                write_json(folder / "facts.json", {"format": FORMAT, **facts.stored()})
            return
        tensors = {}
        # Training labels are kept only where training examples can be judged: by known truth or by further votes.
        judged = problem.train.truth is not None or problem.train.votes is not None
        splits = {"validation": problem.validation, "test": problem.test} | ({"train": problem.train} if judged else {})
        for name, split in splits.items():
            for field in ("labels", "truth", "votes"):
                value = getattr(split, field)
                if value is not None:
                    tensors[f"{name}.{field}"] = value
        save_tensors(folder / "targets.safetensors", tensors)
        save_tensors(folder / ROWS, problem.hashes)
        write_json(folder / "facts.json", {"format": FORMAT, **facts.stored()})

    def add_run(
        self,
        spec: RunSpec,
        *,
        weights: dict[str, Tensor],
        outputs: dict[str, dict[str, Tensor]],
        result: RunResult,
        inputs: InputSpec | None,
        records: Path | None = None,
    ) -> Run:
        """Add a finished run; its folder appears whole.

        Args:
            spec: what was run.
            weights: of the kept checkpoint.
            outputs: ``kept`` and, where it differs, ``last``: logits by split; and whatever else is to be kept, by name.
            result: what else is to be known.
            inputs: what the network expects to see.
            records: file to copy, if there is one.

        Returns:
            The run.
        """
        final = self.root / "runs" / spec.id
        final.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=final.parent, prefix=".new-"))
        try:
            write_json(
                folder / "spec.json",
                {"format": FORMAT, "run": asdict(spec), "inputs": inputs.stored() if inputs else None},
            )
            save_tensors(folder / "model.safetensors", weights)
            for checkpoint, logits in outputs.items():
                save_tensors(folder / "outputs" / f"{checkpoint}.safetensors", logits)
            if records is not None and records.exists():
                shutil.copyfile(records, folder / "records.jsonl")
            write_json(folder / "result.json", result.stored())
            if not self.has(spec.id):
                if final.exists():
                    shutil.rmtree(final)
                folder.chmod(0o755)
                os.rename(folder, final)  # noqa: PTH104 - the atomic one
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Run(final)

    def finish_training(self, training: str) -> None:
        """Remove a training's working folder."""
        shutil.rmtree(self.training_folder(training), ignore_errors=True)

    def study_folder(self, name: str) -> Path:
        """Return a study's folder."""
        return self.root / "studies" / name

    def add_study(self, plan: Plan) -> Path:
        """Keep a study and its plan. Return its folder.

        Raises:
            StoreError: if a study of the same name on other data is there, and is not an earlier state of the same study file.
        """
        folder, file = self.study_folder(plan.study.name), plan.study.file
        if (folder / "plan.json").exists():
            kept = read_json(folder / "plan.json")
            changed = bool(file) and kept.get("file") == file
            if kept.get("problem") != plan.facts.fingerprint and not changed:
                raise StoreError(
                    f"study '{plan.study.name}'",
                    rule=f"is in {self.root} already, on other data",
                    received=f"{plan.facts.name} ({plan.facts.fingerprint})",
                    remedy="name this one otherwise (--set name=...), or use another --out",
                )
        write_json(folder / "study.json", plan.study.model_dump(mode="json"))
        write_json(folder / "plan.json", {"format": FORMAT, "file": file, **plan.stored()})
        return folder

    def table(self) -> pd.DataFrame:
        """Return all finished runs as a tidy table: one row per run and checkpoint, with its scores on validation and test."""
        rows = []
        for path in self.runs():
            run = Run(path)
            checked_format(path / "spec.json")
            for checkpoint in ("kept", "last"):
                scores: dict[str, Any] = {}
                for split in ("validation", "test"):
                    logits = run.outputs(split, checkpoint=checkpoint)
                    named = quick_scores(logits, run.targets[f"{split}.labels"])
                    scores |= {f"{split}_{k}": v for k, v in named.items()}
                rows.append(
                    {
                        "run": run.id,
                        "checkpoint": checkpoint,
                        "kind": run.spec.kind,
                        "model": run.spec.model_name,
                        "loss": " + ".join(run.spec.loss),
                        "keep": run.spec.keep,
                        "seed": run.spec.seed,
                        "problem": run.facts.name,
                        "epoch": run.result.epoch,
                        "seconds": run.result.seconds,
                        **scores,
                    }
                )
        return pd.DataFrame(rows)


def load_study(folder: Path) -> tuple[Store, Plan]:
    """Return the store and the plan of a study's folder.

    Raises:
        StoreError: if it is no study's folder, or of another format.
    """
    store, stored = Store(folder.parent.parent), checked_format(folder / "plan.json")
    return store, Plan.read(stored if "runs" in stored else _completed(stored, folder, store))


def _completed(stored: dict[str, Any], folder: Path, store: Store) -> dict[str, Any]:
    """Return a plan of earlier versions, which named teachers and cells alone, with what the rest of the store says.

    Runs that are not finished are left out, for nothing says what they are.
    """
    cells = [Cell(**cell) for cell in stored["cells"]]
    names: dict[str, str] = {}
    for row in stored["teachers"]:
        for run in row["runs"]:
            names.setdefault(run, f"{row['arm']}/{row['seed']}")
    for cell in cells:
        names.setdefault(cell.run, cell.name)
    return {
        **stored,
        "study": read_json(folder / "study.json"),
        "facts": read_facts(store.root / "problems" / stored["problem"]).stored(),
        "runs": {run: asdict(store.run(run).spec) for run in names if store.has(run)},
        "names": names,
    }


def find_studies(path: Path) -> list[Path]:
    """Return the study folders at or below a path a user gave: a study, or a store.

    Raises:
        StoreError: if there is none.
    """
    if (path / "plan.json").exists():
        return [path]
    found = sorted(p.parent for p in (path / "studies").glob("*/plan.json"))
    if not found:
        raise StoreError(f"folder {path}", rule="must be a study or hold studies", received="no plan.json")
    return found
