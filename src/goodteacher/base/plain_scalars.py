"""What an unquoted word of YAML is, and what YAML 1.1 would make of it."""

from __future__ import annotations

import re

import yaml

_YAML = "tag:yaml.org,2002:"
_OWN = "tag:goodteacher,2025:"

# Tags of YAML, and two of ours: `word` is yes, no, on or off; `odd` is a number or a date that is not what it looks like.
TAGS = {
    **{name: _YAML + name for name in ("str", "null", "bool", "int", "float", "seq", "map", "merge")},
    "word": _OWN + "word",
    "odd": _OWN + "odd",
}
# Looks like a space or like nothing: no-break spaces, zero-width signs, direction marks, a byte order mark.
INVISIBLE = "\u00a0\u00ad\u200b\u200c\u200d\u200e\u200f\u202f\u2060\ufeff"

_PLAIN = (
    ("null", re.compile(r"|~|null|Null|NULL")),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE")),
    ("word", re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")),
    ("merge", re.compile(r"<<")),
    ("int", re.compile(r"[-+]?(0|[1-9][0-9]*)")),
    # Exponents need a point and a sign here, as ever: 1e-3 is text, which becomes a number where one is meant.
    ("float", re.compile(
        r"[-+]?((0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    )),
    ("odd", re.compile(
        r"[-+]?0[0-9_]+(\.[0-9_]*)?|[-+]?0[xX][0-9a-fA-F_]+|[-+]?0[oO][0-7_]+|[-+]?0[bB][01_]+"
        r"|[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?|[-+]?[0-9][0-9]*\.[0-9]*_[0-9_]*|[-+]?\._*[0-9][0-9_]*_[0-9_]*"
        r"|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"
        r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?"
    )),
)  # fmt: skip


def plain_tag(text: str) -> str:
    """Return the tag of an unquoted text.

    Example:
        >>> [plain_tag(text).split(":")[-1] for text in ("x", "1", "1.5", "1e-3", "on", "010", "12:30")]
        ['str', 'int', 'float', 'str', 'word', 'odd', 'odd']
    """
    return TAGS[next((name for name, pattern in _PLAIN if pattern.fullmatch(text)), "str")]


def refusal(tag: str, text: str) -> str:
    """Return what was read, and what YAML 1.1 makes of it.

    Example:
        >>> refusal(plain_tag("010"), "010")
        '010, which YAML reads as the number 8'
    """
    if tag == TAGS["word"]:
        return f"{text}, which YAML reads as {'true' if text.lower() in ('yes', 'on') else 'false'}"
    if tag == TAGS["bool"]:
        return f"{text}, which is no text"
    if tag == TAGS["null"]:
        return f"{text}, which YAML reads as nothing"
    if tag == TAGS["int"]:
        return f"the number {text}"
    if tag == TAGS["float"]:
        return f"{text}, which is no finite number" if "n" in text.lower() else f"the number {text}"
    try:
        read = yaml.safe_load(text)
    except ValueError:  # a thirteenth month
        return f"{text}, which YAML cannot read as a date"
    if isinstance(read, str):
        return f"{text}, which some YAML reads as a number and some as text"
    return f"{text}, which YAML reads as the {'number' if isinstance(read, int | float) else 'date'} {read}"


def instead(tag: str, text: str) -> str:
    """Return what to write in place of a plain text that is not what it looks like."""
    quote = f"quote it: {quoted(text)}"
    if tag == TAGS["word"]:
        return f"write {'true' if text.lower() in ('yes', 'on') else 'false'}, or {quote}"
    if tag == TAGS["odd"]:
        if re.fullmatch(r"[-+]?0[xXoObB]\w+", text):
            return f"write {int(text, 0)}, or {quote}"
        number = re.fullmatch(r"([-+]?)0*([\d_]*)(\.[\d_]*)?", text)
        if number and ":" not in text:
            whole = f"{number[1]}{number[2].replace('_', '') or '0'}{(number[3] or '').replace('_', '')}"
            return f"write {whole}, or {quote}"
    if tag == TAGS["float"]:
        return f"write a number, or {quote}"
    return quote


def quoted(text: str) -> str:
    """Return a text as YAML's double quotes hold it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
