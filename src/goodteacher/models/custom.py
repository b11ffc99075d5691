"""A user's own networks: a factory named ``module:function``, or a network object used in this process."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable

from torch import nn
from torch.nn.parameter import is_lazy

from goodteacher.base.custom import resolve
from goodteacher.base.errors import ConfigError
from goodteacher.base.source import code_of
from goodteacher.models.taps import not_compiled

# Networks handed over as objects, by content.
_HANDED_OVER: dict[str, nn.Module] = {}
# Those of an earlier process, which are known by what was kept of them, for each shape of inputs: how one is made, and the hash
# of its source then.
_RECALLED: dict[str, dict[tuple[int, ...], tuple[Callable[[], nn.Module], str | None]]] = {}
PREFIX = "object:"


def hand_over(model: nn.Module) -> str:
    """Return a name under which a network object can be used where a model's name is expected, in this process.

    Args:
        model: copied at each use; its weights are where training starts. Weights of another floating-point type are brought to
            float32, in which networks train here; the recipe's ``precision`` says what they compute in. A compiled network is
            taken in its plain form.

    Returns:
        A name with the hash of class and weights.

    Raises:
        ConfigError: if the network has no weights yet, or cannot be copied.
    """
    plain = not_compiled(model)
    copied = _copied(plain)
    digest = hashlib.sha256(repr(plain).encode())
    for name, value in copied.state_dict().items():
        digest.update(name.encode())
        digest.update(value.contiguous().view(-1).numpy().tobytes())
    key = f"{PREFIX}{type(plain).__name__}-{digest.hexdigest()[:12]}"
    _HANDED_OVER[key] = copied
    return key


def _copied(model: nn.Module) -> nn.Module:
    """Return a copy of a network on the CPU in float32."""
    what = f"the network {type(model).__name__}"
    tensors = [*model.parameters(), *model.buffers()]
    if any(is_lazy(t) for t in tensors):
        remedy = "call it once on a batch, which gives its lazy layers their shapes"
        raise ConfigError(what, rule="must have all its weights", received="layers without a shape", remedy=remedy)
    if any(t.is_meta for t in tensors):
        raise ConfigError(what, rule="must have numbers in its weights", received="weights on the meta device")
    remedy = (
        "name a function that builds it instead (module:function); for weight_norm use torch.nn.utils.parametrizations"
    )
    try:
        copied = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        received = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise ConfigError(what, rule="must be what copy.deepcopy copies", received=received, remedy=remedy) from None
    if not all(p.is_leaf for p in copied.parameters()):
        received = "weights that are computed from others, as TorchScript's copies are"
        raise ConfigError(what, rule="must be a plain network", received=received, remedy=remedy)
    return copied.cpu().float()


def is_handed_over(name: str) -> bool:
    """Say whether a network object of that name was handed over in this process."""
    return name in _HANDED_OVER


def recall(name: str, shape: tuple[int, ...], build: Callable[[], nn.Module], code: str | None) -> None:
    """Make a network object of an earlier process known, unless it was handed over again in this one.

    Args:
        name: from `hand_over`, then.
        shape: of one example as it saw it.
        build: makes the network from what was kept of it.
        code: hash of its source then.
    """
    _RECALLED.setdefault(name, {}).setdefault(shape, (build, code))


def check_trainable(name: str) -> None:
    """Raise `ConfigError` for a network object of an earlier process: what is kept of one answers, and does not train."""
    if name.startswith(PREFIX) and not is_handed_over(name) and name in _RECALLED:
        raise ConfigError(
            f"model '{name}'",
            rule="was an object of another process: it can teach, be ranked and be shipped, but not be trained",
            remedy="build the same network again and hand it over, or name a function that builds it",
        )


def own_code(what: str, name: str) -> str | None:
    """Return the hash of the source behind a user's own name, or None where an installed package holds it.

    Args:
        what: the kind of thing, for messages.
        name: ``module:function``, or a network's from `hand_over`.
    """
    if name.startswith(PREFIX) and not is_handed_over(name) and name in _RECALLED:
        return next(iter(_RECALLED[name].values()))[1]
    if name.startswith(PREFIX):
        return code_of(type(_handed_over(name)))
    return code_of(resolve(what, name))


def _handed_over(name: str) -> nn.Module:
    if name not in _HANDED_OVER:
        raise ConfigError(
            f"model '{name}'",
            rule="was an object of another process",
            remedy="build it again and call goodteacher.models.custom.hand_over(model) first",
        )
    return _HANDED_OVER[name]


def _recalled(name: str, shape: tuple[int, ...]) -> nn.Module:
    known = _RECALLED[name]
    if shape not in known:
        rule = f"was kept for inputs of shape {' or '.join(map(str, known))}"
        raise ConfigError(f"model '{name}'", rule=rule, received=shape, remedy="hand the network over again")
    return known[shape][0]()


def custom_factory(name: str) -> Callable[..., nn.Module]:
    """Return the constructor behind a custom name.

    Args:
        name: ``package.module:function`` or ``path/to/file.py:function`` (see `goodteacher.base.custom.resolve`), or a name from
            `hand_over`.

    Returns:
        A callable; a factory is called with ``classes`` and, if it takes them, ``input_shape`` and its own options.

    Raises:
        ConfigError: if there is no such module, function or object.
    """
    if name.startswith(PREFIX) and not is_handed_over(name) and name in _RECALLED:
        return lambda classes, input_shape: _recalled(name, tuple(input_shape))
    if name.startswith(PREFIX):
        return lambda classes: copy.deepcopy(_handed_over(name))
    return resolve("model", name)
