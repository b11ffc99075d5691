"""Deviations under wrong labels: which labels are wrong, and a tiny run."""

from __future__ import annotations

import pytest
import torch

from goodteacher.data.sources import load
from goodteacher_lab.deviations.noise import mislabelled, noise
from goodteacher_lab.job import Job


def test_wrong_labels_are_known_even_of_a_part_of_the_examples():
    words = {"name": "digits", "noise": 0.4}
    problem = load(**words)
    wrong = mislabelled(words, problem)
    clean = load("digits")
    assert torch.equal(wrong, clean.train.labels != problem.train.labels) and 0.3 < float(wrong.double().mean()) < 0.4
    few = load(**words, subset=20)
    place = {int(i): k for k, i in enumerate(problem.train.indices)}
    assert mislabelled({**words, "subset": 20}, few).tolist() == [bool(wrong[place[int(i)]]) for i in few.train.indices]


@pytest.mark.slow
def test_a_tiny_noise_has_right_and_wrong_labels_apart(tmp_path):
    job = Job(epochs=1, seeds=1, out=tmp_path, quiet=True, choices={"rate": ("0", "0.4")})
    found = noise(job)
    apart = found.grids[-1].rows
    assert [row[:2] for row in apart] == [
        ("0% wrong labels", "right labels"),
        ("40% wrong labels", "right labels"),
        ("40% wrong labels", "wrong labels"),
    ]
    assert int(apart[0][2]) == 1008 == int(apart[1][2]) + int(apart[2][2])
    assert set(found.data) == {"0% wrong labels", "40% wrong labels"} and "+2.9" in found.verdict
