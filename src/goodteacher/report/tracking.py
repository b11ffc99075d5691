"""Trackers of other houses, fed by the events that progress is shown from; none is on unless it is named."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from goodteacher.base.errors import ConfigError, check_choice
from goodteacher.base.events import Event, Sink


class Followed(Protocol):
    """One training as a tracker sees it."""

    def log(self, values: dict[str, float], epoch: int) -> None:
        """Take the numbers of an epoch."""

    def end(self, failed: bool) -> None:
        """Close it."""


class TensorBoard:
    """Event files of TensorBoard, one folder per training."""

    def __init__(self, study: str, name: str, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard" / study / name))

    def log(self, values: dict[str, float], epoch: int) -> None:
        """Write scalars."""
        for key, value in values.items():
            self.writer.add_scalar(key, value, epoch)
        self.writer.flush()

    def end(self, failed: bool) -> None:
        """Close the file."""
        self.writer.close()


class MLflow:
    """A run of MLflow in an experiment named as the study, on the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, study: str, name: str, folder: Path) -> None:
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient()
        experiment = self.client.get_experiment_by_name(study)
        place = experiment.experiment_id if experiment is not None else self.client.create_experiment(study)
        self.run = self.client.create_run(place, run_name=name).info.run_id

    def log(self, values: dict[str, float], epoch: int) -> None:
        """Log metrics."""
        for key, value in values.items():
            self.client.log_metric(self.run, key, value, step=epoch)

    def end(self, failed: bool) -> None:
        """Say how it ended."""
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


class WandB:
    """A run of Weights & Biases in project ``goodteacher``, grouped by study."""

    def __init__(self, study: str, name: str, folder: Path) -> None:
        import wandb

        place = folder / "wandb"
        place.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(project="goodteacher", group=study, name=name, dir=str(place), reinit="create_new")

    def log(self, values: dict[str, float], epoch: int) -> None:
        """Log metrics."""
        self.run.log(values, step=epoch)

    def end(self, failed: bool) -> None:
        """Say how it ended."""
        self.run.finish(exit_code=int(failed))


@dataclass(frozen=True)
class TrackerRow:
    """A tracker: what follows a training, and the package it needs."""

    follow: Callable[[str, str, Path], Followed]
    package: str


TRACKERS = {
    "tensorboard": TrackerRow(TensorBoard, "tensorboard"),
    "mlflow": TrackerRow(MLflow, "mlflow"),
    "wandb": TrackerRow(WandB, "wandb"),
}


def check_trackers(names: Sequence[str]) -> None:
    """Raise `ConfigError` for an unknown tracker, or one whose package is not installed."""
    for name in names:
        check_choice("tracker", name, TRACKERS)
        package = TRACKERS[name].package
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"tracker '{name}'", rule=f"needs the package {package}", remedy=f"pip install {package}")


@contextlib.contextmanager
def tracked(names: Sequence[str], study: str, folder: Path, tell: Sink) -> Iterator[Sink]:
    """Tell trackers of every epoch inside the block, beside whoever is told already.

    Args:
        names: keys of `TRACKERS`; none by default.
        study: its name.
        folder: where trackers that write files put them.
        tell: receives every event first.

    Yields:
        Where events go.

    Raises:
        ConfigError: for an unknown tracker, or one whose package is not installed.
    """
    check_trackers(names)
    open_now: dict[str, list[Followed]] = {}

    def told(event: Event) -> None:
        tell(event)
        if event.kind == "epoch":
            if event.name not in open_now:
                open_now[event.name] = [TRACKERS[name].follow(study, event.name, folder) for name in names]
            for tracker in open_now[event.name]:
                tracker.log(numbers(event.record), int(event.record["epoch"]))
        elif event.kind in ("finished", "failed"):
            for tracker in open_now.pop(event.name, []):
                tracker.end(event.kind == "failed")

    try:
        yield told if names else tell
    finally:
        # What is still open was interrupted.
        for trackers in open_now.values():
            for tracker in trackers:
                tracker.end(True)


def numbers(record: Any) -> dict[str, float]:
    """Return the numbers of an epoch's record under flat names.

    Example:
        >>> numbers({"epoch": 3, "lr": 0.1, "loss": {"kd": 0.5}, "validation": {"brier": 0.2}})
        {'lr': 0.1, 'loss/kd': 0.5, 'validation/brier': 0.2}
    """
    found = {"lr": float(record["lr"])} if "lr" in record else {}
    for group in ("loss", "validation"):
        found |= {f"{group}/{name}": float(value) for name, value in record.get(group, {}).items()}
    return found
