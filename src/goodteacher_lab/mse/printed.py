"""The figures of Hamidi et al. (2024), typed: under the cross-entropy teacher and under the MSE teacher, in percent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from goodteacher_lab.benchmark import Pair, pair_of
from goodteacher_lab.published import published

Printed = tuple[float | None, float | None]

_PAPER = published("hamidi2024")


def _rows(table: Mapping[str, Mapping[str, Any]]) -> dict[Pair, dict[str, Printed]]:
    return {pair_of(pair): {method: tuple(cell) for method, cell in row.items()} for pair, row in table.items()}


TEACHERS: dict[str, Printed] = {name: tuple(cell) for name, cell in _PAPER["teachers"].items()}
STUDENTS: dict[str, float] = _PAPER["students"]
TABLE1, TABLE2 = _rows(_PAPER["table1"]), _rows(_PAPER["table2"])
RERUN = {(*pair_of(pair), method) for pair, methods in _PAPER["rerun"].items() for method in methods}
# Top-1, then top-5.
TABLE3: dict[Pair, dict[str, tuple[Printed, Printed]]] = {
    pair_of(pair): {row: (tuple(one), tuple(five)) for row, (one, five) in rows.items()}
    for pair, rows in _PAPER["table3"].items()
}
TABLE4: dict[str, dict[str, Printed]] = {
    task: {row: tuple(cell) for row, cell in rows.items()} for task, rows in _PAPER["table4"].items()
}
SLIPS: dict[str, list[str]] = _PAPER["slips"]
