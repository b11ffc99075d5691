"""Taps: read logits, embedding, stage maps and pre-activations of any network by module name, without editing it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.hooks import RemovableHandle

from goodteacher.base.errors import ConfigError, suggest
from goodteacher.base.shapes import HOW_TO_TAP
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
                    remedy=HOW_TO_TAP,
                )
        return {tap: declared[tap] for tap in wanted}


def read_taps(given: Any, what: str) -> Taps:
    """Return taps from a mapping, as a study file holds them.

    Args:
        given: ``stages`` and ``pre_activations`` as lists of module names, ``stem`` and ``head`` as names.
        what: whose they are, for the message.

    Raises:
        ConfigError: for another key, or a value of another kind.

    Example:
        >>> read_taps({"stages": ["layer1", "layer2"], "head": "fc"}, "taps")
        Taps(stages=('layer1', 'layer2'), pre_activations=(), stem=None, head='fc')
    """
    kinds = {"stages": list | tuple, "pre_activations": list | tuple, "stem": str, "head": str}
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(what, rule=f"must be a mapping of {', '.join(kinds)}", received=repr(given))
    for key, value in given.items():
        if key not in kinds:
            raise ConfigError(what, rule="must name known taps", received=repr(key), remedy=suggest(str(key), kinds))
        names = value if isinstance(value, list | tuple) else [value]
        if not isinstance(value, kinds[key]) or not all(isinstance(name, str) for name in names):
            kind = "one module's name" if kinds[key] is str else "a list of module names"
            raise ConfigError(f"{what}, '{key}'", rule=f"must be {kind}", received=repr(value))
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    return Taps(**fields)


class TapError(ConfigError):
    """A site that a network's forward pass goes past."""


def unwrapped(model: nn.Module, *, keep: type[nn.Module] | tuple[()] = ()) -> nn.Module:
    """Return the network inside of the wrappers of `torch.compile`, DataParallel and DistributedDataParallel.

    Args:
        model: in any number of wrappers.
        keep: a class of wrappers to stop at.
    """
    while not isinstance(model, keep):
        # The compiler's own class takes a second to import.
        inner = model.module if isinstance(model, nn.DataParallel | DistributedDataParallel) else _compiled(model)
        if inner is None:
            break
        model = inner
    return model


def _compiled(model: nn.Module) -> nn.Module | None:
    """Return what `torch.compile` made a network of, or None where it is no such network."""
    return dict(model.named_children()).get("_orig_mod")


def not_compiled(model: nn.Module) -> nn.Module:
    """Return what `torch.compile` made a network of, or the network itself."""
    return _compiled(model) or model


def guess_taps(model: nn.Module) -> Taps:
    """Return a model's own taps, or, for a foreign network, its last linear layer as head and nothing else."""
    inner = unwrapped(model)
    own = getattr(inner, "taps", None)
    if isinstance(own, Taps):
        return own
    linear = [name for name, module in inner.named_modules() if isinstance(module, nn.Linear)]
    return Taps(head=linear[-1] if linear else None)


class TappedModel:
    """Calls a network and returns an `Output` with the wanted taps.

    Hooks are attached for the length of one call, so that the network itself stays as its owner made it. Gradients flow
    through everything that is read. A network in a wrapper is read inside of it: a compiled one runs its plain form where taps
    are wanted, because what is compiled already knows nothing of hooks that come later; one in DistributedDataParallel runs
    in its wrapper, which averages gradients.

    Args:
        model: any network that maps inputs to logits ``(N, C)``.
        taps: where to read it; by default `guess_taps`.

    Raises:
        ConfigError: if a site names no module of the network.
    """

    def __init__(self, model: nn.Module, taps: Taps | None = None) -> None:
        self.model = model
        self.inner = unwrapped(model)
        # What is called where taps are wanted: a wrapper that averages gradients has to know of the step.
        self._tapped = unwrapped(model, keep=DistributedDataParallel)
        self.taps = taps or guess_taps(model)
        self._compiled: tuple[frozenset[Tap], Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]] | None = None
        names = dict(self.inner.named_modules())
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
        if self._compiled is not None and wanted == self._compiled[0]:
            logits, read = self._compiled[1](inputs)
            return _output(logits, read, self.taps.sites(wanted))
        # Without taps the wrapper runs as it is, compiled or distributed.
        if not wanted:
            return Output(logits=logits_of(self.model(inputs)))
        by_tap = self.taps.sites(wanted)
        read = {}
        handles = self._attach(by_tap, read)
        try:
            with _plain_calls(self._tapped):
                logits = logits_of(self._tapped(inputs))
        finally:
            for handle in handles:
                handle.remove()
        return _output(logits, read, by_tap)

    def compile(self, wanted: frozenset[Tap], *args: Any, **options: Any) -> None:
        """Compile the network's call with some taps in it; other calls stay as they are.

        Hooks for these taps stay on the network from now on: a compiled call holds those that it was compiled with.

        Args:
            wanted: taps that the compiled call reads.
            args: as those of `torch.compile`.
            options: as those of `torch.compile`.
        """
        read: dict[str, Tensor] = {}
        self._attach(self.taps.sites(wanted), read)

        def call(inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return logits_of(self.inner(inputs)), dict(read)

        self._compiled = (wanted, torch.compile(call, *args, **options))

    def _attach(self, by_tap: Mapping[Tap, tuple[str, ...]], read: dict[str, Tensor]) -> list[RemovableHandle]:
        sites = {site for sites in by_tap.values() for site in sites}
        return [_hook(self.inner, site, read) for site in sorted(sites)]


def _hook(network: nn.Module, site: str, read: dict[str, Tensor]) -> RemovableHandle:
    """Attach a hook that puts what a site answers, or what goes into it, under the site's name."""

    def keep_input(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        read[site] = given[0]

    def keep_output(module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        read[site] = answer

    module = network.get_submodule(site.removesuffix(":input"))
    if site.endswith(":input"):
        return module.register_forward_pre_hook(keep_input)
    return module.register_forward_hook(keep_output)


def _plain_calls(model: nn.Module) -> AbstractContextManager[object]:
    """Return the context in which what is compiled runs in its plain form: it was compiled without the hooks to be called."""
    if not any(getattr(module, "_compiled_call_impl", None) or _compiled(module) for module in model.modules()):
        return contextlib.nullcontext()
    plain: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return plain


def _output(logits: Tensor, read: Mapping[str, Tensor], by_tap: Mapping[Tap, tuple[str, ...]]) -> Output:
    """Return logits with what was read at the sites of each tap.

    Raises:
        ConfigError: if the forward pass went past a site.
    """
    for tap, sites in by_tap.items():
        for site in sites:
            if site not in read:
                raise TapError(
                    f"tap '{tap}'",
                    rule=f"reads the module '{site.removesuffix(':input')}', which the network's forward pass did not call",
                    remedy="declare where the network is to be read: Taps(...) with names from `goodteacher list taps MODEL`",
                )
    maps = {tap: tuple(as_map(read[site]) for site in sites) for tap, sites in by_tap.items()}
    return Output(
        logits=logits,
        embedding=read[by_tap["embedding"][0]].flatten(1) if "embedding" in maps else None,
        stages=maps.get("stages", ()),
        pre_activations=maps.get("pre_activations", ()),
        stem=maps["stem"][0] if "stem" in maps else None,
    )


def as_map(features: Tensor) -> Tensor:
    """Return tokens ``(N, T, D)`` as a map ``(N, D, H, W)``: the last H² of them, row by row; anything else as it is.

    What stands before a square number of tokens (a class token, registers) belongs to no place and is left out.

    Example:
        >>> as_map(torch.zeros(2, 197, 192)).shape, as_map(torch.zeros(2, 8, 4, 4)).shape
        (torch.Size([2, 192, 14, 14]), torch.Size([2, 8, 4, 4]))
    """
    if features.dim() != 3:
        return features
    side = math.isqrt(features.shape[1])
    n, _, width = features.shape
    return features[:, features.shape[1] - side**2 :].transpose(1, 2).reshape(n, width, side, side)


def logits_of(answer: object) -> Tensor:
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
        plain = tapped(inputs)
        out = tapped(inputs, frozenset(tap for tap, sites in declared.items() if sites))
    except TapError:
        # A guess may be wrong: an auxiliary head that stands last and is not called. What its owner declares may not be.
        if taps is not None or isinstance(getattr(unwrapped(model), "taps", None), Taps):
            raise
        out = plain
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
        One row per module; what a user chooses tap names from.
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
