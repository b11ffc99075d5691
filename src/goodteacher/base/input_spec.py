"""What one network expects to see; it belongs to the network, is kept with every run, and imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from goodteacher.base.errors import ConfigError

Kind = Literal["image", "vector"]


@dataclass(frozen=True)
class InputSpec:
    """What a network expects to see.

    Attributes:
        kind: ``image`` or ``vector``.
        shape: of one example, ``(channels, H, W)`` or ``(D,)``.
        mean: per channel of images in [0, 1], or per feature; subtracted first.
        std: the same, divided by afterwards.

    Raises:
        ConfigError: if the parts contradict each other.

    Example:
        >>> InputSpec("image", (1, 8, 8), (0.3,), (0.4,)).size
        (8, 8)
    """

    kind: Kind
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != (3 if self.kind == "image" else 1) or min(self.shape) < 1:
            rule = "of images must be (channels, height, width)" if self.kind == "image" else "of vectors must be (D,)"
            raise ConfigError("input shape", rule=rule, received=self.shape)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.shape[0]:
                rule = f"must have one number for each of {self.shape[0]} channels or features"
                raise ConfigError(f"{name} of the inputs", rule=rule, received=len(values))
        if min(self.std) <= 0:
            raise ConfigError("std of the inputs", rule="must be positive", received=min(self.std))

    @property
    def is_image(self) -> bool:
        """Whether one example is a picture."""
        return self.kind == "image"

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width in pixels; empty for vectors."""
        return self.shape[1:]

    def stored(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return asdict(self)

    @staticmethod
    def read(stored: Mapping[str, Any]) -> InputSpec:
        """Return what `stored` wrote, read back from JSON."""
        return InputSpec(stored["kind"], *(tuple(stored[name]) for name in ("shape", "mean", "std")))


def check_adaptable(made: InputSpec, wanted: InputSpec, what: str) -> None:
    """Raise `ConfigError` unless inputs made for one spec can be shown as another.

    Args:
        made: what inputs are made for.
        wanted: what a network expects to see.
        what: whose network it is, for the message.
    """
    fits = made.kind == wanted.kind and (
        made.shape[0] in (1, wanted.shape[0]) if made.is_image else made.shape == wanted.shape
    )
    if not fits:
        raise ConfigError(
            what,
            rule=f"must take the problem's {made.kind}s of shape {made.shape}",
            received=f"{wanted.kind}s of shape {wanted.shape}",
            remedy="grey pictures can be shown in colour, and pictures be resized; nothing else is",
        )
