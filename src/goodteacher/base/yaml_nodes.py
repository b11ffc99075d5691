"""Text in YAML as nodes: its grammar, said in plain words, and its size. What nodes mean is told by `strict_yaml`."""

from __future__ import annotations

from typing import Any

import yaml

from goodteacher.base.errors import ConfigError
from goodteacher.base.plain_scalars import plain_tag, quoted

MOST_NODES = 20_000  # with every alias written out: far more than a study has, far less than memory holds


class _Composer(yaml.SafeLoader):
    """Makes nodes; what an unquoted word is, is told by `plain_tag` and not by YAML 1.1."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        """Return the tag of a node that has none."""
        if kind is yaml.ScalarNode and implicit[0] and value is not None:
            return plain_tag(value)
        return str(super().resolve(kind, value, implicit))


class Nodes:
    """One text being read.

    Args:
        text: in YAML.
        what: it is, for messages.
        one_line: whether it is the value of an option, of which nothing may be left unread.
    """

    def __init__(self, text: str, what: str, *, one_line: bool = False) -> None:
        self.text, self.what, self.one_line = text, what, one_line

    def root(self) -> yaml.Node | None:
        """Return the node of the whole text, or None where it says nothing.

        Raises:
            ConfigError: for what is no YAML, or endless, or not one document.
        """
        node = self._composed()
        if self.one_line:
            self._check_whole(node)
        if node is not None:
            self._check_size(node)
        return node

    def refuse(self, mark: yaml.Mark | None, rule: str, received: object = None, remedy: str = "") -> ConfigError:
        """Return a mistake with its place."""
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        if self.one_line and mark is not None:
            where = f", character {mark.index + 1}"
        return ConfigError(f"{self.what}{where}", rule=rule, received=received, remedy=remedy)

    def _composed(self) -> yaml.Node | None:
        try:
            node: yaml.Node | None = _Composer(self.text).get_single_node()
        except yaml.reader.ReaderError as error:
            line = self.text[: error.position].count("\n") + 1
            received = f"U+{ord(self.text[error.position]):04X} in line {line}"
            raise ConfigError(
                self.what, rule="must be YAML, which has no such characters", received=received, remedy="remove it"
            ) from None
        except yaml.MarkedYAMLError as error:
            raise self._no_yaml(error) from None
        return node

    def _no_yaml(self, error: yaml.MarkedYAMLError) -> ConfigError:
        """Return what to say of text that is no YAML."""
        mark, problem = error.problem_mark or error.context_mark, error.problem or "a mistake"
        rest = self.text[mark.index :] if mark is not None else ""
        if "another document" in problem:
            return self.refuse(mark, "must hold one document", "another one after '---'", "put it into its own file")
        if problem == "second occurrence" and error.context_mark is not None:
            received = f"it again, after line {error.context_mark.line + 1}"
            return self.refuse(mark, "may give an anchor once", received, "give it another name")
        if rest.startswith("\t"):
            return self.refuse(mark, "must be YAML, which is indented by spaces", "a tab", "write spaces")
        if "mapping values are not allowed" in problem:
            remedy = "check the indentation; text with ': ' in it must be quoted"
            return self.refuse(mark, "must be YAML", "a ':' where no key can be", remedy)
        if rest[:1] in ("@", "`", "%"):
            remedy = f"quote it: {quoted(rest.splitlines()[0].strip())}"
            return self.refuse(mark, f"must be YAML, where no text begins with {rest[0]}", repr(rest[0]), remedy)
        if rest.startswith(":"):
            return self.refuse(
                mark, "must be YAML", "a ':' without a key before it", "write the key before it, or quote"
            )
        if "undefined alias" in problem:
            remedy = "define it before with '&', or quote the text"
            return self.refuse(
                mark, "must be YAML, where '*' refers to an anchor", problem.removeprefix("found "), remedy
            )
        what = " ".join([*((error.context, "but") if error.context else ()), problem])
        remedy = (
            "quote text that is meant literally"
            if self.one_line
            else "close every bracket and quote, and indent by spaces"
        )
        # The line is in the place, and again in words that people have come to look for.
        line = "" if mark is None or self.one_line else f"a mistake in line {mark.line + 1}: "
        return self.refuse(mark, "must be YAML", f"{line}{what}", remedy)

    def _check_size(self, node: yaml.Node) -> None:
        """Refuse what would be endless, or enormous, with its aliases written out."""
        sizes: dict[int, int | None] = {}

        def size(item: yaml.Node) -> int:
            key = id(item)
            if key in sizes:
                known = sizes[key]
                if known is None:
                    raise self.refuse(item.start_mark, "may not refer to itself", "an alias inside what it stands for")
                return known
            sizes[key] = None
            parts = []
            if isinstance(item, yaml.SequenceNode):
                parts = item.value
            elif isinstance(item, yaml.MappingNode):
                parts = [part for pair in item.value for part in pair]
            total = 1 + sum(size(part) for part in parts)
            if total > MOST_NODES:
                raise self.refuse(
                    item.start_mark, f"may hold at most {MOST_NODES} values, aliases written out", "more than that"
                )
            sizes[key] = total
            return total

        size(node)

    def _check_whole(self, node: yaml.Node | None) -> None:
        """Refuse one line of which YAML would leave something out."""
        rest = self.text[node.end_mark.index :].strip() if node is not None else self.text.strip()
        begins = self.text.strip()[:1]
        if rest:
            received, why = rest, "a comment" if rest.startswith("#") else "more than one value"
        elif begins in ("&", "|", ">"):
            received, why = self.text.strip(), {"&": "an anchor"}.get(begins, "the head of a block text")
        else:
            return
        raise self.refuse(
            None,
            f"must be one value in YAML, where this is {why}",
            received,
            f"quote it: '{quoted(self.text.strip())}'",
        )


def decoded(text: str | bytes, what: str) -> str:
    """Return bytes as text, without a byte order mark.

    Raises:
        ConfigError: if they are no UTF-8, nor UTF-16 with its mark.
    """
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    encoding = "utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return text.decode(encoding)
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        received = f"byte 0x{text[error.start]:02x} in line {line}"
        raise ConfigError(what, rule="must be text in UTF-8", received=received, remedy="save it as UTF-8") from None
