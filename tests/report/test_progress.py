import io

import pytest
from rich.console import Console

from goodteacher.report import progress
from goodteacher.report.progress import follow
from goodteacher.study.cohort import News

NEWS = [
    News("line", text="[5 of 7] runs are finished"),
    News("steps", "cohort [a]", "loss 0.5", 1, 3),
    News("alarm", text="it learns nothing"),
    News("steps", "cohort [a]", "", 3, 3),
    News("failed", "kd/0", "loss is not finite", runs=("x",)),
    News("finished", runs=("y",)),
]


def told(news=NEWS, *, terminal=False, quiet=False, result="summary"):
    def generator():
        yield from news
        return result

    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    assert follow(generator(), console, quiet=quiet) is result
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
    news = [News("steps", "cohort", f"loss {i}", i, 9) for i in range(1, 8)]
    assert told(news).splitlines() == ["  cohort: step 4 of 9 loss 4", "  cohort: step 7 of 9 loss 7"]


def test_cohorts_have_their_own_clocks(monkeypatch):
    clock = iter((0, 10, 20, 26))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    news = [News("steps", name, "", i, 9) for i in (1, 2) for name in ("a", "b")]
    assert told(news).splitlines() == ["  a: step 2 of 9 ", "  b: step 2 of 9 "]


def test_a_terminal_shows_bars_and_keeps_what_was_said():
    text = told(terminal=True)
    for part in ("runs are finished", "it learns nothing", "kd/0 failed: loss is not finite", "cohort"):
        assert part in text


def test_no_news_still_gives_the_result():
    assert told([]) == "" and told([], quiet=True) == ""
    told([], terminal=True, result=None)


@pytest.mark.parametrize("terminal", [False, True])
def test_an_error_in_the_work_is_not_swallowed(terminal):
    def generator():
        yield News("line", text="x")
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        follow(generator(), Console(file=io.StringIO(), force_terminal=terminal))
