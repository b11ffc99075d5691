"""What a person sees while things train: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeVar

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

from goodteacher.study.cohort import News

T = TypeVar("T")
PLAIN_SECONDS = 15.0


def follow(news: Generator[News, None, T], console: Console, *, quiet: bool = False) -> T:
    """Show news until there is none, and return what the generator returns.

    Args:
        news: of an execution.
        console: a terminal gets bars; anything else a line every 15 seconds and one for each event.
        quiet: show alarms and failures only.

    Returns:
        The generator's own result.
    """
    if quiet or not console.is_terminal:
        return _follow_plainly(news, console, quiet)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, TextColumn("{task.fields[text]}"), console=console, transient=True) as bars:
        while True:
            try:
                item = next(news)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if item.kind == "steps":
                if item.label not in tasks:
                    tasks[item.label] = bars.add_task(item.label, total=item.total, text="")
                bars.update(tasks[item.label], completed=item.done)
                if item.text:
                    bars.update(tasks[item.label], text=item.text)
                if item.done >= item.total:
                    bars.remove_task(tasks.pop(item.label))
            else:
                _say(item, bars.console)


def _follow_plainly(news: Generator[News, None, T], console: Console, quiet: bool) -> T:
    said: dict[str, float] = {}
    while True:
        try:
            item = next(news)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if item.kind == "steps":
            now = time.monotonic()
            if not quiet and now - said.setdefault(item.label, now) > PLAIN_SECONDS:
                said[item.label] = now
                console.print(
                    f"  {item.label}: step {item.done} of {item.total} {item.text}", markup=False, highlight=False
                )
        elif not quiet or item.kind in ("alarm", "failed"):
            _say(item, console)


def _say(item: News, console: Console) -> None:
    if item.kind == "line":
        console.print(f"  {item.text}", markup=False, highlight=False)
    elif item.kind == "alarm":
        console.print(f"! {item.text}", style="bold red", markup=False, highlight=False)
    elif item.kind == "failed":
        console.print(f"! {item.label} failed: {item.text}", style="bold red", markup=False, highlight=False)
