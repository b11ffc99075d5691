"""What the reproductions of deviations share."""

from __future__ import annotations

import math

import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.stats import Estimate, mean_interval
from goodteacher.diagnose.deviation import deviation
from goodteacher.diagnose.explain import Part
from goodteacher_lab.deviations.runs import (
    TAUGHT,
    WORDS,
    Measured,
    loaded,
    measured,
    problems_of,
    sized,
    written,
)
from goodteacher_lab.job import Job
from goodteacher_lab.sizes import SIZES

PICTURES, VECTORS = SIZES["deviations"], SIZES["deviations, vectors"]["minutes"]


def part(seed, n=60):
    generator = torch.Generator().manual_seed(seed)
    return Part("test", *(2 * torch.randn(n, 4, generator=generator) for _ in range(2)), torch.arange(n) % 4)


def test_a_job_decides_problems_and_sizes():
    assert problems_of(Job()) == tuple(WORDS)
    assert problems_of(Job(images="x.npz")) == ("images",)
    assert problems_of(Job(choices={"problem": ("gaussian",)})) == ("gaussian",)
    for job in (Job(choices={"problem": ("images",)}), Job(budget="paper")):
        with pytest.raises(ConfigError, match="--images: must say where pictures are"):
            problems_of(job)
    assert sized(Job(), images=False) == VECTORS and sized(Job(epochs=3, seeds=2), images=True).epochs == 3
    assert sized(Job(budget="hours"), images=False).seeds == 10
    assert sized(Job(budget="paper"), images=True).teacher == "resnet56" and PICTURES["paper"].per_class is None


def test_the_label_has_no_share_in_what_is_distilled():
    assert TAUGHT["kd"]["alpha"] == 1 and TAUGHT["kd"]["gamma"] == 0


def test_problems_load_in_their_own_words():
    words, problem = loaded(Job(), "few_digits", VECTORS)
    assert words["name"] == "digits" and len(problem.train) == 150
    words, problem = loaded(Job(), "noisy_digits", VECTORS, noise=0.0)
    assert words == {"name": "digits"} and problem.notes == ()
    words, _ = loaded(Job(), "noisy_digits", VECTORS, noise=0.1)
    assert words == {"name": "digits", "noise": 0.1}


def test_pictures_are_cut_to_a_size(tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    path = tmp_path / "x.npz"
    arrays = {"x": rng.integers(0, 255, (60, 8, 8, 3), dtype=np.uint8), "y": np.arange(60) % 3}
    np.savez(path, **{f"{k}_{part}": v for part in ("train", "test") for k, v in arrays.items()})
    job = Job(images=str(path))
    words, problem = loaded(job, "images", PICTURES["minutes"])
    assert words["subset"] < 150 and len(problem.train) == 3 * words["subset"]


def test_several_seeds_have_an_interval_over_them_and_one_over_its_examples():
    parts = [part(k) for k in range(3)]
    many = measured(parts)
    assert many is not None and many.seen == tuple(deviation(p.teacher, p.student) for p in parts)
    for name in ("underfit", "overfit", "slope", "below", "above", "orthogonal"):
        assert many.estimate(name) == mean_interval(many.of(name))
    one = Measured(many.seen[:1])
    assert one.estimate("underfit") == many.seen[0].underfit and one.estimate("below") == many.seen[0].below.slope
    assert one.exceeds("underfit", one.seen[0].underfit.low - 1e-9)
    assert not one.exceeds("underfit", one.seen[0].underfit.low)


def test_roles_can_be_exchanged_and_few_examples_say_nothing():
    p = part(0)
    back = measured([p], exchanged=True)
    assert back is not None and back.seen[0] == deviation(p.student, p.teacher)
    assert measured([p, part(1, n=5)]) is None


def test_numbers_are_written_with_their_interval():
    assert written(Estimate(0.5, 0.25, 0.75, 3)) == "0.50 [0.25, 0.75]"
    assert written(Estimate(0.5, math.nan, math.nan, 1)) == "0.50" and written(Estimate(math.nan, 0, 0, 1))[0] == "-"
