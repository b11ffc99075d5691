"""What `goodteacher reproduce` runs: a job in, a finding out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from goodteacher.api import run_study
from goodteacher.base.errors import ConfigError, TrainingError
from goodteacher.data.problem import Problem
from goodteacher.diagnose.results import Results
from goodteacher.study.spec import StudySpec
from goodteacher_lab.finding import Finding

__all__ = ["BUDGETS", "Budget", "Finding", "Job", "Reproduction"]

Budget = Literal["minutes", "hours", "paper"]
BUDGETS: tuple[Budget, ...] = ("minutes", "hours", "paper")


PICTURES = "give an .npz file, a folder, or cifar10 or cifar100 after goodteacher fetch"


@dataclass(frozen=True)
class Job:
    """How a reproduction is to be run.

    Attributes:
        budget: its size.
        seeds: over what the budget says.
        epochs: over what the budget says.
        choices: parts of it to run, by kind: ``problem``, ``pair``, ``method``, ...; all of a kind that is absent.
        root: folder where data lie.
        images: image data in place of the paper's: an .npz file, a folder, or a source's name.
        loading: options of these data, such as ``confidence``.
        out: folder of the store.
        device: to train on.
        engine: as in `run_study`.
        workers: as in `run_study`.
        console: where progress is shown.
        quiet: show alarms and failures only.
    """

    budget: Budget = "minutes"
    seeds: int | None = None
    epochs: int | None = None
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    root: Path = Path("data")
    images: str | None = None
    loading: Mapping[str, Any] = field(default_factory=dict)
    out: Path = Path("goodteacher-runs")
    device: str = "cpu"
    engine: str = "local"
    workers: int = 1
    console: Console | None = None
    quiet: bool = False

    def need_pictures(self) -> None:
        """Raise `ConfigError` if no image data are given."""
        if self.images is None:
            raise ConfigError("--images", rule="must say where pictures are", received="nothing", remedy=PICTURES)

    @property
    def pictures(self) -> dict[str, Any]:
        """The image data in a study's words.

        Raises:
            ConfigError: if none are given.
        """
        self.need_pictures()
        return {"name": self.images, "root": str(self.root), **self.loading}

    @property
    def tag(self) -> str:
        """What the names of studies end on, so that those of different budgets lie apart."""
        return "" if self.budget == "paper" else f"-{self.budget}"

    def say(self, text: str) -> None:
        """Print a line of progress."""
        if self.console is not None and not self.quiet:
            self.console.print(text, markup=False, highlight=False)

    def run(self, study: StudySpec, problem: Problem | None = None, *, whole: bool = True) -> Results:
        """Run a study as ordered and return its results.

        Args:
            study: what to run.
            problem: its data, if they are loaded already.
            whole: whether every run is needed; a table that fills up bears gaps.

        Raises:
            TrainingError: if a run that is needed failed; the others are kept.
        """
        # A reproduction of another size is on other data, and takes the place of the one before.
        finished = run_study(
            study.of_file("reproduce"), problem, out=self.out, device=self.device, engine=self.engine, workers=self.workers,
            page=True, console=self.console, quiet=self.quiet,
        )  # fmt: skip
        failed = finished.summary.failed
        if whole and failed:
            run, why = next(iter(failed.items()))
            raise TrainingError(
                f"study '{study.name}'",
                rule="needs all of its runs",
                received=f"{len(failed)} failed, the first '{run}': {why}",
                remedy="the others are kept; the same command trains these again",
            )
        return finished.results


@dataclass(frozen=True)
class Reproduction:
    """A row of the table of reproductions.

    Attributes:
        run: does it.
        source: paper and figure or table.
        cost: of each budget on two cores, in words.
        choices: kinds of parts that can be chosen, with their values.
    """

    run: Callable[[Job], Finding]
    source: str
    cost: Mapping[str, str]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
