"""A user's own functions and classes, named ``module:Name`` or ``path.py:Name`` wherever a table's name is expected.

A name is looked up anew in every process that meets it, so that workers and later sessions find what the first one used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from goodteacher.base.errors import ConfigError, GoodteacherError, suggest
from goodteacher.base.own_modules import is_path, load_module, module_file

T = TypeVar("T")


# Houses of networks whose names are not modules of a user's own: ``timm:resnet50``.
HUBS = ("timm", "torchvision", "hf")


def is_hub(name: str) -> bool:
    """Say whether a name is a network of another house, such as ``timm:resnet50``.

    Example:
        >>> is_hub("timm:resnet50"), is_hub("my_module:make")
        (True, False)
    """
    house, colon, rest = name.partition(":")
    return bool(colon and rest) and house in HUBS


def is_own(name: str) -> bool:
    """Say whether a name is a user's own, rather than a key of a table or a network of another house."""
    return ":" in name and not is_hub(name)


def own_identity(name: str) -> str:
    """Return what tells a user's own name from the same name in another folder: the path of its file, where it has one."""
    module, _, attribute = name.rpartition(":")
    file = module_file(module if is_path(module) else f"./{module.replace('.', '/')}")
    return name if file is None else f"{file}:{attribute}"


def resolve(what: str, name: str) -> Callable[..., Any]:
    r"""Return what a name stands for.

    Args:
        what: the kind of thing, for messages: ``model``, ``method``, ...
        name: ``package.module:name``, where the module is importable, also from the current folder, or ``path/to/file.py:name``;
            a relative path is read from the current folder.

    Returns:
        A function or a class.

    Raises:
        ConfigError: if the module cannot be imported, or holds no such function.

    Example:
        >>> resolve("method", "math:sqrt")(4.0)
        2.0
    """
    # A path may hold a colon, as C:\nets\small.py:make does; a function's name holds none.
    module_name, _, attribute = name.rpartition(":")
    module = load_module(module_name, f"{what} '{name}'")
    found = getattr(module, attribute, None)
    if not callable(found):
        own = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        remedy = suggest(attribute, own) if own else ""
        rule = f"must name a function of {module_name}"
        raise ConfigError(f"{what} '{name}'", rule=rule, received=repr(attribute), remedy=remedy)
    return found  # type: ignore[no-any-return]


def built(
    what: str,
    build: Callable[..., T],
    given: Mapping[str, Any],
    *,
    rule: str = "must take its options",
    must: str = "must build",
) -> T:
    """Call a user's own function or constructor, and say in one sentence what is wrong with it.

    Args:
        what: kind and name, for messages.
        build: the function.
        given: its arguments.
        rule: what it must take, for the message.
        must: what it must do, for the message.

    Raises:
        ConfigError: if it does not take the arguments, or fails.

    Example:
        >>> built("method 'x:y'", lambda a: 1 / a, {"a": 0})
        Traceback (most recent call last):
        goodteacher.base.errors.ConfigError: method 'x:y': must build, got ZeroDivisionError: division by zero; call it ...
    """
    try:
        inspect.signature(build).bind(**given)
    except TypeError as error:
        raise ConfigError(what, rule=rule, received=f"{inspect.signature(build)}: {error}") from None
    try:
        return build(**given)
    except GoodteacherError:
        raise
    except Exception as error:
        raise ConfigError(
            what,
            rule=must,
            received=f"{type(error).__name__}: {error}",
            remedy="call it yourself first",
        ) from error
