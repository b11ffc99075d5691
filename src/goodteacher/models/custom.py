"""A user's own networks: a factory named ``module:function``, or a network object used in this process."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable

from torch import nn

from goodteacher.base.custom import resolve
from goodteacher.base.errors import ConfigError
from goodteacher.base.source import code_of

# Networks handed over as objects, by content. A later process must hand them over again before it can load their runs.
_HANDED_OVER: dict[str, nn.Module] = {}
PREFIX = "object:"


def hand_over(model: nn.Module) -> str:
    """Return a name under which a network object can be used where a model's name is expected, in this process.

    Args:
        model: copied at each use; its weights are where training starts.

    Returns:
        A name with the hash of class and weights.
    """
    digest = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).numpy().tobytes())
    key = f"{PREFIX}{type(model).__name__}-{digest.hexdigest()[:12]}"
    _HANDED_OVER[key] = copy.deepcopy(model).cpu()
    return key


def own_code(what: str, name: str) -> str | None:
    """Return the hash of the source behind a user's own name, or None where an installed package holds it.

    Args:
        what: the kind of thing, for messages.
        name: ``module:function``, or a network's from `hand_over`.
    """
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
    if name.startswith(PREFIX):
        return lambda classes: copy.deepcopy(_handed_over(name))
    return resolve("model", name)
