"""Tables of one student: every number where it belongs."""

from __future__ import annotations

import pytest
import torch

from goodteacher.diagnose.explain import Part, explain
from goodteacher.report.explain_tables import (
    class_grid,
    contest_grid,
    deviation_grid,
    fidelity_grid,
    grids_of,
    score_grid,
)


@pytest.fixture(scope="module")
def parts():
    generator = torch.Generator().manual_seed(0)
    found = []
    for name, n in (("train", 120), ("test", 60)):
        labels = torch.arange(n) % 3
        truth = 2 * torch.nn.functional.one_hot(labels, 3)
        teacher, student = (truth + torch.randn(n, 3, generator=generator) for _ in range(2))
        found.append(explain(Part(name, teacher, student, labels), ("a", "b", "c")))
    return found


def test_every_row_fits_its_columns(parts):
    grids = grids_of(parts)
    assert len(grids) == 5
    for grid in grids:
        assert grid.rows and all(len(row) == len(grid.columns) for row in grid.rows) and grid.note


def test_fidelity(parts):
    row = fidelity_grid(parts).rows[1]
    assert row[:2] == ("test", "60") and row[2].startswith(f"{100 * parts[1].fidelity.agreement.mean:.2f} ± ")
    assert row[3].startswith(f"{parts[1].fidelity.divergence.mean:.4f} [")


def test_deviations_of_both_versions_and_with_roles_exchanged(parts):
    rows = {row[:2]: row for row in deviation_grid(parts).rows}
    assert ("test, roles exchanged", "log odds") in rows and ("test, roles exchanged", "margin") not in rows
    d = parts[1].deviations["margin"]["all"]
    row = rows["test, all", "margin"]
    assert row[2] == "60" and row[3].startswith(f"{d.whole.slope.mean:.2f} [")
    assert row[8].startswith(f"{d.underfit.mean:.2f} [") and row[9].startswith(f"{d.overfit.mean:.2f} [")
    assert row[10] in ("no", "low", "high", "low and high") and ("low" in row[10]) == d.underfits_low


def test_scores_and_contests(parts):
    rows = {row[0]: row for row in score_grid(parts).rows}
    assert rows["test, student"][2] == f"{100 * parts[1].scores['student']['accuracy']:.2f}"
    assert rows["train, teacher"][3] == f"{parts[0].scores['teacher']['nll']:.4f}"
    first, second, *bands = contest_grid(parts).rows
    c = parts[1].contest
    assert second[:6] == ("test", "60", str(c.both), str(c.teacher_only), str(c.student_only), str(c.neither))
    assert first[0] == "train" and len(bands) == 5 and "fifth 1" in bands[0][0]


def test_classes_come_with_the_largest_gain_first(parts):
    rows = class_grid(parts[1]).rows
    gains = [float(row[4].split(" ±")[0]) for row in rows]
    assert gains == sorted(gains, reverse=True) and {row[0] for row in rows} == {"a", "b", "c"}
