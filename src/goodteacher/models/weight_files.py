"""Weights in a file, of ours or of another toolkit, read without running any code that the file names."""

from __future__ import annotations

import itertools
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from goodteacher.base.errors import DataError

STATE_KEYS = (
    "model", "state_dict", "net", "model_state_dict", "student", "module", "network", "ema", "model_ema", "state_dict_ema",
    "ema_state_dict",
)  # fmt: skip
"""Under which key toolkits keep the weights when the file holds more; averages come after what they average."""


class Weights(dict[str, Tensor]):
    """A state dict with where it lay.

    Attributes:
        taken: the key of the file it was under; empty where it was the file.
        others: keys of the file that hold other state dicts.
    """

    taken: str = ""
    others: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """What must be said of the choice: nothing where there was none."""
        return f"'{self.taken}' was taken, and not {', '.join(map(repr, self.others))}" if self.others else ""


class _Nothing(OrderedDict[str, object]):
    """Stands in for any foreign class or function: called with anything, answers an empty `OrderedDict`.

    Exactly an `OrderedDict`, because torch's restricted unpickler fills no other foreign type with items or attributes.
    """

    def __new__(cls, *_: object, **__: object) -> OrderedDict[str, object]:  # type: ignore[misc]
        return OrderedDict()


class _NumpyNothing:
    """Stands in for numpy's scalars, arrays and dtypes, whose state is a tuple that an `OrderedDict` cannot take in."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_state_dict(path: str | Path) -> Weights:
    """Read the weights in a file of ours or of another toolkit: .safetensors, or whatever torch.save wrote.

    Objects in the file that are neither tensors nor plain containers (argparse.Namespace, numpy numbers, a toolkit's
    own classes) are replaced by empty ones; no code that a file names is imported or called.

    Args:
        path: of the file.

    Returns:
        Key to tensor, on the CPU, keys as in the file. Where several state dicts are in it, the first of `STATE_KEYS` is
        taken, which is no average; `Weights.said` says so.

    Raises:
        DataError: if the file is missing, damaged, refused as unsafe, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("weights", rule="must be a file", received=f"'{path}', which does not exist")
    try:
        content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    except Exception as error:  # A damaged or hostile file can make a reader raise anything.
        raise DataError(
            f"file '{path}'",
            rule="must be weights that can be read safely",
            received=f"a file that cannot: {_reason(error)}",
            remedy="save it again with torch.save(model.state_dict(), path) or as .safetensors",
        ) from error
    state = _find_state(content)
    if state is None:
        keys = ", ".join(map(repr, itertools.islice(content, 6))) if isinstance(content, Mapping) else "no keys at all"
        raise DataError(
            f"file '{path}'",
            rule=f"must hold a state dict, by itself or under one of {', '.join(STATE_KEYS)}",
            received=keys or "nothing",
            remedy="save model.state_dict(), not the model",
        )
    return state


def _reason(error: Exception) -> str:
    # Torch surrounds the reason with advice to load the file unsafely.
    marker, advice = "WeightsUnpickler error: ", "Weights only load failed"
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith(advice)]
    told = next((line.split(marker)[1] for line in lines if marker in line), [*lines, type(error).__name__][0])
    return told.strip().rstrip(".")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def _read_pickle(path: Path) -> object:
    # Torch's restricted unpickler never looks up a name outside its own list; the names this file uses are added to
    # that list, each with an inert stand-in. Names on torch's list keep torch's meaning; os and sys it always refuses.
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (_NumpyNothing if name.startswith("numpy.") else _Nothing, name) for name in _global_names(path)
    ]
    with torch.serialization.safe_globals(stand_ins):
        return torch.load(path, map_location="cpu", weights_only=True)


def _global_names(path: Path) -> set[str]:
    """Return the names of all classes and functions that a torch file mentions, without loading it."""
    if not zipfile.is_zipfile(path):
        # Before torch 1.6: magic number, version, system and content are four pickles in a row.
        with path.open("rb") as file:
            return {name for _ in range(4) for name in _names_in_pickle(file)}
    with zipfile.ZipFile(path) as archive:
        pickles = [archive.read(member) for member in archive.namelist() if member.endswith("data.pkl")]
    return {name for data in pickles for name in _names_in_pickle(BytesIO(data))}


def _names_in_pickle(file: BinaryIO) -> Iterable[str]:
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL":
            module, name = str(argument).split(" ", 1)
            # torch.save writes Python 2's module names; torch.load turns them back before it looks at its list.
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            yield f"{module}.{name}"


def _find_state(content: object) -> Weights | None:
    if not isinstance(content, Mapping):
        return None
    found: dict[str, Weights] = {}
    for key in ("", *STATE_KEYS):
        candidate = content.get(key) if key else content
        if isinstance(candidate, Mapping) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
            found[key] = Weights({str(name): value.detach() for name, value in candidate.items()})
    if not found:
        return None
    taken, *others = found
    found[taken].taken, found[taken].others = taken, tuple(others)
    return found[taken]
