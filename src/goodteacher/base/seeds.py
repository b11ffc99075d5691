"""Named random streams derived from one seed.

Every use of randomness has a name (init, order, augmentation, dropout, method), and where it recurs, a counter. A stream is
a pure function of (seed, name, counters): nothing has to be saved to resume, and no arm of a study disturbs another.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np
import torch


def derive(seed: int, name: str, *counters: int) -> int:
    """Return a 63-bit seed for a named stream.

    Args:
        seed: the run's seed.
        name: what the randomness is for.
        counters: epoch, step or member, where the stream recurs.

    Returns:
        An integer in [0, 2**63).

    Example:
        >>> derive(0, "order", 1) == derive(0, "order", 1), derive(0, "order", 1) == derive(0, "order", 2)
        (True, False)
    """
    text = ":".join(map(str, (seed, name, *counters)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_stream(seed: int, name: str, *counters: int) -> torch.Generator:
    """Return a CPU generator for a named stream; draws are moved to the device, so that every device sees the same."""
    return torch.Generator().manual_seed(derive(seed, name, *counters))


def numpy_stream(seed: int, name: str, *counters: int) -> np.random.Generator:
    """Return a NumPy generator for a named stream."""
    return np.random.default_rng(derive(seed, name, *counters))


@contextlib.contextmanager
def undisturbed(device: torch.device | str = "cpu") -> Iterator[None]:
    """Put the global generators of the processor and of one device back after the block: they belong to whoever calls."""
    place = torch.device(device)
    if place.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            yield
        return
    index = place.index if place.index is not None else torch.get_device_module(place).current_device()
    with torch.random.fork_rng(devices=[index], device_type=place.type):
        yield


def reseed(device: torch.device, seed: int, name: str, *counters: int) -> None:
    """Set the global generators of the processor and of one device to a named stream, for layers that draw from those.

    Call it inside `undisturbed`.
    """
    value = derive(seed, name, *counters)
    torch.default_generator.manual_seed(value)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(value)


@contextlib.contextmanager
def seeded(seed: int, name: str, *counters: int) -> Iterator[None]:
    """Run a block (building a model, say) on its own stream of the global generators, and put those back after."""
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(derive(seed, name, *counters))
        yield
