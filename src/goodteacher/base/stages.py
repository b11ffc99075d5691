"""Cutting a network that is a chain of stages: what stands behind a stage, by the names the network itself declares."""

from __future__ import annotations

import copy
from typing import Protocol

from torch import nn

from goodteacher.base.errors import ConfigError


class Sites(Protocol):
    """Where a network says that it can be read; networks carry it as ``taps``."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the names of its stages, shallow to deep."""
        ...

    @property
    def head(self) -> str | None:
        """Return the name of its linear classifier."""
        ...


def stage_names(network: nn.Module, what: str) -> tuple[str, ...]:
    """Return the names of a chain's stages, shallow to deep.

    Args:
        network: direct children in order of execution, the stages among them, the classifier last.
        what: who needs a chain, for the message.

    Returns:
        Names of direct children, at least one.

    Raises:
        ConfigError: if the network is no such chain, or does not say where its stages are.

    Example:
        >>> stage_names(nn.Linear(2, 2), "method 'simkd'")
        Traceback (most recent call last):
        goodteacher.base.errors.ConfigError: method 'simkd': needs a network that is a chain of stages and a classifier, ...
    """
    sites: Sites | None = getattr(network, "taps", None)
    names = list(dict(network.named_children()))
    if sites is None or not sites.stages or not set(sites.stages) <= set(names) or sites.head != names[-1]:
        raise ConfigError(
            what,
            rule="needs a network that is a chain of stages and a classifier",
            received=type(network).__name__,
            remedy="choose a model of `goodteacher list models` that has stages",
        )
    return sites.stages


def children_behind(network: nn.Module, child: str, what: str) -> dict[str, nn.Module]:
    """Return a chain's children between one of them and the classifier, in order of execution.

    Args:
        network: a chain, as in `stage_names`.
        child: name of a direct child.
        what: who needs them, for the message.

    Returns:
        Name to module, without the classifier; the network's own modules, not copies.

    Raises:
        ConfigError: if the network is no chain, or has no such child.
    """
    stages = stage_names(network, what)
    names = list(dict(network.named_children()))
    if child not in names:
        raise ConfigError(
            what,
            rule="needs the name of a child of the network",
            received=repr(child),
            remedy=f"it has {', '.join(stages)}",
        )
    return {name: network.get_submodule(name) for name in names[names.index(child) + 1 : -1]}


def tail_behind(network: nn.Module, stage: str, what: str) -> nn.Sequential:
    """Return a copy of everything that a chain does to the map after a stage.

    Args:
        network: a chain, as in `stage_names`, that is pooled before its classifier.
        stage: name of a direct child.
        what: who needs it, for the message.

    Returns:
        A module from maps ``(N, D, H, W)`` to logits ``(N, C)``, in training mode, sharing nothing with the network.

    Raises:
        ConfigError: if the network is no chain, or has no such child.
    """
    behind = children_behind(network, stage, what)
    _, head = list(network.named_children())[-1]
    tail = copy.deepcopy(nn.Sequential(*behind.values(), nn.Flatten(1), head))
    return tail.requires_grad_(True).train()
