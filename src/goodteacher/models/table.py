"""The table of models: name to constructor. A literal, so that a name can be searched for."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from goodteacher.base.custom import built, is_hub, is_own
from goodteacher.base.errors import ConfigError, check_choice, suggest
from goodteacher.models.custom import custom_factory
from goodteacher.models.guessed_taps import guessed
from goodteacher.models.hub import build_hub
from goodteacher.models.mlp import MLP
from goodteacher.models.mobilenet import MobileNetV1, MobileNetV2
from goodteacher.models.resnet import CifarResNet
from goodteacher.models.resnet_large import ResNet
from goodteacher.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from goodteacher.models.taps import Taps, read_taps
from goodteacher.models.vgg import VGG
from goodteacher.models.wide_resnet import WideResNet

TAKES = "must be a function of 'classes', and of 'input_shape' or 'channels' if it wants them"
WIDE = (32, 64, 128, 256)


@dataclass(frozen=True)
class ModelRow:
    """A model's constructor, what it takes in, and where it comes from."""

    build: Callable[..., nn.Module]
    inputs: str
    source: str


def _resnet(depth: int, **options: Any) -> ModelRow:
    return ModelRow(partial(CifarResNet, depth=depth, **options), "image", "He et al. (2016); Tian et al. (2020)")


def _wrn(depth: int, width: int) -> ModelRow:
    return ModelRow(partial(WideResNet, depth=depth, width=width), "image", "Zagoruyko & Komodakis (2016)")


def _vgg(*convolutions: int) -> ModelRow:
    blocks = tuple((width,) * n for width, n in zip((64, 128, 256, 512, 512), convolutions, strict=True))
    return ModelRow(partial(VGG, blocks=blocks), "image", "Simonyan & Zisserman (2015); Tian et al. (2020)")


def _resnet_large(depth: int, stem: Literal["cifar", "imagenet"]) -> ModelRow:
    return ModelRow(partial(ResNet, depth=depth, stem=stem), "image", f"He et al. (2016), with the {stem} stem")


MODELS: dict[str, ModelRow] = {
    "mlp": ModelRow(MLP, "any", "linear layers with ReLU"),
    "resnet8": _resnet(8),
    "resnet14": _resnet(14),
    "resnet20": _resnet(20),
    "resnet32": _resnet(32),
    "resnet44": _resnet(44),
    "resnet56": _resnet(56),
    "resnet110": _resnet(110),
    "resnet8x4": _resnet(8, widths=WIDE),
    "resnet32x4": _resnet(32, widths=WIDE),
    "wrn_16_1": _wrn(16, 1),
    "wrn_16_2": _wrn(16, 2),
    "wrn_40_1": _wrn(40, 1),
    "wrn_40_2": _wrn(40, 2),
    "vgg8": _vgg(1, 1, 1, 1, 1),
    "vgg11": _vgg(1, 1, 2, 2, 2),
    "vgg13": _vgg(2, 2, 2, 2, 2),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "resnet18": _resnet_large(18, "cifar"),
    "resnet34": _resnet_large(34, "cifar"),
    "resnet50": _resnet_large(50, "cifar"),
    "resnet18_imagenet": _resnet_large(18, "imagenet"),
    "resnet34_imagenet": _resnet_large(34, "imagenet"),
    "resnet50_imagenet": _resnet_large(50, "imagenet"),
    "mobilenetv2": ModelRow(MobileNetV2, "image", "Sandler et al. (2018); Tian et al. (2020)"),
    "mobilenetv2_0.1": ModelRow(partial(MobileNetV2, width=0.1), "image", "Sandler et al. (2018), a tenth as wide"),
    "mobilenetv1": ModelRow(MobileNetV1, "image", "Howard et al. (2017)"),
    "shufflenetv1": ModelRow(ShuffleNetV1, "image", "Zhang et al. (2018); Tian et al. (2020)"),
    "shufflenetv2": ModelRow(ShuffleNetV2, "image", "Ma et al. (2018); Tian et al. (2020)"),
}


def build_model(name: str, *, classes: int, input_shape: tuple[int, ...], **options: Any) -> nn.Module:
    """Build a model by name for a problem.

    Args:
        name: a key of `MODELS`, ``module:function`` of a user's own (see `custom.custom_factory`), or a network of another house
            (see `hub.build_hub`).
        classes: C.
        input_shape: ``(channels, H, W)`` or ``(D,)``.
        options: the constructor's own keyword options; and for any model ``taps``, a mapping of the fields of `Taps`.

    Returns:
        The network, in training mode, initialised from the global generator.

    Raises:
        ConfigError: for an unknown name or option, or inputs the model cannot take.

    Example:
        >>> sum(p.numel() for p in build_model("resnet20", classes=100, input_shape=(3, 32, 32)).parameters())
        278324
    """
    given = options.pop("taps", None)
    taps = None if given is None else read_taps(given, f"option 'taps' of model '{name}'")
    make = build_hub if is_hub(name) else _build
    network = make(name, classes=classes, input_shape=input_shape, **options)
    if taps is not None:
        vars(network)["taps"] = taps
    return network


def _build(name: str, *, classes: int, input_shape: tuple[int, ...], **options: Any) -> nn.Module:
    """Build a model of the table or a user's own."""
    if is_own(name):
        row = ModelRow(custom_factory(name), "any", "the user's own")
    else:
        check_choice("model", name, MODELS)
        row = MODELS[name]
    if row.inputs == "image" and len(input_shape) != 3:
        raise ConfigError(
            f"model '{name}'",
            rule="takes images",
            received=f"inputs of shape {input_shape}",
            remedy="use 'mlp' for vectors",
        )
    parameters = inspect.signature(row.build).parameters
    fixed = row.build.keywords if isinstance(row.build, partial) else {}
    allowed = [p for p in parameters if p not in {"classes", "input_shape", "channels", *fixed}]
    for option in options:
        if option not in allowed:
            raise ConfigError(
                f"option of model '{name}'",
                rule="must be one of its parameters",
                received=repr(option),
                remedy=suggest(option, allowed) if allowed else "this model has no options",
            )
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    if "input_shape" in parameters:
        given["input_shape"] = input_shape
    if "channels" in parameters:
        given["channels"] = input_shape[0]
    given["classes"] = classes
    model = built(f"model '{name}'", row.build, given, rule=TAKES) if is_own(name) else row.build(**given)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model '{name}'", rule="must be a torch.nn.Module", received=type(model).__name__)
    if is_own(name) and not isinstance(getattr(model, "taps", None), Taps):
        # A guess: what fails on zeros is told by whoever shows it real shapes, with the reason.
        with contextlib.suppress(Exception):
            vars(model)["taps"] = guessed(model.eval(), torch.zeros(2, *input_shape))
        model.train()
    return model
