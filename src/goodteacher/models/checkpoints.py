"""Weights from other toolkits' files, read without running anything a file brings along."""

from __future__ import annotations

import itertools
import pickletools
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from goodteacher.base.errors import ConfigError, DataError, suggest
from goodteacher.models.mobilenet import MobileNetV1, MobileNetV2
from goodteacher.models.resnet import CifarResNet
from goodteacher.models.resnet_large import ResNet
from goodteacher.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from goodteacher.models.table import MODELS
from goodteacher.models.vgg import VGG
from goodteacher.models.wide_resnet import WideResNet

STATE_KEYS = ("model", "state_dict", "net", "model_state_dict", "student")
"""Under which key toolkits keep the weights when the file holds more."""

PREFIXES = re.compile(r"^(module\.|_orig_mod\.)+")
"""Left by DataParallel and torch.compile."""

ALIASES = {
    "ResNet18": "resnet18",
    "ResNet34": "resnet34",
    "ResNet50": "resnet50",
    "MobileNetV1": "mobilenetv1",
    "MobileNetV2": "mobilenetv2",
    "mobile_half": "mobilenetv2",
    "ShuffleV1": "shufflenetv1",
    "ShuffleV2": "shufflenetv2",
    "vgg8_bn": "vgg8",
    "vgg11_bn": "vgg11",
    "vgg13_bn": "vgg13",
    "vgg16_bn": "vgg16",
    "vgg19_bn": "vgg19",
}
"""RepDistiller's and mdistiller's names where they differ from ours."""

Rules = tuple[tuple[str, str], ...]

RESNET: Rules = (
    (r"^layer(\d)\.", r"stage\1."),
    (r"\.downsample\.", ".shortcut."),
    (r"^linear\.", "fc."),
)
RULES: dict[type[nn.Module], Rules] = {
    CifarResNet: RESNET,
    ResNet: RESNET,
    WideResNet: (
        (r"^block(\d)\.layer\.", r"stage\1."),
        (r"\.convShortcut\.", ".shortcut."),
    ),
    VGG: (
        (r"^block0\.", "stem."),
        (r"^block([1-4])\.", r"stage\1.block."),
        (r"^classifier\.", "fc."),
    ),
    MobileNetV2: (
        (r"^conv1\.", "stem."),
        (r"^blocks\.([01])\.", r"stage1.\1."),
        (r"^blocks\.2\.", "stage2.0."),
        (r"^blocks\.3\.", "stage3.0."),
        (r"^blocks\.4\.", "stage3.1."),
        (r"^blocks\.5\.", "stage4.0."),
        (r"^blocks\.6\.", "stage4.1."),
        (r"\.conv\.", ".branch."),
        (r"^conv2\.", "last."),
        (r"^classifier\.0\.", "fc."),
    ),
    MobileNetV1: (
        (r"^model\.0\.", "stem."),
        (r"^model\.1\.", "stage1.0."),
        (r"^model\.2\.", "stage1.1."),
        (r"^model\.3\.", "stage1.2."),
        (r"^model\.4\.", "stage2.0."),
        (r"^model\.5\.", "stage2.1."),
        (r"^model\.6\.", "stage3.0."),
        (r"^model\.7\.", "stage3.1."),
        (r"^model\.8\.", "stage3.2."),
        (r"^model\.9\.", "stage3.3."),
        (r"^model\.10\.", "stage3.4."),
        (r"^model\.11\.", "stage3.5."),
        (r"^model\.12\.", "stage4.0."),
        (r"^model\.13\.", "stage4.1."),
    ),
    ShuffleNetV1: (
        (r"^layer(\d)\.(\d+)\.conv1\.", r"stage\1.\2.branch.0."),
        (r"^layer(\d)\.(\d+)\.bn1\.", r"stage\1.\2.branch.1."),
        (r"^layer(\d)\.(\d+)\.conv2\.", r"stage\1.\2.branch.4."),
        (r"^layer(\d)\.(\d+)\.bn2\.", r"stage\1.\2.branch.5."),
        (r"^layer(\d)\.(\d+)\.conv3\.", r"stage\1.\2.branch.7."),
        (r"^layer(\d)\.(\d+)\.bn3\.", r"stage\1.\2.branch.8."),
        (r"^linear\.", "fc."),
    ),
    ShuffleNetV2: (
        (r"^layer(\d)\.0\.conv1\.", r"stage\1.0.left.0."),
        (r"^layer(\d)\.0\.bn1\.", r"stage\1.0.left.1."),
        (r"^layer(\d)\.0\.conv2\.", r"stage\1.0.left.2."),
        (r"^layer(\d)\.0\.bn2\.", r"stage\1.0.left.3."),
        (r"^layer(\d)\.0\.conv3\.", r"stage\1.0.right.0."),
        (r"^layer(\d)\.0\.bn3\.", r"stage\1.0.right.1."),
        (r"^layer(\d)\.0\.conv4\.", r"stage\1.0.right.3."),
        (r"^layer(\d)\.0\.bn4\.", r"stage\1.0.right.4."),
        (r"^layer(\d)\.0\.conv5\.", r"stage\1.0.right.5."),
        (r"^layer(\d)\.0\.bn5\.", r"stage\1.0.right.6."),
        (r"^layer(\d)\.(\d+)\.conv1\.", r"stage\1.\2.branch.0."),
        (r"^layer(\d)\.(\d+)\.bn1\.", r"stage\1.\2.branch.1."),
        (r"^layer(\d)\.(\d+)\.conv2\.", r"stage\1.\2.branch.3."),
        (r"^layer(\d)\.(\d+)\.bn2\.", r"stage\1.\2.branch.4."),
        (r"^layer(\d)\.(\d+)\.conv3\.", r"stage\1.\2.branch.5."),
        (r"^layer(\d)\.(\d+)\.bn3\.", r"stage\1.\2.branch.6."),
        (r"^conv2\.", "last.0."),
        (r"^bn2\.", "last.1."),
        (r"^linear\.", "fc."),
    ),
}
"""Their key to ours: substitutions, applied in order. Keys that no rule touches have the same name here and there."""


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


def canonical_name(name: str) -> str:
    """Return our name for a model of RepDistiller or mdistiller; our own names are returned as they are.

    Args:
        name: as those toolkits spell it (``ResNet50``, ``wrn_40_2``, ``ShuffleV1``).

    Returns:
        A key of `MODELS`.

    Raises:
        ConfigError: for a model unknown here.

    Example:
        >>> canonical_name("ShuffleV1"), canonical_name("resnet8x4")
        ('shufflenetv1', 'resnet8x4')
    """
    ours = ALIASES.get(name, name)
    if ours not in MODELS:
        raise ConfigError(
            "model", rule="must be a known name", received=repr(name), remedy=suggest(name, [*MODELS, *ALIASES])
        )
    return ours


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the weights in a file of ours or of another toolkit: .safetensors, or whatever torch.save wrote.

    Objects in the file that are neither tensors nor plain containers (argparse.Namespace, numpy numbers, a toolkit's
    own classes) are replaced by empty ones; no code that a file names is imported or called.

    Args:
        path: of the file.

    Returns:
        Key to tensor, on the CPU, keys as in the file.

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


def import_weights(model: nn.Module, name: str, state: Mapping[str, Tensor]) -> None:
    """Load weights into a model of ours, from keys of ours, RepDistiller, mdistiller or torchvision.

    Args:
        model: receives the weights; untouched unless every one fits.
        name: what to call the model in messages.
        state: as `read_state_dict` returns it. Step counters of batch normalisation may be missing, as they are in
            files of torch before 0.4.1.

    Raises:
        DataError: naming the first keys that are unknown, missing or of another shape.
    """
    own = model.state_dict()
    given = _strip_wrappers(state)
    if not given.keys() <= own.keys():
        rules = RULES.get(type(model), ())
        given = {_rename(key, rules): value for key, value in given.items()}
    shared = given.keys() & own.keys()
    problems = {
        "unknown": [key for key in given if key not in own],
        "missing": [key for key in own if key not in given and not key.endswith(".num_batches_tracked")],
        "of another shape": [
            f"{key} {tuple(given[key].shape)} for {tuple(own[key].shape)}"
            for key in own
            if key in shared and given[key].shape != own[key].shape
        ],
    }
    if any(problems.values()):
        raise DataError(
            f"weights for model '{name}'",
            rule="must fit it key by key",
            received="; ".join(f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in problems.items() if keys),
            remedy="check the model's name and its number of classes",
        )
    model.load_state_dict({**own, **given})


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


def _find_state(content: object) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping):
        return None
    for candidate in (content, *(content.get(key) for key in STATE_KEYS)):
        if isinstance(candidate, Mapping) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
            return {str(key): value.detach() for key, value in candidate.items()}
    return None


def _strip_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    bare = {PREFIXES.sub("", key): value for key, value in state.items()}
    # mdistiller's own checkpoints hold the student beside its teacher and the method's modules.
    students = {key.removeprefix("student."): value for key, value in bare.items() if key.startswith("student.")}
    return students or bare


def _rename(key: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def _first(keys: list[str], shown: int = 3) -> str:
    return ", ".join(keys[:shown]) + (", ..." if len(keys) > shown else "")
