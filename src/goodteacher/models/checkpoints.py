"""Weights from other toolkits' files, read without running anything a file brings along."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor, nn

from goodteacher.base.errors import ConfigError, DataError, suggest
from goodteacher.models.mobilenet import MobileNetV1, MobileNetV2
from goodteacher.models.resnet import CifarResNet
from goodteacher.models.resnet_large import ResNet
from goodteacher.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from goodteacher.models.table import MODELS
from goodteacher.models.vgg import VGG
from goodteacher.models.wide_resnet import WideResNet

COUNTERS = re.compile(r"(^|\.)(n_averaged|total_ops|total_params)$")
"""Left in a state dict by averages of weights and by counters of operations: no weights of the network."""


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
        given = without_common_prefix(given, own)
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


def without_common_prefix(given: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Return weights without the one prefix under which all of a network's lie, as trainers keep it: ``model.``, ``backbone.``.

    Args:
        given: keys as in a file, which may hold other things beside the network.
        own: the network's keys.

    Example:
        >>> import torch
        >>> w = torch.zeros(1)
        >>> sorted(without_common_prefix({"net.fc.weight": w, "loss.margin": w}, ["fc.weight"]))
        ['fc.weight']
    """
    if given.keys() & set(own):
        return dict(given)
    for key in sorted(own)[:1]:
        for prefix in sorted({name[: -len(key)] for name in given if name.endswith(f".{key}")}, key=len):
            stripped = {name[len(prefix) :]: value for name, value in given.items() if name.startswith(prefix)}
            wanted = [name for name in own if not name.endswith(".num_batches_tracked")]
            if all(name in stripped for name in wanted):
                return stripped
    return dict(given)


def _strip_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    bare = {PREFIXES.sub("", key): value for key, value in state.items() if not COUNTERS.search(key)}
    # mdistiller's own checkpoints hold the student beside its teacher and the method's modules.
    students = {key.removeprefix("student."): value for key, value in bare.items() if key.startswith("student.")}
    return students or bare


def _rename(key: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def _first(keys: list[str], shown: int = 3) -> str:
    return ", ".join(keys[:shown]) + (", ..." if len(keys) > shown else "")
