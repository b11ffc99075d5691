"""A study's file and the words of a command line that change it: where each value stands is known, and said of a mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from goodteacher.base.errors import ConfigError
from goodteacher.base.file_names import file_name
from goodteacher.base.plain_scalars import quoted
from goodteacher.base.strict_yaml import place_of, read_value, read_yaml
from goodteacher.train.recipe import Recipe

Keys = tuple[str, ...]
# Keys whose value is true or false, where yes and off are read as they are meant.
FLAGS = frozenset(name for name, field in Recipe.model_fields.items() if field.annotation is bool)


class StudyFile:
    """What a study file says, changed by the command line.

    Args:
        path: of the YAML file; its stem is the study's name unless the file gives one.
        overrides: ``key.path=value`` changes, values in YAML.
        given: values of other options, by the keys that lead to them; taken as they are, and overrides win.

    Raises:
        ConfigError: if the file is missing, is not YAML, or holds no keys; or for a change that makes no sense.
    """

    def __init__(self, path: Path, overrides: Sequence[str], given: Mapping[Keys, Any]) -> None:
        what = f"study file {path}"
        self.path, self._document = path, read_yaml(_content(path, what), what, flags=FLAGS)
        values = self._document.values
        if not isinstance(values, dict):
            received = "an empty file" if values is None else f"a {type(values).__name__}"
            raise ConfigError(what, rule="must hold keys such as problem, teachers, students", received=received)
        self.values = values
        self.values.setdefault("name", file_name(path.stem))
        self._changed: list[Keys] = [*given]
        for keys, value in given.items():
            _parent(values, keys[:-1], what)[keys[-1]] = value
        for override in overrides:
            self._changed.append(apply_override(values, override))

    def placed(self, error: ConfigError) -> ConfigError:
        """Return a mistake with the line it stands in, and as remedy the quotes around a text that was read as something else."""
        if any(error.at[: len(keys)] == keys for keys in self._changed):
            return error
        place = place_of(self._document.places, error.at)
        what = f"{self.path}{f', line {place.line}' if place else ''}: {error.what}"
        meant_text = place is not None and error.remedy.startswith("quote it") and place.written
        remedy = f"quote it: {quoted(meant_text)}" if meant_text else error.remedy
        return ConfigError(what, rule=error.rule, received=error.received, remedy=remedy)


def _content(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        received = "a folder" if path.is_dir() else "no such file"
        raise ConfigError(what, rule="must exist", received=received) from None
    except (OSError, ValueError) as error:  # no right to read it, or a name that no file can have
        raise ConfigError(what, rule="must be readable", received=str(error)) from None


def apply_override(values: dict[str, Any], override: str, option: str = "--set") -> tuple[str, ...]:
    """Change one value of a nested mapping in place by ``key.path=value``.

    Args:
        values: what is changed.
        override: the change; a key that holds points is found where it is there already.
        option: the words come from, for messages.

    Returns:
        The keys that lead to the value.

    Raises:
        ConfigError: unless it is a path to a place that can hold a value, and a value in YAML.

    Example:
        >>> study = {"teachers": {"wrn_0.5": {"keep": "last"}}}
        >>> apply_override(study, "teachers.wrn_0.5.keep=half"), study
        (('teachers', 'wrn_0.5', 'keep'), {'teachers': {'wrn_0.5': {'keep': 'half'}}})
    """
    path, separator, text = override.partition("=")
    path = path.strip()
    if not separator or not path:
        raise ConfigError(option, rule="must be KEY=VALUE", received=repr(override))
    what = f"{option} {path}"
    parts = path.split(".")
    if not all(part.strip() for part in parts):
        raise ConfigError(what, rule="must be keys with a point between them", received=repr(path))
    keys = _known_keys(values, parts)
    value = read_value(text, what, flag=keys[-1] in FLAGS)
    _parent(values, keys[:-1], what)[keys[-1]] = value
    return keys


def _known_keys(values: Any, parts: list[str]) -> tuple[str, ...]:
    """Return the keys of a path, taking as one key what is one where it leads through."""
    if not parts:
        return ()
    known = values if isinstance(values, dict) else {}
    for n in range(len(parts), 0, -1):
        key = ".".join(parts[:n])
        if key in known:
            return (key, *_known_keys(known[key], parts[n:]))
    return (parts[0], *_known_keys(None, parts[1:]))


def _parent(values: dict[str, Any], keys: Keys, what: str) -> dict[str, Any]:
    """Return the mapping that keys lead to, made where it is missing."""
    place = values
    for i, key in enumerate(keys):
        child = place.get(key)
        if child is None:
            child = place[key] = {}
        elif i == 0 and key == "problem" and isinstance(child, str):
            child = place[key] = {"name": child}
        if not isinstance(child, dict):
            remedy = "give the whole list" if isinstance(child, list) else ""
            raise ConfigError(what, rule=f"'{key}' must hold keys", received=repr(child), remedy=remedy)
        # An alias shares its mapping with its anchor, which is not to change.
        place[key] = child = dict(child)
        place = child
    return place
