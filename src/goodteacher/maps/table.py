"""The tables of target maps: what is done to a trained teacher's logits before a student sees them; fitted on validation only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from goodteacher.base.compose import checked_options, written_options
from goodteacher.base.custom import built, is_own, resolve
from goodteacher.base.errors import ConfigError, check_choice
from goodteacher.maps.chain import Chain, FitChain
from goodteacher.maps.label_mix import FitLabelMix, LabelMix
from goodteacher.maps.linear import FitLinear, Linear
from goodteacher.maps.proxy_maps import FitProxy, Proxy
from goodteacher.maps.target_map import Fit, FitIdentity, FitOwn, Identity, TargetMap
from goodteacher.maps.temperature import FitTemperature, FitVectorTemperature, Temperature, VectorTemperature
from goodteacher.maps.top_k import FitTopK, TopK
from goodteacher.maps.views import FitViewAverage, ViewAverage

MAPS: dict[str, Callable[..., Fit]] = {
    "identity": FitIdentity,
    "temperature": FitTemperature,
    "linear": FitLinear,
    "vector_temperature": FitVectorTemperature,
    "pt_proxy": FitProxy,
    "top_k": FitTopK,
    "label_mix": FitLabelMix,
    "view_average": FitViewAverage,
}


def fitted_from(kind: str, state: Mapping[str, Any]) -> TargetMap:
    """Return a fitted map from what a run's file keeps of it.

    Args:
        kind: as `target_map.kind_of` names it; a user's own is imported again.
        state: the map's own.

    Example:
        >>> fitted_from("Temperature", {"temperature": 2.0})
        Temperature(temperature=2.0)
    """
    if is_own(kind):
        found: TargetMap = built(f"map '{kind}'", resolve("map", kind), state)
        return found
    return FITTED[kind](**state)


def _chain(steps: Iterable[Mapping[str, Any]]) -> Chain:
    return Chain(tuple(fitted_from(step["kind"], step["state"]) for step in steps))


# From the class's name in a run's file, and the state beside it, back to the map.
FITTED: dict[str, Callable[..., TargetMap]] = {
    "Identity": Identity,
    "Temperature": Temperature,
    "Linear": Linear,
    "VectorTemperature": VectorTemperature,
    "Proxy": Proxy,
    "TopK": TopK,
    "LabelMix": LabelMix,
    "ViewAverage": ViewAverage,
    "Chain": _chain,
}


def parse_map(spec: str | Mapping[str, Mapping[str, Any] | None] | None) -> Fit:
    """Return the map to be fitted that a user named.

    Args:
        spec: a name, a mapping from the name to its options, or None for the identity. ``temperature + top_k`` names a chain,
            fitted in the order written; its options are a mapping from a step's name to that step's. ``module:Name`` is a user's
            own fit: a class or function that takes options by keyword, and builds what `target_map.Fit` describes.

    Returns:
        An object with ``fit(logits, labels)``.

    Raises:
        ConfigError: for an unknown name or option, or a step named twice.

    Example:
        >>> parse_map({"temperature + top_k": {"top_k": {"k": 3}}}).steps["top_k"].k
        3
    """
    if spec is None:
        return FitIdentity()
    if not isinstance(spec, str) and len(spec) != 1:
        raise ConfigError("map", rule="must name one map", received=f"{len(spec)} names")
    name, given = (spec, None) if isinstance(spec, str) else next(iter(spec.items()))
    if "+" in name:
        return _parse_chain(name, given)
    if is_own(name):
        return _own(name, given)
    check_choice("map", name, MAPS)
    options = checked_options(f"map '{name}'", MAPS[name], given)
    return MAPS[name](**options)


def _own(name: str, given: Mapping[str, Any] | None) -> FitOwn:
    what, build = f"map '{name}'", resolve("map", name)
    options = written_options(what, build, checked_options(what, build, given))
    inner = built(what, build, options)
    if not isinstance(inner, Fit):
        rule = "must build what can be fitted, such as a subclass of goodteacher.maps.target_map.FitOneView"
        raise ConfigError(what, rule=rule, received=f"a {type(inner).__name__}")
    return FitOwn(name, options, inner)


def written_out(spec: str | Mapping[str, Mapping[str, Any] | None] | None) -> dict[str, dict[str, Any]]:
    """Return a map's name with all its options: what `parse_map` reads as the same map, whatever the defaults become.

    Args:
        spec: as for `parse_map`.

    Example:
        >>> written_out("top_k")
        {'top_k': {'k': 5, 'rest': 'spread'}}
    """
    name = "identity" if spec is None else spec if isinstance(spec, str) else next(iter(spec), "")
    return {name: _options(parse_map(spec))}


def _options(fit: Fit) -> dict[str, Any]:
    if isinstance(fit, FitChain):
        return {"steps": {name: _options(step) for name, step in fit.steps.items()}}
    if isinstance(fit, FitOwn):
        return dict(fit.options)
    assert is_dataclass(fit) and not isinstance(fit, type), "every row of the table is one"
    return asdict(fit)


def _parse_chain(name: str, given: Mapping[str, Any] | None) -> FitChain:
    names = [part.strip() for part in name.split("+")]
    if len(set(names)) < len(names):
        raise ConfigError("map", rule="may name each step once", received=repr(name))
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"map '{name}'", rule="takes a mapping from step to options", received=repr(given))
    steps = given or {}
    options = steps["steps"] if set(steps) == {"steps"} else steps  # as `FitChain` itself is written down
    for step in options:
        check_choice(f"step of map '{name}'", step, names)
    return FitChain({part: parse_map({part: options.get(part)}) for part in names})
