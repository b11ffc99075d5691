"""Where to read a network that says nothing of its taps: the last map of each size, and the input of its last linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from goodteacher.models.taps import Taps, describe_taps

MOST = 4


@torch.no_grad()
def guessed(network: nn.Module, inputs: Tensor) -> Taps:
    """Return taps by running a network once.

    Stages are the outermost modules whose maps ``(N, D, H, W)`` are the last of their size, from the size after the stem down,
    as far as that is above 1x1. Of a network of tokens ``(N, T, D)`` they are four of its blocks, at equal distances. The head is
    the last linear layer that answers the logits.

    Args:
        network: any.
        inputs: ``(N, channels, H, W)``.

    Returns:
        Taps; without stages where nothing looks like one.
    """
    rows = describe_taps(network, inputs)
    linear = {name for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    head = next((name for name, _, _ in reversed(rows) if name in linear), None)
    # The map that a transformer's patches are cut into is no stage of it.
    return Taps(stages=_tokens(rows) or _maps(rows, tuple(inputs.shape[-2:])), head=head)


def _maps(rows: list[tuple[str, str, tuple[int, ...]]], size: tuple[int, ...]) -> tuple[str, ...]:
    last: dict[tuple[int, ...], list[str]] = {}
    for name, _, shape in rows:
        # Of square pictures maps are square: what is not has its channels last, and would be read awry.
        awry = size[0] == size[1] and shape[2:3] != shape[3:4]
        if len(shape) == 4 and min(shape[2:]) > 1 and shape[2:] != size and not awry:
            last.setdefault(shape[2:], []).append(name)
    # Hooks fire from the inside out: what ends a size last is the outermost module that does.
    found = [names[-1] for names in last.values()]
    return tuple(found[-MOST:])


def _tokens(rows: list[tuple[str, str, tuple[int, ...]]]) -> tuple[str, ...]:
    """Return four of the blocks of a network of tokens: modules of one class, side by side, that answer tokens of one shape."""
    groups: dict[tuple[str, str, tuple[int, ...]], list[str]] = {}
    for name, kind, shape in rows:
        if len(shape) == 3 and name[-1].isdigit():
            groups.setdefault((name.rstrip("0123456789"), kind, shape), []).append(name)
    blocks = max(groups.values(), key=len, default=[])
    if len(blocks) < MOST:
        return ()
    return tuple(blocks[len(blocks) * quarter // 4 - 1] for quarter in (1, 2, 3, 4))
