import io

import pytest
from rich.console import Console

from goodteacher.base.events import Event
from goodteacher.report import progress
from goodteacher.report.progress import shown

EVENTS = [
    Event("line", text="[5 of 7] runs are finished"),
    Event("step", "cohort [a]", "loss 0.5", 1, 3),
    Event("epoch", "kd/0", "", 1, 3, {"epoch": 1}),
    Event("alarm", text="it learns nothing"),
    Event("step", "cohort [a]", "", 3, 3),
    Event("failed", "kd/0", "loss is not finite", runs=("x",)),
    Event("finished", runs=("y",)),
]


def told(events=EVENTS, *, terminal=False, quiet=False):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with shown(console, quiet=quiet) as tell:
        for event in events:
            tell(event)
    return console.file.getvalue()


def test_plain_lines():
    assert told() == "  [5 of 7] runs are finished\n! it learns nothing\n! kd/0 failed: loss is not finite\n"


def test_quiet_says_alarms_and_failures_only():
    quiet = "! it learns nothing\n! kd/0 failed: loss is not finite\n"
    assert told(quiet=True) == quiet
    assert "finished" not in told(quiet=True, terminal=True)


def test_a_line_of_progress_every_fifteen_seconds(monkeypatch):
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    events = [Event("step", "cohort", f"loss {i}", i, 9) for i in range(1, 8)]
    assert told(events).splitlines() == ["  cohort: step 4 of 9 loss 4", "  cohort: step 7 of 9 loss 7"]


def test_cohorts_have_their_own_clocks(monkeypatch):
    clock = iter((0, 10, 20, 26))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    events = [Event("step", name, "", i, 9) for i in (1, 2) for name in ("a", "b")]
    assert told(events).splitlines() == ["  a: step 2 of 9 ", "  b: step 2 of 9 "]


def test_a_terminal_shows_bars_and_keeps_what_was_said():
    text = told(terminal=True)
    for part in ("runs are finished", "it learns nothing", "kd/0 failed: loss is not finite", "cohort"):
        assert part in text


def test_nothing_that_happens_is_nothing_said():
    assert told([]) == "" and told([], quiet=True) == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_an_error_in_the_work_is_not_swallowed(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal)
    with pytest.raises(KeyError, match="broken"), shown(console) as tell:
        tell(Event("line", text="x"))
        raise KeyError("broken")
    assert "  x\n" in console.file.getvalue()
