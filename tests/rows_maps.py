"""Conformance rows of the target maps: what a fitted map makes of one example, worked by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOG3 = math.log(3)
FOUR = tuple(math.log(p) for p in (0.5, 0.3, 0.15, 0.05))


@dataclass(frozen=True)
class MapRow:
    """A fitted map and what is true of it.

    Attributes:
        name: of the row of `MAPS`, or a chain.
        options: with which it is fitted.
        kind: of the fitted map, as a run's file names it.
        state: beside the kind.
        logits: of one example, ``(C,)``; of one example and V views, ``(V, C)``.
        want: probabilities ``(C,)``.
        label: of the example, for a map that reads it.
        tolerance: absolute.
    """

    name: str
    options: Mapping[str, Any]
    kind: str
    state: Mapping[str, Any]
    logits: tuple[Any, ...]
    want: tuple[float, ...]
    label: int = 0
    tolerance: float = 1e-6


ROWS = [
    MapRow("identity", {}, "Identity", {}, (LOG3, 0.0), (0.75, 0.25)),
    MapRow("temperature", {"value": 2.0}, "Temperature", {"temperature": 2.0}, (2 * LOG3, 0.0), (0.75, 0.25)),
    # (1.6, 0.6) / 2 is 0.1 more than a distribution, 0.05 for each.
    MapRow("linear", {"target": 2.0}, "Linear", {"target": 2.0}, (1.6, 0.6), (0.75, 0.25)),
    # Centred (a, -a) becomes (a, -a / 2), and 3 a / 2 = log 3.
    MapRow(
        "vector_temperature",
        {},
        "VectorTemperature",
        {"temperatures": [1.0, 2.0]},
        (4 / 3 * LOG3, 0.0),
        (0.75, 0.25),
    ),
    MapRow(
        "pt_proxy",
        {"coefficients": [0.7]},
        "Proxy",
        {"coefficients": [0.7]},
        tuple(math.log(p) for p in (0.6, 0.25, 0.1, 0.05)),
        (0.6638, 0.2176, 0.0798, 0.0388),
        tolerance=5e-5,
    ),
    MapRow("top_k", {"k": 2}, "TopK", {"k": 2, "rest": "spread"}, FOUR, (0.5, 0.3, 0.1, 0.1)),
    MapRow("label_mix", {"weight": 0.2}, "LabelMix", {"weight": 0.2}, FOUR, (0.4, 0.24, 0.32, 0.04), label=2),
    MapRow("view_average", {"views": 1}, "ViewAverage", {"views": 1}, ((LOG3, 0.0), (0.0, LOG3)), (0.5, 0.5)),
    MapRow(
        "view_average + top_k",
        {"view_average": {"views": 1}, "top_k": {"k": 1}},
        "Chain",
        {
            "steps": [
                {"kind": "ViewAverage", "state": {"views": 1, "space": "logits"}},
                {"kind": "TopK", "state": {"k": 1}},
            ]
        },
        ((math.log(4), 0.0, 0.0), (0.0, 0.0, 0.0)),
        (0.5, 0.25, 0.25),
    ),
]
