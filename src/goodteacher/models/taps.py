"""Taps: read logits, embedding, stage maps and pre-activations of any network by module name, without editing it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from goodteacher.base.errors import ConfigError, suggest
from goodteacher.base.types import Output, Tap


@dataclass(frozen=True)
class Taps:
    """Where a network is read: module names; ``name`` is a module's output, ``name:input`` its first input.

    Attributes:
        stages: maps shallow to deep.
        pre_activations: the same maps before their last non-linearity.
        stem: the map after the first layer.
        head: the linear classifier; its input is the embedding.

    Example:
        >>> Taps(stages=("layer1", "layer2"), head="fc")
        Taps(stages=('layer1', 'layer2'), pre_activations=(), stem=None, head='fc')
    """

    stages: tuple[str, ...] = ()
    pre_activations: tuple[str, ...] = ()
    stem: str | None = None
    head: str | None = None

    def sites(self, wanted: frozenset[Tap]) -> dict[Tap, tuple[str, ...]]:
        """Return the sites behind each wanted tap.

        Raises:
            ConfigError: if a wanted tap is not declared.
        """
        declared: dict[Tap, tuple[str, ...]] = {
            "stages": self.stages,
            "pre_activations": self.pre_activations,
            "stem": (self.stem,) if self.stem else (),
            "embedding": (f"{self.head}:input",) if self.head else (),
        }
        for tap in wanted:
            if not declared[tap]:
                raise ConfigError(
                    f"tap '{tap}'",
                    rule="must be declared for this model",
                    received="no module name",
                    remedy="pass Taps(...) with module names; `goodteacher list taps MODEL` shows them",
                )
        return {tap: declared[tap] for tap in wanted}


def guess_taps(model: nn.Module) -> Taps:
    """Return a model's own taps, or, for a foreign network, its last linear layer as head and nothing else."""
    own = getattr(model, "taps", None)
    if isinstance(own, Taps):
        return own
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return Taps(head=linear[-1] if linear else None)


class TappedModel:
    """Calls a network and returns an `Output` with the wanted taps.

    Hooks are attached for the length of one call, so that the network itself stays as its owner made it. Gradients flow
    through everything that is read.

    Args:
        model: any network that maps inputs to logits ``(N, C)``.
        taps: where to read it; by default `guess_taps`.

    Raises:
        ConfigError: if a site names no module of the network.
    """

    def __init__(self, model: nn.Module, taps: Taps | None = None) -> None:
        self.model = model
        self.taps = taps or guess_taps(model)
        names = dict(model.named_modules())
        for site in (*self.taps.stages, *self.taps.pre_activations, self.taps.stem, self.taps.head):
            if site and site.removesuffix(":input") not in names:
                name = site.removesuffix(":input")
                raise ConfigError(
                    "tap",
                    rule="must name a module of the network",
                    received=repr(name),
                    remedy=suggest(name, filter(None, names)),
                )

    def __call__(self, inputs: Tensor, wanted: frozenset[Tap] = frozenset()) -> Output:
        """Run the network on ``(N, ...)`` inputs and return logits with the wanted taps."""
        if not wanted:
            return Output(logits=_logits(self.model(inputs)))
        by_tap = self.taps.sites(wanted)
        read: dict[str, Tensor] = {}
        handles = [
            self._attach(site, functools.partial(read.__setitem__, site))
            for sites in by_tap.values()
            for site in set(sites)
        ]
        try:
            logits = _logits(self.model(inputs))
        finally:
            for handle in handles:
                handle.remove()
        maps = {tap: tuple(read[site] for site in sites) for tap, sites in by_tap.items()}
        embedding = maps["embedding"][0].flatten(1) if "embedding" in maps else None
        return Output(
            logits=logits,
            embedding=embedding,
            stages=maps.get("stages", ()),
            pre_activations=maps.get("pre_activations", ()),
            stem=maps["stem"][0] if "stem" in maps else None,
        )

    def _attach(self, site: str, keep: Callable[[Tensor], None]) -> Any:
        module = self.model.get_submodule(site.removesuffix(":input"))
        if site.endswith(":input"):
            return module.register_forward_pre_hook(lambda _, args: keep(args[0]))
        return module.register_forward_hook(lambda _, __, out: keep(out))


def _logits(answer: object) -> Tensor:
    """Return the logits of a network's answer: a tensor, or an object with ``logits`` as transformers return."""
    logits = getattr(answer, "logits", answer)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(answer).__name__
        raise ConfigError("the model's answer", rule="must be logits of shape (N, C)", received=got)
    return logits


@torch.no_grad()
def tap_shapes(
    model: nn.Module, inputs: Tensor, taps: Taps | None = None
) -> tuple[int, dict[str, tuple[tuple[int, ...], ...]]]:
    """Return the number of classes a network answers, and the shape of everything its taps read.

    Args:
        model: any network; it is left as it came.
        inputs: ``(N, ...)`` an example batch.
        taps: where to read it; by default `guess_taps`.

    Returns:
        C, and tap name to one shape a map, without N.
    """
    tapped = TappedModel(model, taps)
    found = tapped.taps
    declared: dict[Tap, object] = {
        "stages": found.stages, "pre_activations": found.pre_activations, "stem": found.stem, "embedding": found.head,
    }  # fmt: skip
    was_training = model.training
    model.eval()
    try:
        out = tapped(inputs, frozenset(tap for tap, sites in declared.items() if sites))
    finally:
        model.train(was_training)
    single = {"stem": out.stem, "embedding": out.embedding}
    shapes = {name: (tuple(x.shape[1:]),) for name, x in single.items() if x is not None}
    many = {"stages": out.stages, "pre_activations": out.pre_activations}
    return out.logits.shape[1], shapes | {
        name: tuple(tuple(x.shape[1:]) for x in maps) for name, maps in many.items() if maps
    }


@torch.no_grad()
def describe_taps(model: nn.Module, inputs: Tensor) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return (module name, class, output shape) of every module that answers a tensor, in order of execution.

    Args:
        model: any network.
        inputs: ``(N, ...)`` an example batch.

    Returns:
        One row a module; what a user chooses tap names from.
    """
    rows: list[tuple[str, str, tuple[int, ...]]] = []
    handles = [
        module.register_forward_hook(
            lambda m, _, out, name=name: (
                rows.append((name, type(m).__name__, tuple(out.shape))) if isinstance(out, Tensor) else None
            )
        )
        for name, module in model.named_modules()
        if name
    ]
    was_training = model.training
    try:
        model.eval()(inputs)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return rows
