"""A user's own functions and classes, named ``module:Name`` wherever a table's name is expected.

A name is looked up anew in every process that meets it, so that workers and later sessions find what the first one used.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from goodteacher.base.errors import ConfigError, GoodteacherError

T = TypeVar("T")


def is_own(name: str) -> bool:
    """Say whether a name is a user's own, rather than a key of a table."""
    return ":" in name


def resolve(what: str, name: str) -> Callable[..., Any]:
    """Return what a name stands for.

    Args:
        what: the kind of thing, for messages: ``model``, ``method``, ...
        name: ``package.module:name``, where the module is importable or a .py file in the current folder.

    Returns:
        A function or a class.

    Raises:
        ConfigError: if the module cannot be imported, or holds no such function.

    Example:
        >>> resolve("method", "math:sqrt")(4.0)
        2.0
    """
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name.removesuffix(".py").replace("/", "."))
    except ImportError as error:
        raise ConfigError(f"{what} '{name}'", rule="must name an importable module", received=str(error)) from None
    except Exception as error:
        received = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{what} '{name}'", rule="must name an importable module", received=received) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise ConfigError(f"{what} '{name}'", rule=f"must name a function of {module_name}", received=repr(attribute))
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
