"""The table of reproductions. A literal, so that a name can be searched for."""

from __future__ import annotations

from goodteacher_lab.deviations import deviations
from goodteacher_lab.humans import humans
from goodteacher_lab.job import Reproduction
from goodteacher_lab.mse import binary, few_labels, tables, theorem, toy
from goodteacher_lab.predictors.predictors import VECTORS, predictors
from goodteacher_lab.ptloss import ptloss
from goodteacher_lab.soteacher import soteacher

REPRODUCTIONS: dict[str, Reproduction] = {
    "predictors": Reproduction(
        predictors,
        "goodteacher's own: which held-out score of a teacher predicts its students",
        {"minutes": "15 minutes, 40 with --images", "hours": "3 hours", "paper": "a day"},
        {"problem": (*VECTORS, "images")},
    ),
    **toy.ROWS,
    **theorem.ROWS,
    **tables.ROWS,
    **few_labels.ROWS,
    **binary.ROWS,
    **soteacher.ROWS,
    **ptloss.ROWS,
    **deviations.ROWS,
    **humans.ROWS,
}
