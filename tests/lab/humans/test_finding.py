"""People: published networks read from a folder, nearness over teacher arms, and the whole at a tiny size."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from goodteacher.base.errors import ConfigError, DataError
from goodteacher_lab.humans.finding import advantage, factor_grid, humans, predicts
from goodteacher_lab.humans.networks import LOGITS, VOTED, agreement, judged, published_networks, read_arrays
from goodteacher_lab.humans.study import MAPS, OBJECTIVES, people_study
from goodteacher_lab.job import Job
from goodteacher_lab.sizes import SIZES


@pytest.fixture
def folder(tmp_path):
    """Votes of 50 people for 300 pictures, labels drawn from the same distributions, and networks of five noise levels."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(4, 0.3), size=300)
    votes = np.stack([rng.multinomial(50, p) for p in truth])
    labels = np.array([rng.choice(4, p=p) for p in truth])
    np.savez(tmp_path / VOTED, y_test=labels, votes_test=votes)
    networks = {f"n{k}": np.log(truth + 1e-3) + k * rng.standard_normal(truth.shape) for k in range(5)}
    np.savez(tmp_path / LOGITS, **networks, other=np.zeros((7, 4)))
    return tmp_path


def test_published_networks_are_those_that_answer_for_the_voted_pictures(folder):
    rows, pictures = published_networks(folder)
    assert list(rows) == [f"n{k}" for k in range(5)] and pictures == 300
    assert rows["n0"]["mse to humans, raw"] == pytest.approx(0, abs=0.003)
    found = agreement(rows)
    assert found["brier ~ mse to humans, raw"].mean == pytest.approx(1) and found["nll ~ kl to humans, raw"].n == 5


def test_the_temperature_of_people_is_found(folder):
    import torch

    arrays = read_arrays(folder / VOTED)
    labels, votes = torch.from_numpy(arrays["y_test"]), torch.from_numpy(arrays["votes_test"]).float()
    right = (votes / votes.sum(dim=1, keepdim=True)).clamp_min(1e-4).log()
    row = judged(3 * right, labels, votes)
    assert row["temperature of people"] == pytest.approx(3, rel=0.05)
    assert row["mse to humans, raw"] > row["mse to humans, calibrated"]


def test_a_folder_without_networks_is_said_and_nothing_at_all_is_refused(folder):
    found = humans(Job(root=folder, quiet=True))
    assert any("Our own teachers are left out" in line for line in found.departures)
    assert found.data["pictures"] == 300 and set(found.data["agreement"]) and "5 published networks" in found.verdict
    assert json.dumps(found.data) and found.grids[1].rows[0][0] == "brier ~ mse to humans, raw"
    (folder / LOGITS).unlink()
    with pytest.raises(ConfigError, match=r"needs cifar10\.npz and test_logits_8models\.npz"):
        humans(Job(root=folder, quiet=True))
    with pytest.raises(DataError, match="no such file"):
        humans(Job(root=folder, quiet=True, choices={"part": ("published",)}))
    with pytest.raises(ConfigError, match="--images"):
        humans(Job(root=folder, quiet=True, choices={"part": ("teachers",)}))


def test_files_that_do_not_fit_are_refused(folder):
    with pytest.raises(DataError, match="must hold labels"):
        read_arrays(folder / VOTED, ("labels",))
    np.savez(folder / LOGITS, one=np.zeros((5, 4)))
    with pytest.raises(DataError, match="logits of the 300 voted pictures"):
        published_networks(folder)
    (folder / LOGITS).write_bytes(b"no archive")
    with pytest.raises(DataError, match="plain arrays"):
        read_arrays(folder / LOGITS)


def test_every_objective_stops_at_several_epochs_under_every_map():
    study = people_study(SIZES["humans"]["minutes"], {"name": "x"})
    assert len(study.known_arms) == len(OBJECTIVES) * len(MAPS) * SIZES["humans"]["minutes"].points
    assert "brier-T4_epoch2" in study.known_arms and study.teachers["brier-T4"].map == {"temperature": {"value": 4.0}}
    assert study.students["taught"].method["kd"]["temperature"] == 1.0


def _frame():
    arms = [f"a{k}" for k in range(8)]
    rows = [
        {"arm": arm, "objective": f"o{k // 2}", "epoch": k % 2, "map": "raw", "seed": seed, "mse": k / 8, "kl": k / 4,
         "brier": (k * 5 % 8) / 8, "nll": 1.0 + k, "accuracy": 1 - k / 10, "student": 1 - k / 8}
        for k, arm in enumerate(arms)
        for seed in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_nearness_is_turned_so_that_it_predicts():
    found = predicts(_frame())
    assert found["MSE to people, test"].mean == pytest.approx(1) and found["accuracy, test"].mean == pytest.approx(1)
    assert found["Brier to labels, test"].mean < 0.9 and found["MSE to people, test"].n == 8
    assert not any("validation" in name for name in found)


def test_the_advantage_is_the_difference_of_two_correlations():
    frame = _frame()
    found = predicts(frame)
    gain = advantage(frame, "mse", "brier")
    assert gain.mean == pytest.approx(found["MSE to people, test"].mean - found["Brier to labels, test"].mean)
    assert gain.low <= gain.mean <= gain.high and gain.n == 8
    three = frame[frame["objective"] != "o3"]  # six arms of three trainings
    assert np.isnan(advantage(three, "mse", "brier").low) and not np.isnan(advantage(three, "mse", "brier").mean)
    assert advantage(frame, "mse", "kl").mean == pytest.approx(0)
    assert np.isnan(advantage(frame[frame["arm"] == "a1"], "mse", "kl").mean)


def test_a_factor_is_averaged_over_the_others():
    rows = {row[:2]: row for row in factor_grid(_frame()).rows}
    assert rows["epoch", "0"][2] == "0.3750 ± 0.0000" and rows["epoch", "1"][2] == "0.5000 ± 0.0000"


@pytest.mark.slow
def test_tiny_teachers_are_judged_by_people_and_by_labels(tmp_path):
    rng = np.random.default_rng(1)
    labels = np.arange(240) % 4
    pictures = (rng.integers(0, 60, (240, 16, 16, 3)) + 40 * labels[:, None, None, None]).astype(np.uint8)
    votes = np.stack([rng.multinomial(20, 0.7 * np.eye(4)[y] + 0.075) for y in labels])
    arrays = {"x_train": pictures[:160], "y_train": labels[:160], "x_test": pictures[160:], "y_test": labels[160:]}
    np.savez(tmp_path / "small.npz", **arrays, votes_train=votes[:160], votes_test=votes[160:])
    job = Job(epochs=1, seeds=1, images=str(tmp_path / "small.npz"), root=tmp_path, out=tmp_path, quiet=True)
    found = humans(job)
    assert any(f"no {VOTED}" in line for line in found.departures)
    frame = pd.DataFrame(found.data["arms"])
    assert len(frame) == len(OBJECTIVES) * len(MAPS) and {"mse", "kl", "brier", "validation mse", "student"} <= set(
        frame
    )
    same = frame[frame["map"] != "T4"].groupby("objective")["accuracy"].nunique()
    assert (same == 1).all()  # a temperature does not change which class comes first
    assert json.dumps(found.data) and len(found.grids) == 3 and "12 arms" in found.verdict
    np.savez(tmp_path / "small.npz", **arrays)
    with pytest.raises(ConfigError, match="two votes or more"):
        humans(job)
