"""The table of reproductions, what each costs, and the claims behind it."""

from __future__ import annotations

import pytest

from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import BUDGETS
from goodteacher_lab.table import REPRODUCTIONS


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_every_row_has_a_cost_and_a_source(name):
    row = REPRODUCTIONS[name]
    assert set(row.cost) == set(BUDGETS) and row.source and "  " not in row.source


def test_a_claim_is_read_from_its_folder_and_filled():
    claim = claim_of("soteacher/figure1", teacher="a", student="b", epochs=3, every=1)
    assert claim.text.startswith("A standard teacher trained to convergence") and len(claim.departures) == 2
    assert claim.departures[1].startswith(
        "This run: a -> b, 3 epochs of the benchmark's schedule, a checkpoint every 1;"
    )
    with pytest.raises(KeyError):
        claim_of("soteacher/figure1")
    with pytest.raises(IndexError):
        claim_of("soteacher/figure9")
