"""Which held-out examples a network was trained on: scores on those are no held-out scores, wherever the network came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError
from goodteacher.data.problem import Problem
from goodteacher.study.run import ROWS, Run
from goodteacher.train.checkpoint import load_tensors

HELD_OUT = ("validation", "test")


def problem_rows(root: Path, fingerprint: str) -> dict[str, Tensor] | None:
    """Return the hashes of a problem's examples by split, ``(N,)`` int64 each, or None where no store wrote them down."""
    path = root / "problems" / fingerprint / ROWS
    return load_tensors(path) if path.exists() else None


def training_rows(run: Run) -> Tensor | None:
    """Return the hashes of all examples a run's network was trained on, those of the run it started from among them.

    A network of a fold counts the whole training split: that none of it is held-out for others is what matters here.

    Returns:
        ``(M,)`` int64, or None where an earlier version did not write them down.
    """
    rows = problem_rows(run.root, run.spec.problem)
    before = (
        training_rows(run.sibling(run.spec.start)) if run.spec.start is not None else torch.empty(0, dtype=torch.int64)
    )
    return None if rows is None or before is None else torch.cat([before, rows["train"]])


def seen_examples(run: Run, rows: Mapping[str, Tensor]) -> dict[str, int] | None:
    """Return how many examples of each held-out split a run was trained on.

    Args:
        run: of any problem.
        rows: hashes of the examples in question, by split.

    Returns:
        Split to count; None where it is not known what the run was trained on.
    """
    trained = training_rows(run)
    return None if trained is None else {name: int(torch.isin(rows[name], trained).sum()) for name in HELD_OUT}


def seen_notes(runs: Iterable[Run], problem: Problem) -> list[str]:
    """Return what a page must say of finished runs from other problems: which held-out examples they have seen."""
    notes = []
    for run in runs:
        if run.spec.problem == problem.fingerprint:
            continue
        found = seen_examples(run, problem.hashes)
        if found is None:
            notes.append(
                f"Teacher run {run.id} is from {run.facts.name}. Which examples it was trained on is not written down, so its "
                "scores here may not be held-out."
            )
        elif any(found.values()):
            counts = described(found, problem.hashes)
            notes.append(
                f"Teacher run {run.id} was trained on {counts} of this problem: its scores on them are not held-out, and it is "
                "not ranked where validation is among them."
            )
    return notes


def check_unseen(run: Run, problem: Problem) -> None:
    """Raise `ConfigError` if a run was trained on validation examples that it is to be scored on."""
    if run.spec.problem == problem.fingerprint:
        return
    found = seen_examples(run, problem.hashes)
    if found is not None and found["validation"]:
        raise ConfigError(
            f"run {run.id}",
            rule="must be scored on examples that it has not seen",
            received=f"{described({'validation': found['validation']}, problem.hashes)} are among those it was trained on",
            remedy="rank it on data of which nothing went into its training",
        )


def described(found: Mapping[str, int], rows: Mapping[str, Tensor]) -> str:
    """Return counts in words.

    Example:
        >>> described({"validation": 5, "test": 0}, {"validation": torch.arange(40), "test": torch.arange(9)})
        '5 of 40 validation examples'
    """
    parts = [f"{count} of {len(rows[name])} {name}" for name, count in found.items() if count]
    return " and ".join(parts) + " examples"
