"""Names of files and folders made from what a user typed: readable, safe on every system, and told apart."""

from __future__ import annotations

import hashlib
import re
import unicodedata

MOST_BYTES = 60  # of a readable part; a folder's name may take 255, and some hold several parts


def file_name(text: str, most: int = 200) -> str:
    """Return the readable part of a name: letters of any script, digits, ``_``, ``-`` and ``.``.

    Example:
        >>> file_name("mein Bild (2)"), file_name("собаки"), file_name("???")
        ('mein-Bild-2', 'собаки', 'x')
    """
    # Systems differ in whether an accent is part of its letter.
    kept = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", text)).lstrip("-._")
    while len(kept.encode(errors="replace")) > most:
        kept = kept[:-1]
    return kept.rstrip("-.") or "x"


def told_apart(text: str, identity: str = "", most: int = MOST_BYTES) -> str:
    """Return a readable name, with a short hash where that alone does not tell two apart.

    Args:
        text: what is shown of it.
        identity: what it is, such as a whole path; where there is none, the text.
        most: bytes of the readable part.

    Example:
        >>> told_apart("digits"), told_apart("train", "/data/v1/train.npz")
        ('digits', 'train-9c5eec')
    """
    readable = file_name(text, most)
    if not identity and readable == text:
        return readable
    return f"{readable}-{hashlib.sha256((identity or text).encode(errors='surrogateescape')).hexdigest()[:6]}"
