"""Whether a method is defined for a pair of models, found out before anything trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from goodteacher.base.compose import build_parts
from goodteacher.base.errors import ConfigError, GoodteacherError
from goodteacher.base.types import Needs, Setting
from goodteacher.methods.preparation import PREPARATIONS
from goodteacher.methods.table import METHODS
from goodteacher.models.table import build_model
from goodteacher.models.taps import tap_shapes

# Memories with a row an example are built this small when a method is only examined.
FEW = 256


@dataclass(frozen=True)
class Facts:
    """What a plan must know of a problem."""

    fingerprint: str
    classes: int
    input_shape: tuple[int, ...]
    examples: int
    is_image: bool
    knows_truth: bool
    has_votes: bool


def examine(
    student: Mapping[str, Any],
    teacher: Mapping[str, Any] | None,
    loss: Mapping[str, Mapping[str, Any]],
    facts: Facts,
    *,
    where: str,
) -> Needs:
    """Build a method for a pair of untrained models and return what it needs.

    Args:
        student: model name to options.
        teacher: the same, or None for a table or no teacher.
        loss: method parts with options.
        facts: of the problem.
        where: the place in the study, for the message.

    Returns:
        The needs of the whole method.

    Raises:
        ConfigError: with the place and the reason, if the method is undefined for this pair.
    """
    needs = Needs()
    for name, options in loss.items():
        if name == "none":
            continue
        try:
            part, _ = _examined(_text(student), _text(teacher), name, json.dumps(options), facts)
        except GoodteacherError as error:
            raise ConfigError(where, rule=f"method '{name}' is not defined here: {error}") from None
        if teacher is None and (part.teacher or part.preparation):
            raise ConfigError(
                where,
                rule=f"method '{name}' reads a teacher's features",
                received="a teacher without any: a table, or several networks as one",
            )
        needs = needs | part
    if len(needs.preparation) > 1:
        raise ConfigError(
            where, rule="a sum can have one preparation of the teacher", received=sorted(needs.preparation)
        )
    if needs.views - {"weak"} and not facts.is_image:
        raise ConfigError(
            where, rule=f"the view '{min(needs.views - {'weak'})}' needs image inputs", received="vectors"
        )
    return needs


def _text(model: Mapping[str, Any] | None) -> str | None:
    return None if model is None else json.dumps(model)


def memory_bytes(
    student: Mapping[str, Any], teacher: Mapping[str, Any] | None, loss: Mapping[str, Mapping[str, Any]], facts: Facts
) -> int:
    """Return the size of a method's memories with a row an example, such as CRD's; they go into every checkpoint."""
    parts = [(name, json.dumps(options)) for name, options in loss.items() if name != "none"]
    small = sum(_examined(_text(student), _text(teacher), name, options, facts)[1] for name, options in parts)
    return round(small * facts.examples / min(facts.examples, FEW))


@lru_cache(maxsize=512)
def _examined(student: str | None, teacher: str | None, name: str, options: str, facts: Facts) -> tuple[Needs, int]:
    sample = torch.zeros(2, *facts.input_shape)
    with torch.random.fork_rng(devices=[]):
        networks = [None if text is None else _build(text, facts) for text in (student, teacher)]
        shapes = [{} if network is None else tap_shapes(network, sample)[1] for network in networks]
        setting = Setting(
            classes=facts.classes,
            examples=min(facts.examples, FEW),
            network_shapes=shapes[0],
            teacher_shapes=shapes[1],
            network=networks[0],
            teacher=networks[1],
        )
        (loss,) = build_parts({name: json.loads(options)}, METHODS, setting)
        if networks[1] is not None:
            for preparation in loss.needs.preparation:
                PREPARATIONS[preparation].build(networks[1], setting)
    declared = {"student": shapes[0], "teacher": shapes[1]}
    for side, taps in (("student", loss.needs.network), ("teacher", loss.needs.teacher)):
        missing = [tap for tap in taps if tap not in declared[side]]
        if missing and networks[0 if side == "student" else 1] is not None:
            raise ConfigError(
                f"tap '{missing[0]}'", rule=f"must be declared by the {side}'s model", received="nothing there"
            )
    return loss.needs, loss.memory_bytes()


def _build(text: str, facts: Facts) -> torch.nn.Module:
    ((name, options),) = json.loads(text).items()
    return build_model(name, classes=facts.classes, input_shape=facts.input_shape, **options)
