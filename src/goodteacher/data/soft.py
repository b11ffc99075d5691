"""Label distributions as they are given: rows that sum to 1 as far as their own precision tells."""

from __future__ import annotations

import torch
from torch import Tensor

from goodteacher.base.errors import DataError

_TOLERANCE = 1e-4  # of full precision
# Type of half precision, the tolerance of a row's sum, and what each further class adds: numbers that lie below the type's
# smallest step are lost. Four times the type's rounding, because what made the row may have been computed in it too.
_HALVES = ((torch.float16, 2e-3, 2**-24), (torch.bfloat16, 1.6e-2, 0.0))


def settled(truth: Tensor, indices: Tensor, what: str) -> tuple[Tensor, str]:
    """Return rows that sum to 1, and a note if they had to be brought to it.

    Rows in half precision, also those that were widened since, are off by more than their true distribution is; they are
    divided by their sums.

    Args:
        truth: ``(N, C)``, of any type.
        indices: ``(N,)``, each row's place in the source, for messages.
        what: whose they are, for messages.

    Returns:
        ``(N, C)`` of at least float32, and the note or an empty text.

    Raises:
        DataError: for a row that is not finite, is negative somewhere, or does not sum to 1; it is named with its sum.
    """
    rows, rule = truth.double(), "every row must be non-negative and sum to 1"
    bad = (~torch.isfinite(rows) | (rows < -1e-6)).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        received = f"{rows[row, column]:g} in row {int(indices[row])}, column {column}"
        raise DataError(what, rule=rule, received=received)
    sums = rows.sum(dim=1)
    off = (sums - 1).abs()
    worst = int(off.argmax())
    said = f"{float(sums[worst]):.6g} in row {int(indices[worst])}"
    if float(off[worst]) <= _TOLERANCE:
        return (truth.float() if truth.dtype in (torch.float16, torch.bfloat16) else truth), ""
    for dtype, tolerance, for_each in _HALVES:
        if float(off[worst]) <= tolerance + for_each * truth.shape[1] and torch.equal(rows.to(dtype).double(), rows):
            note = f"{what}: in half precision, rows divided by their sums (the worst is {said})"
            return (rows / sums[:, None]).float(), note
    wrong = int((off > _TOLERANCE).sum())
    remedy = (
        "give counts as votes_train, votes_val or votes_test"
        if float(sums.min()) >= 2
        else "divide each row by its sum"
    )
    raise DataError(what, rule=rule, received=f"{said}, the worst of {wrong} such rows", remedy=remedy)
