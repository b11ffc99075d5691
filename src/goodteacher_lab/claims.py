"""What each paper claims and how its study departs from it, as `claim.md` in its folder says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Claim:
    """What is to be checked, and what is done otherwise than in the paper, one sentence or a few each."""

    text: str
    departures: tuple[str, ...]


def claim_of(name: str, **values: object) -> Claim:
    """Return the section of a reproduction.

    Args:
        name: of the reproduction, such as ``mse/figure1``; its folder is what comes before the slash.
        values: of this run, for the words in braces.

    Example:
        >>> claim_of("deviations/noise").text
        'Under wrong labels students deviate from their teachers by the same exaggeration, and are more accurate.'
    """
    page = files("goodteacher_lab").joinpath(name.split("/", maxsplit=1)[0], "claim.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
    text, *departures = re.split(r"\n\* ", section.strip())
    said = [" ".join(part.split()).format(**values) for part in (text, *departures)]
    return Claim(said[0], tuple(said[1:]))
