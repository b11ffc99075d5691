"""The names that a study may use, without the tables behind them: a typo is answered before torch is imported.

A test holds each list to its table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goodteacher.base.custom import is_hub, is_own
from goodteacher.base.errors import ConfigError, check_choice, suggest

MODELS = (
    "mlp", "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet8x4",
    "resnet32x4", "wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2", "vgg8", "vgg11", "vgg13", "vgg16", "vgg19",
    "resnet18", "resnet34", "resnet50", "resnet18_imagenet", "resnet34_imagenet", "resnet50_imagenet",
    "mobilenetv2", "mobilenetv2_0.1", "mobilenetv1", "shufflenetv1", "shufflenetv2",
)  # fmt: skip
OBJECTIVES = (
    "cross_entropy", "brier", "brier_logits", "label_smoothing", "confidence_penalty", "focal", "soteacher",
    "lipschitz", "consistency", "tolerant", "mcmi", "sftn",
)  # fmt: skip
METHODS = (
    "none", "kd", "dkd", "logit_standardization", "dist", "ttm", "wttm", "mlkd", "ctkd", "ptloss", "filter", "pkt",
    "sp", "cc", "rkd", "fitnet", "at", "nst", "vid", "ft", "ab", "fsp", "kdsvd", "ofd", "crd", "srrl", "simkd",
    "reviewkd", "hsakd", "labelled",
)  # fmt: skip
MAPS = (
    "identity", "temperature", "linear", "vector_temperature", "pt_proxy", "top_k", "label_mix", "view_average",
)  # fmt: skip
SOURCES = (
    "gaussian", "digits", "cifar10", "cifar100", "npz", "csv", "folder",
)  # fmt: skip
QUANTITIES = (
    "calibrated_brier", "calibrated_nll", "brier", "nll", "accuracy", "ece", "adaptive_ece", "classwise_ece",
    "overconfidence", "underconfidence", "reliability", "resolution", "uncertainty", "entropy", "max_probability",
    "secondary_deviation", "cmi", "ncmi", "view_variance", "view_disagreement", "lipschitz_random", "lipschitz_pgd",
    "lipschitz_jacobian", "out_of_fold_brier", "out_of_fold_nll", "out_of_fold_accuracy", "in_sample_brier",
    "in_sample_nll", "in_sample_mse", "taught_mse", "taught_kl", "truth_mse", "truth_kl", "votes_mse", "votes_kl",
)  # fmt: skip
# A teacher that is larger than a model: of its family where there is one, as the literature pairs them.
LARGER = {
    "resnet8": "resnet56", "resnet14": "resnet56", "resnet20": "resnet56", "resnet32": "resnet110", "resnet44": "resnet110",
    "resnet56": "resnet110", "resnet8x4": "resnet32x4", "wrn_16_1": "wrn_40_1", "wrn_16_2": "wrn_40_2", "wrn_40_1": "wrn_40_2",
    "vgg8": "vgg13", "vgg11": "vgg16", "vgg13": "vgg19", "resnet18": "resnet50", "resnet34": "resnet50",
    "resnet18_imagenet": "resnet50_imagenet", "resnet34_imagenet": "resnet50_imagenet", "mobilenetv2_0.1": "mobilenetv2",
    "mobilenetv2": "resnet50_imagenet", "mobilenetv1": "resnet50_imagenet", "shufflenetv1": "resnet32x4",
    "shufflenetv2": "resnet32x4",
}  # fmt: skip
FORMATS = ("safetensors", "torch", "onnx", "int8")  # that `export` writes
TRACKERS = ("tensorboard", "mlflow", "wandb")
ENGINES = ("local", "processes", "ray")
KINDS = ("models", "objectives", "methods", "maps", "data", "recipes", "runs", "taps")  # that `list` shows

TABLES = {"model": MODELS, "objective": OBJECTIVES, "method": METHODS, "map": MAPS}
"""Key of an arm to the names it may hold."""


def check_arms(teachers: Mapping[str, Any], students: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a model, an objective, a method or a map that is in no table and is no user's own.

    Args:
        teachers: name to `TeacherSpec`.
        students: name to `StudentSpec`.
    """
    for group, arms in (("teachers", teachers), ("students", students)):
        for arm, spec in arms.items():
            for key, table in TABLES.items():
                given = getattr(spec, key, None)
                if given is None:
                    continue
                try:
                    check_named(key, given, table)
                except ConfigError as error:
                    error.at = (group, arm, key)
                    raise


def check_named(what: str, given: str | Mapping[str, Any], table: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless a name, each part of a sum, or each key of a mapping is known.

    Example:
        >>> check_named("method", "crd + dkdd", METHODS)
        Traceback (most recent call last):
        goodteacher.base.errors.ConfigError: method: must be a known name, got 'dkdd'; did you mean 'dkd'?
    """
    for key in [given] if isinstance(given, str) else given:
        for part in [key] if what == "model" else key.split("+"):
            if not is_own(part.strip()) and not is_hub(part.strip()):
                check_choice(what, part.strip(), table)


def check_words(**words: str | None) -> None:
    """Raise `ConfigError` unless each word that is given is known, by the key of an arm it stands for.

    Example:
        >>> check_words(model="vgg8", map=None)
    """
    for key, given in words.items():
        if given is not None:
            check_named(key, given, TABLES[key])


def check_source(name: object) -> None:
    """Raise `ConfigError` for a plain word that is no source of data and no folder.

    Example:
        >>> check_source("digits")
    """
    # What may be a file is left to what reads it, which says what is wrong with it.
    word = isinstance(name, str) and re.fullmatch(r"[\w-]+", name) and name not in SOURCES
    if not word or is_own(str(name)) or Path(str(name)).exists():
        return
    remedy = f"{suggest(str(name), SOURCES)} (or give the path of an .npz file or of a folder, or module:function)"
    rule = "must be a known source, an .npz or .csv file or a folder"
    raise ConfigError("problem", rule=rule, received=repr(name), remedy=remedy)
