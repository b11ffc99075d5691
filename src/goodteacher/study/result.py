"""What a finished run says of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from goodteacher.train.precision import Precision


@dataclass(frozen=True)
class RunResult:
    """What a finished run says of its training.

    Attributes:
        epoch: of the checkpoint kept.
        seconds: of its own training steps.
        precision: of forward passes.
        alarms: what was shouted while it trained.
        parameters: numbers in the network.
        environment: hardware, versions and commit.
        device: it was trained on.
        file: its weights came from, for a network trained elsewhere.
    """

    epoch: int
    seconds: float
    precision: Precision
    alarms: tuple[str, ...]
    parameters: int
    environment: dict[str, str]
    device: str
    file: str = ""

    def stored(self) -> dict[str, Any]:
        """Return it as ``result.json`` holds it; `read` is the inverse."""
        return asdict(self)

    @staticmethod
    def read(stored: Mapping[str, Any]) -> RunResult:
        """Return what `stored` returned, read back from JSON."""
        return RunResult(**{**stored, "alarms": tuple(stored["alarms"])})
