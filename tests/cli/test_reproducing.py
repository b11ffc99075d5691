"""reproduce: the list, the parts, and mistakes in one sentence."""

from __future__ import annotations

import json

import pytest

from goodteacher.report.tables import Grid
from goodteacher_lab.job import Finding, Reproduction
from goodteacher_lab.table import REPRODUCTIONS


def test_all_are_listed_with_their_cost(call):
    code, out, _ = call("reproduce", "--list", "--json")
    rows = json.loads(out.splitlines()[-1])
    assert code == 0 and [r["name"] for r in rows] == list(REPRODUCTIONS)
    assert all(r["minutes"] and r["paper"] for r in rows)


def test_a_finding_is_written_and_printed(call, tmp_path, monkeypatch):
    jobs = []

    def run(job):
        jobs.append(job)
        grid = Grid("published against measured", ("what", "n"), (("x", "3"),))
        return Finding("small", "a claim", "it held", ("a departure",), (grid,), {}, {"n": 3})

    monkeypatch.setitem(REPRODUCTIONS, "small", Reproduction(run, "a paper", {}, {"pair": ("a-b", "c-d")}))
    code, out, _ = call("reproduce", "small", "--only", "pair=a-b", "--epochs", "2", "--json")
    assert code == 0 and "it held" in out and "Departure: a departure" in out
    assert jobs[0].choices == {"pair": ("a-b",)} and jobs[0].epochs == 2
    pictures = ("--images", "x.npz", "--set", "problem.confidence=0.9", "--root", "data")
    code, _, _ = call("reproduce", "small", "--pair", "a-b", "--pair", "c-d", *pictures)
    assert code == 0 and jobs[1].choices == {"pair": ("a-b", "c-d")}
    assert jobs[1].pictures == {"name": "x.npz", "root": "data", "confidence": 0.9}
    code, _, err = call("reproduce", "small", "--method", "kd")
    assert code == 2 and "part: must be a known name, got 'method'" in err
    result = json.loads(out.splitlines()[-1])
    folder = tmp_path / "goodteacher-runs" / "reproduced" / "small"
    kept = json.loads((folder / "finding.json").read_text())
    assert kept["data"] == {"n": 3} == result["data"] and kept["source"] == "a paper"
    assert "a departure" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs a name"),
        (["predictor"], "did you mean 'predictors'"),
        (["predictors", "--budget", "years"], "budget"),
        (["predictors", "--only", "digits"], "--only: must be KIND=VALUE"),
        (["predictors", "--only", "pair=x"], "part"),
        (["predictors", "--set", "seeds=3"], "--set: changes the data of a reproduction alone"),
        (["predictors", "--only", "problem=digit"], "did you mean 'digits'"),
    ],
)
def test_mistakes(call, words, message):
    code, _, err = call("reproduce", *words)
    assert code == 2 and message in err and err.count("\n") == 1
