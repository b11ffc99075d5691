from __future__ import annotations

import pytest

import goodteacher as gt
from goodteacher.api import run_study
from goodteacher.base.errors import ConfigError
from goodteacher.study.origin import data_of, studies_of

STUDY = {
    "name": "named", "problem": {"name": "digits", "subset": 10}, "seeds": 1, "recipe": {"epochs": 1, "batch_size": 20},
    "teachers": {"t": {"model": {"mlp": {"widths": [4]}}}},
    "students": {"kd": {"model": {"mlp": {"widths": [4]}}, "method": "kd"}},
}  # fmt: skip


def test_a_runs_studies_and_data_are_found(tmp_path):
    finished = run_study(STUDY, out=tmp_path)
    student = gt.Store(tmp_path).run(finished.plan.cells[0].run)
    teacher = gt.Store(tmp_path).run(student.spec.teaching.runs[0])
    assert [f.name for f in studies_of(student)] == [f.name for f in studies_of(teacher)] == ["named"]
    assert data_of(student).fingerprint == student.spec.problem
    # A study that was damaged since is passed over, and data that nobody named are not made up.
    (tmp_path / "studies" / "broken").mkdir()
    (tmp_path / "studies" / "broken" / "plan.json").write_text("{")
    assert [f.name for f in studies_of(student)] == ["named"]
    (tmp_path / "studies" / "named" / "plan.json").unlink()
    with pytest.raises(ConfigError, match=r"must be where they were when it was trained, got none that fit.*--data"):
        data_of(student)


def test_data_that_have_changed_since_do_not_fit(tmp_path):
    run = gt.teach({"mlp": {"widths": [4]}}, gt.load("digits", subset=7), out=tmp_path, epochs=1, batch_size=20)
    with pytest.raises(ConfigError, match=r"looked for \{'name': 'digits'"):
        data_of(run)
