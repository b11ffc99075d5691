"""What a person sees while things train: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from goodteacher.base.events import Event, Sink

PLAIN_SECONDS = 15.0
LOUD = ("alarm", "withdrawn", "failed")


@contextlib.contextmanager
def shown(console: Console, *, quiet: bool = False) -> Iterator[Sink]:
    """Show what happens inside the block.

    Args:
        console: a terminal gets bars; anything else a line every 15 seconds and one for each event.
        quiet: show alarms and failures only.

    Yields:
        Where events go.
    """
    if quiet or not console.is_terminal:
        yield _Lines(console, quiet)
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, TextColumn("{task.fields[text]}"), console=console, transient=True) as bars:
            yield _Bars(bars)


class _Bars:
    """One bar per cohort under way."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        if event.kind != "step":
            _say(event, self.bars.console)
            return
        if event.name not in self.tasks:
            self.tasks[event.name] = self.bars.add_task(event.name, total=event.total, text="")
        self.bars.update(self.tasks[event.name], completed=event.done)
        if event.text:
            self.bars.update(self.tasks[event.name], text=event.text)
        if event.done >= event.total:
            self.bars.remove_task(self.tasks.pop(event.name))


class _Lines:
    """Plain lines: steps now and then, the rest as it comes."""

    def __init__(self, console: Console, quiet: bool) -> None:
        self.console, self.quiet = console, quiet
        self.said: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if self.quiet and event.kind not in LOUD:
            return
        if event.kind != "step":
            _say(event, self.console)
            return
        now = time.monotonic()
        if now - self.said.setdefault(event.name, now) > PLAIN_SECONDS:
            self.said[event.name] = now
            line = f"  {event.name}: step {event.done} of {event.total} {event.text}"
            self.console.print(line, markup=False, highlight=False)


def _say(event: Event, console: Console) -> None:
    if event.kind in ("line", "withdrawn"):
        console.print(f"  {event.text}", markup=False, highlight=False)
    elif event.kind == "alarm":
        console.print(f"! {event.text}", style="bold red", markup=False, highlight=False)
    elif event.kind == "failed":
        console.print(f"! {event.name} failed: {event.text}", style="bold red", markup=False, highlight=False)
