"""Networks of other houses: ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME_OR_PATH``, with a head for the classes asked for.

Weights come through each house's own loader, its cache and its offline mode. What is imported is imported here, when it is named.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from goodteacher.base.errors import ConfigError, GoodteacherError, suggest
from goodteacher.base.input_spec import InputSpec
from goodteacher.models.guessed_taps import guessed

# Statistics of ImageNet, in which a network that does not say was trained.
MEAN, STD, SIZE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224
INSTALL = {
    "timm": "pip install timm torchvision", "torchvision": "pip install torchvision", "transformers": "pip install transformers",
}  # fmt: skip


@dataclass(frozen=True)
class House:
    """A row of `HOUSES`.

    Attributes:
        build: makes a network from its name, classes, channels, whether it is pretrained, and the house's own options.
        sees: height, width, mean and deviation that a name's network expects.
    """

    build: Callable[..., nn.Module]
    sees: Callable[..., tuple[int, int, tuple[float, ...], tuple[float, ...]]]


def build_hub(
    name: str, *, classes: int, input_shape: tuple[int, ...], pretrained: bool = True, **options: Any
) -> nn.Module:
    """Return a network of another house, with taps guessed where it says nothing of them.

    Args:
        name: ``timm:NAME``, ``torchvision:NAME`` or ``hf:NAME_OR_PATH``.
        classes: C; the head is made anew for them.
        input_shape: ``(channels, H, W)`` that it will see.
        pretrained: whether its published weights are loaded, all but the head's.
        options: of the house's own constructor.

    Raises:
        ConfigError: if the house is not installed, knows no such network, or cannot load its weights.
    """
    house, _, own = name.partition(":")
    if len(input_shape) != 3:
        raise ConfigError(f"model '{name}'", rule="takes images", received=f"inputs of shape {input_shape}")
    given = {"classes": classes, "input_shape": input_shape, "pretrained": pretrained, **options}
    network: nn.Module = _tried(name, functools.partial(HOUSES[house].build, own, **given))
    network.eval()
    vars(network)["taps"] = guessed(network, torch.zeros(2, *input_shape))
    network.train()
    return network


@functools.lru_cache(maxsize=64)
def hub_spec(name: str, revision: str | None = None) -> InputSpec:
    """Return what a network of another house expects to see, by its own configuration.

    Args:
        name: as in `build_hub`.
        revision: of a Hugging Face repository.

    Raises:
        ConfigError: if the house is not installed or knows no such network.
    """
    house, _, own = name.partition(":")
    height, width, mean, std = _tried(name, functools.partial(HOUSES[house].sees, own, revision))
    return InputSpec("image", (len(mean), height, width), mean, std)


def _tried(name: str, call: Callable[[], Any]) -> Any:
    """Call a house, and say in one sentence what is wrong."""
    try:
        return call()
    except GoodteacherError:
        raise
    except Exception as error:  # each house raises what it likes, for an unknown name as for a missing file
        said = next(iter(str(error).splitlines()), "")
        raise ConfigError(
            f"model '{name}'",
            rule="must load",
            received=f"{type(error).__name__}: {said}",
            remedy="without a connection or a cache set pretrained: false in its options, and train from the start",
        ) from error


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        # A torchvision that does not fit the torch beside it raises a RuntimeError.
        raise ConfigError(
            f"package {name}",
            rule="must be installed and import",
            received=str(error).splitlines()[0],
            remedy=INSTALL[name],
        ) from None


def _timm(own: str, *, classes: int, input_shape: tuple[int, ...], pretrained: bool, **options: Any) -> nn.Module:
    timm = _package("timm")
    if not timm.is_model(own.partition(".")[0]):
        raise ConfigError(f"model 'timm:{own}'", rule="must be known to timm", remedy=suggest(own, timm.list_models()))
    # Transformers have their size built in; convolutional networks take any and know no such argument.
    sized = {} if tuple(input_shape[1:]) == _timm_sees(own)[:2] else {"img_size": tuple(input_shape[1:])}
    common = {"pretrained": pretrained, "num_classes": classes, "in_chans": input_shape[0], **options}
    try:
        network: nn.Module = timm.create_model(own, **common, **sized)
    except TypeError:
        network = timm.create_model(own, **common)
    return network


def _timm_sees(own: str, revision: str | None = None) -> tuple[int, int, tuple[float, ...], tuple[float, ...]]:
    timm = _package("timm")
    if not timm.is_model(own.partition(".")[0]):
        raise ConfigError(f"model 'timm:{own}'", rule="must be known to timm", remedy=suggest(own, timm.list_models()))
    found = timm.get_pretrained_cfg(own)
    if found is None:
        return SIZE, SIZE, MEAN, STD
    _, height, width = found.input_size
    return height, width, tuple(found.mean), tuple(found.std)


def _torchvision(
    own: str, *, classes: int, input_shape: tuple[int, ...], pretrained: bool, **options: Any
) -> nn.Module:
    models = _package("torchvision").models
    if own not in models.list_models():
        raise ConfigError(
            f"model 'torchvision:{own}'", rule="must be known to torchvision", remedy=suggest(own, models.list_models())
        )
    if input_shape[0] != 3:
        raise ConfigError(f"model 'torchvision:{own}'", rule="takes pictures of 3 channels", received=input_shape[0])
    if own.startswith("vit") and tuple(input_shape[1:]) != _torchvision_sees(own)[:2]:
        options = {"image_size": input_shape[1], **options}
    network: nn.Module = models.get_model(own, weights="DEFAULT" if pretrained else None, **options)
    return _with_head(network, classes, own)


def _with_head(network: nn.Module, classes: int, own: str) -> nn.Module:
    """Return a network whose last layer answers so many classes."""
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ConfigError(f"model 'torchvision:{own}'", rule="must end in a linear layer", received="none")
    name, last = linear[-1]
    where, _, attribute = name.rpartition(".")
    head = nn.Linear(last.in_features, classes, bias=last.bias is not None)
    setattr(network.get_submodule(where), attribute, head)
    return network


def _torchvision_sees(own: str, revision: str | None = None) -> tuple[int, int, tuple[float, ...], tuple[float, ...]]:
    models = _package("torchvision").models
    weights = models.get_model_weights(own).DEFAULT if own in models.list_models() else None
    if weights is None:
        return SIZE, SIZE, MEAN, STD
    transform = weights.transforms()
    (size,) = set(transform.crop_size)
    return size, size, tuple(transform.mean), tuple(transform.std)


def _hf(
    own: str,
    *,
    classes: int,
    input_shape: tuple[int, ...],
    pretrained: bool,
    revision: str | None = None,
    **options: Any,
) -> nn.Module:
    transformers = _package("transformers")
    common = {"num_labels": classes, "image_size": input_shape[1], "num_channels": input_shape[0], **options}
    known = _hf_config(own, revision).to_dict()
    common = {key: value for key, value in common.items() if key in known or key == "num_labels" or key in options}
    kind = transformers.AutoModelForImageClassification
    if not pretrained:
        config = transformers.AutoConfig.from_pretrained(own, revision=revision, **common)
        network: nn.Module = kind.from_config(config)
        return network
    loaded: nn.Module = kind.from_pretrained(own, revision=revision, ignore_mismatched_sizes=True, **common)
    return loaded


def _hf_config(own: str, revision: str | None) -> Any:
    return _package("transformers").AutoConfig.from_pretrained(own, revision=revision)


def _hf_sees(own: str, revision: str | None = None) -> tuple[int, int, tuple[float, ...], tuple[float, ...]]:
    transformers = _package("transformers")
    try:
        found, _ = transformers.image_processing_utils.BaseImageProcessor.get_image_processor_dict(
            own, revision=revision
        )
    except OSError:  # a folder of weights and configuration alone
        found = {}
    size = found.get("crop_size") or found.get("size") or getattr(_hf_config(own, revision), "image_size", SIZE)
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or SIZE
    mean, std = (tuple(found.get(key) or usual) for key, usual in (("image_mean", MEAN), ("image_std", STD)))
    return int(size), int(size), mean, std


HOUSES = {
    "timm": House(_timm, _timm_sees),
    "torchvision": House(_torchvision, _torchvision_sees),
    "hf": House(_hf, _hf_sees),
}
