"""Target maps judged on examples they were not fitted on."""

from __future__ import annotations

import torch

from goodteacher.base.probability import brier_score
from goodteacher.diagnose.cross_fitted import cross_fitted_map
from goodteacher.maps.table import parse_map

G = torch.Generator().manual_seed(0)
LABELS = torch.arange(150) % 5
LOGITS = 2 * torch.randn(150, 5, generator=G) + 2 * torch.nn.functional.one_hot(LABELS, 5)


def test_the_identity_scores_as_it_is():
    scores, mapped = cross_fitted_map("identity", LOGITS, LABELS)
    torch.testing.assert_close(scores, brier_score(LOGITS.double().softmax(-1), LABELS))
    torch.testing.assert_close(mapped, LOGITS.double())


def test_no_example_is_scored_by_a_map_that_saw_its_label():
    spec = {"vector_temperature": {"bias": True}}
    scores, mapped = cross_fitted_map(spec, LOGITS, LABELS)
    changed = LABELS.clone()
    changed[7] = (changed[7] + 1) % 5
    _, after = cross_fitted_map(spec, LOGITS, changed)
    assert torch.equal(after[7], mapped[7])
    assert not torch.equal(after, mapped)  # others were fitted with it
    flattered = brier_score(parse_map(spec).fit(LOGITS, LABELS)(LOGITS).double().softmax(-1), LABELS)
    assert float(flattered.mean()) < float(scores.mean())
