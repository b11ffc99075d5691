"""YAML in which nothing is swallowed, overwritten or read otherwise than it is written.

YAML 1.1, which PyYAML reads, takes ``on`` for true, ``010`` for 8, ``12:30`` for 750, and of two equal keys the second. Each of
these is refused in a sentence with its line and what to write instead. Anchors, aliases, merges (``<<``), comments, quotes, block
texts, CRLF and a byte order mark are read as ever.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from goodteacher.base.errors import ConfigError
from goodteacher.base.plain_scalars import INVISIBLE, TAGS, instead, quoted, refusal
from goodteacher.base.yaml_nodes import Nodes, decoded

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where something stands in a text: 1-based line and column, and how it is written there."""

    line: int
    column: int
    written: str = ""

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True)
class Document:
    """What a text says.

    Attributes:
        values: plain mappings, lists, texts, numbers, booleans and None.
        places: where each value stands, by the keys and positions that lead to it; keys stand for their values' beginning.
    """

    values: Any
    places: dict[Path, Place] = field(default_factory=dict)


def read_yaml(text: str | bytes, what: str, *, flags: Collection[str] = ()) -> Document:
    """Return what a text in YAML says.

    Args:
        text: one document; bytes in UTF-8, or in UTF-16 with its mark.
        what: it is, for messages: ``study file s.yaml``.
        flags: keys whose value is true or false, so that ``yes`` and ``off`` are no text there.

    Returns:
        The values and where they stand.

    Raises:
        ConfigError: for text that is no YAML, or that YAML would read otherwise than it is written.

    Example:
        >>> read_yaml("a: {b: [1, 1e-3, x]}", "text").values
        {'a': {'b': [1, '1e-3', 'x']}}
        >>> read_yaml("lr: 1_000", "text")
        Traceback (most recent call last):
        goodteacher.base.errors.ConfigError: text, line 1, column 5: ... got 1_000, ... 1000; write 1000, or quote it: "1_000".
    """
    return _Reading(decoded(text, what), what, flags).document()


def read_value(text: str, what: str, *, flag: bool = False) -> Any:
    """Return what one line of a command says: as `read_yaml`, where nothing may be left unread.

    Args:
        text: YAML in one line.
        what: option and key, for messages.
        flag: whether true or false is expected.

    Raises:
        ConfigError: as `read_yaml`, and for comments, anchors and block texts, which would be swallowed.

    Example:
        >>> read_value("[1, {a: b}]", "--set x")
        [1, {'a': 'b'}]
    """
    if not text.strip():
        raise ConfigError(what, rule="needs a value", received="nothing after '='", remedy="for none write null")
    return _Reading(text, what, ("",) if flag else (), one_line=True).document().values


class _Reading:
    """One text being read."""

    def __init__(self, text: str, what: str, flags: Collection[str], *, one_line: bool = False) -> None:
        self.nodes, self.flags = Nodes(text, what, one_line=one_line), flags
        self.places: dict[Path, Place] = {}

    def document(self) -> Document:
        """Return what the text says, and where."""
        try:
            node = self.nodes.root()
            return Document(None if node is None else self._value(node, (), flag="" in self.flags), self.places)
        except RecursionError:
            received = "brackets in brackets without end"
            raise self.nodes.refuse(None, "must be YAML", received, "nest less deeply") from None

    def _value(self, node: yaml.Node, path: Path, *, flag: bool = False) -> Any:
        self.places[path] = _place(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, flag=flag)
        if node.tag not in (TAGS["seq"], TAGS["map"]):
            raise self._foreign_tag(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(part, (*path, i)) for i, part in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        return self._mapping(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, value_node)
            if key in own:
                raise self.nodes.refuse(
                    key_node.start_mark,
                    "may hold a key once",
                    f"'{key}' again, after line {own[key][0].start_mark.line + 1}",
                    "write one '<<: [*a, *b]'" if key == "<<" else "remove one of them",
                )
            own[key] = (key_node, value_node)
        if "<<" in own and own["<<"][0].tag == TAGS["merge"]:
            merged = self._merged(own.pop("<<")[1], path)
        values = {}
        for key, (key_node, value_node) in own.items():
            values[key] = self._value(value_node, (*path, key), flag=key in self.flags)
            self.places[*path, key] = Place(_place(key_node).line, _place(key_node).column, _place(value_node).written)
        # As YAML has it: a mapping's own keys go before merged ones, which stand first.
        return {**merged, **values}

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        """Return what `<<` stands for: a mapping, or several of which the first to say something counts."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                received, remedy = repr(_place(part).written), "write '<<: *name' of an anchored mapping"
                raise self.nodes.refuse(part.start_mark, "'<<' must merge mappings", received, remedy)
            for key, value in self._mapping(part, path).items():
                values.setdefault(key, value)
        return values

    def _key(self, node: yaml.Node, value: yaml.Node) -> str:
        written = _place(node).written
        if not isinstance(node, yaml.ScalarNode):
            raise self.nodes.refuse(node.start_mark, "keys must be text", "a list or mapping as key", "write a text")
        if node.tag == TAGS["merge"]:
            return "<<"
        if node.style is None and node.tag != TAGS["str"]:
            if written:
                read, remedy = refusal(node.tag, written), f"quote it: {quoted(written)}"
            else:
                read, remedy = "nothing", "write a text before ':'"
            raise self.nodes.refuse(node.start_mark, "keys must be text", read, remedy)
        key = self._scalar(node)
        if node.style is None and any(sign in key for sign in INVISIBLE):
            raise self.nodes.refuse(
                node.start_mark, "keys may not hold invisible characters", ascii(key), "write it again"
            )
        if node.style is None and re.match(r"[\w.]+:([-+.\d\"'\[{]|true|false|null)", key) and _is_empty(value):
            raise self.nodes.refuse(node.start_mark, "a key ends with ': '", repr(key), "write a space after the ':'")
        return str(key)

    def _scalar(self, node: yaml.ScalarNode, *, flag: bool = False) -> Any:
        kind = next((name for name, tag in TAGS.items() if tag == node.tag), "")
        text = node.value
        if kind == "str" and node.style is None:
            self._check_lines(node)
        if kind in ("", "seq", "map", "set") or (kind == "merge" and node.style is None and text != "<<"):
            raise self._foreign_tag(node)
        if kind in ("str", "merge"):
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "word" and flag:
            return text.lower() in ("yes", "on")
        if kind == "int" and re.fullmatch(r"[-+]?\d+", text):
            return int(text)
        if kind == "float":
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if math.isfinite(number):
                return number
        said = refusal(node.tag, text)
        raise self.nodes.refuse(node.start_mark, "must be what it looks like", said, instead(node.tag, text))

    def _check_lines(self, node: yaml.ScalarNode) -> None:
        """Refuse a text that goes on in a line which was to be an item of a list."""
        lines = self.nodes.text[node.start_mark.index : node.end_mark.index].splitlines()
        for further, line in enumerate(lines[1:], start=1):
            if line.strip().startswith("- "):
                rule = "goes on, for it is indented more than the line before"
                where = f"'{line.strip()}' in line {node.start_mark.line + 1 + further}"
                raise self.nodes.refuse(
                    node.start_mark, f"the text '{lines[0].strip()}' {rule}", where, "align it, or quote the text"
                )

    def _foreign_tag(self, node: yaml.Node) -> ConfigError:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        rule = "must hold plain texts, numbers, lists and mappings"
        return self.nodes.refuse(node.start_mark, rule, f"the tag {tag}", "leave the tag out, or quote the text")


def _place(node: yaml.Node) -> Place:
    written = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
    return Place(node.start_mark.line + 1, node.start_mark.column + 1, written)


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value == ""


def place_of(places: Mapping[Path, Place], loc: Path) -> Place | None:
    """Return where the longest known beginning of a path stands.

    Example:
        >>> place_of({("a",): Place(3, 1)}, ("a", "b", 0))
        Place(line=3, column=1, written='')
    """
    known = [loc[:n] for n in range(len(loc), 0, -1) if loc[:n] in places]
    return places[known[0]] if known else None
