"""The table of reproductions. A literal, so that a name can be searched for."""

from __future__ import annotations

from goodteacher.recipes import (
    deviations,
    humans,
    mse_binary,
    mse_few_labels,
    mse_tables,
    mse_theorem,
    mse_toy,
    ptloss,
    soteacher,
)
from goodteacher.recipes.predictors import VECTORS, predictors
from goodteacher.recipes.reproduction import Reproduction

REPRODUCTIONS: dict[str, Reproduction] = {
    "predictors": Reproduction(
        predictors,
        "goodteacher's own: which held-out score of a teacher predicts its students",
        {"minutes": "15 minutes, 40 with --images", "hours": "3 hours", "paper": "a day"},
        {"problem": (*VECTORS, "images")},
    ),
    **mse_toy.ROWS,
    **mse_theorem.ROWS,
    **mse_tables.ROWS,
    **mse_few_labels.ROWS,
    **mse_binary.ROWS,
    **soteacher.ROWS,
    **ptloss.ROWS,
    **deviations.ROWS,
    **humans.ROWS,
}
