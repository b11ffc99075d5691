"""Run an exported file on held-out data and compare it with the network it came from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, ExportError
from goodteacher.base.stats import Estimate, mean_interval, paired_proportions
from goodteacher.base.types import Labels
from goodteacher.data.problem import Problem
from goodteacher.ship.deployed import Deployed
from goodteacher.ship.formats import FORMATS, Answer
from goodteacher.study.footprint import milliseconds
from goodteacher.study.run import Run
from goodteacher.study.seen import training_rows

BATCH = 64
# Largest difference of a probability that rounding explains; other kernels add up in another order.
ROUNDING = 1e-3


@dataclass(frozen=True)
class Check:
    """What came of running a file on held-out examples.

    Attributes:
        format: its key in `FORMATS`.
        file: its name.
        bytes: its size.
        difference: largest difference of a probability from the network's own.
        accuracy: of the file.
        loss: accuracy of the network minus the file's, paired by example.
        milliseconds: per call on this machine, median, by batch size.
    """

    format: str
    file: str
    bytes: int
    difference: float
    accuracy: Estimate
    loss: Estimate
    milliseconds: dict[int, float]

    def stored(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        ends = {name: {"mean": e.mean, "low": e.low, "high": e.high, "n": e.n} for name, e in self._estimates.items()}
        return {**asdict(self), **ends}

    @property
    def _estimates(self) -> dict[str, Estimate]:
        return {"accuracy": self.accuracy, "loss": self.loss}


def held_out_rows(run: Run, problem: Problem) -> tuple[Tensor, Labels]:
    """Return raw test inputs that a run was not trained on, with their labels.

    Raises:
        ConfigError: if none are left, or the inputs are not of the run's size.
    """
    made = run.facts.inputs
    if made is None or problem.spec.shape != made.shape or problem.class_names != run.facts.class_names:
        raise ConfigError(
            f"data '{problem.name}'",
            rule=f"must have the classes and the inputs {made.shape if made else ''} that run {run.id} was trained on",
            received=f"{problem.classes} classes, inputs {problem.spec.shape}",
        )
    rows, trained = torch.arange(len(problem.test)), training_rows(run)
    if trained is not None:
        rows = rows[~torch.isin(problem.hashes["test"], trained)]
    if not len(rows):
        raise ConfigError(f"run {run.id}", rule="must be checked on examples it was not trained on", received="none")
    return problem.test.inputs.rows(rows), problem.test.labels[rows]


def check_file(name: str, path: Path, network: Deployed, inputs: Tensor, labels: Labels, *, max_loss: float) -> Check:
    """Return what came of running a file, which must answer as its network does.

    Args:
        name: of the format.
        path: of the file.
        network: that it was written from.
        inputs: raw, held-out.
        labels: of the inputs.
        max_loss: share of accuracy that a file of fewer bits may lose.

    Raises:
        ExportError: if it answers otherwise.
    """
    row = FORMATS[name]
    answer = row.opened(path, network)
    ours, theirs = _answers(network, inputs), _answers(answer, inputs)
    right, kept = ours.argmax(dim=1) == labels, theirs.argmax(dim=1) == labels
    difference, loss = float((ours - theirs).abs().max()), paired_proportions(right.tolist(), kept.tolist())
    if row.exact and not difference <= ROUNDING:
        raise ExportError(
            f"file {path.name}",
            rule=f"must answer as the network does, to {ROUNDING:g}",
            received=f"{difference:.3g} away in the worst of {len(labels)} held-out examples",
        )
    if loss.low > max_loss:
        raise ExportError(
            f"file {path.name}",
            rule=f"may lose {100 * max_loss:g} points of accuracy",
            received=f"{100 * loss.mean:.2f} [{100 * loss.low:.2f}, {100 * loss.high:.2f}] on {loss.n} held-out examples",
            remedy="distil while quantising with --qat, or allow more with --max-loss",
        )
    accuracy = mean_interval(kept.double().tolist())
    times = {count: milliseconds(answer, inputs[torch.arange(count) % len(inputs)]) for count in (1, BATCH)}
    return Check(name, path.name, path.stat().st_size, difference, accuracy, loss, times)


@torch.no_grad()
def _answers(answer: Answer, inputs: Tensor) -> Tensor:
    return torch.cat([answer(batch) for batch in inputs.split(BATCH)])
