"""The command that explains one student."""

from __future__ import annotations

import json

import yaml

from goodteacher.study.store import load_study

STUDY = {
    "problem": "digits",
    "recipe": {"epochs": 1, "batch_size": 128, "precision": "fp32"},
    "teachers": {"ce": {"model": {"mlp": {"widths": [8]}}}},
    "students": {"kd": {"model": {"mlp": {"widths": [4]}}}},
    "seeds": 1,
}


def test_report_explains_a_run(call, tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    assert call("run", "study.yaml", "--engine", "local", "--quiet")[0] == 0
    _, plan = load_study(tmp_path / "goodteacher-runs/studies/study")
    (run,) = [cell.run for cell in plan.cells]
    code, out, err = call("report", "goodteacher-runs", "--explain", run[:10], "--json")
    plain = json.loads(out.splitlines()[-1])
    assert code == 0 and set(plain["parts"]) == {"train", "validation", "test"} and (tmp_path / plain["page"]).exists()
    assert "Class by class on test" in out + err and plain["conclusion"] in out + err
    code, out, _ = call("report", "goodteacher-runs", "--explain", run, "--data", "digits", "--json")
    assert code == 0 and json.loads(out.splitlines()[-1])["run"] == run
    code, _, err = call("report", "goodteacher-runs", "--explain", run, "--data", "gaussian")
    assert code == 2 and "must be those it was trained on" in err
    (teacher,) = plan.teachers["ce", 0].runs
    code, _, err = call("report", "goodteacher-runs", "--explain", teacher)
    assert code == 2 and "must be a student that was taught" in err
