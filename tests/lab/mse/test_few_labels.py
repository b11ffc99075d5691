"""Figure 2 of the MSE teacher: few labels."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.data.labels import label_subset
from goodteacher.data.sources import load
from goodteacher.methods.semisupervised import labelled_rows
from goodteacher.study.store import Store
from goodteacher_lab.job import Job
from goodteacher_lab.mse.few_labels import figure2
from goodteacher_lab.mse.study import few_labels_students, few_labels_teachers, labelled_part
from goodteacher_lab.sizes import SIZES

FIGURE2 = SIZES["mse/figure2"]


def test_labelled_examples_are_a_subset_normalised_as_the_whole(coloured):
    whole = load(coloured)
    part, alike, other = (labelled_part(whole, 50, seed) for seed in (1, 1, 2))
    subset = label_subset(whole, total=50, seed=1)
    assert part.train.indices.tolist() == subset.train.indices.tolist()
    torch.testing.assert_close(part.statistics[0], whole.statistics[0])
    assert part.fingerprint == alike.fingerprint
    assert len({p.fingerprint for p in (whole, part, other, subset)}) == 4


def test_the_student_reads_the_labels_that_its_teacher_had(coloured):
    whole = load(coloured)
    study = few_labels_students(FIGURE2["paper"], {(50, "brier"): "r"}, 3, {"name": "npz"}, whole.classes, "")
    method = study.students["labels50"].method
    assert method["kd"]["gamma"] == 0 and study.teachers["brier-50"].run == "r" and study.seed_list == (3,)
    rows = labelled_rows(whole.train.labels, method["labelled"]["per_class"], method["labelled"]["seed"])
    assert whole.train.indices[rows].tolist() == labelled_part(whole, 50, 3).train.indices.tolist()
    teachers = few_labels_teachers(FIGURE2["paper"], 50, 3, {"name": "npz"}, "")
    assert set(teachers.teachers) == {"cross_entropy", "brier"} and teachers.recipe.epochs == 240


@pytest.mark.slow
def test_figure_two_pairs_every_student_with_the_teacher_of_its_seed(coloured, tmp_path, monkeypatch):
    monkeypatch.setitem(FIGURE2, "minutes", replace(FIGURE2["minutes"], labels=(50, 100, 4000)))
    found = figure2(Job(epochs=1, seeds=2, images=str(coloured), out=tmp_path, quiet=True))
    cells = found.data["cells"]
    assert [(c["setting"], c["method"]) for c in cells] == [
        (f"{n} labels", what) for what in ("student", "teacher") for n in (50, 100)
    ]
    assert all(set(c["measured"]) == {"cross_entropy", "brier"} and len(c["measured"]["brier"]) == 2 for c in cells)
    assert any("4000 labels are left out" in line for line in found.departures)
    runs = [Store(tmp_path).run(path.name) for path in Store(tmp_path).runs()]
    students = [run for run in runs if run.spec.kind == "student"]
    assert len(students) == 2 * 2 * 2 and len(runs) == 16
    for student in students:
        (teacher,) = (run for run in runs if run.id == student.spec.teaching.runs[0])
        assert teacher.spec.seed == student.spec.seed == student.spec.loss["labelled"]["seed"]
        assert teacher.facts.examples == 10 * student.spec.loss["labelled"]["per_class"]
        assert student.spec.gamma == 0 and student.facts.examples == 270
    assert json.dumps(found.data) and "vega" in found.charts["accuracy by number of labels"]


def test_more_labels_than_pictures_are_refused(coloured, tmp_path):
    with pytest.raises(ConfigError, match="must hold at least 500 labelled pictures"):
        figure2(Job(images=str(coloured), out=tmp_path))
