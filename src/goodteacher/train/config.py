"""A recipe: optimiser, schedule, epochs, batch, augmentation, precision. Strict: an unknown key is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from goodteacher.base.errors import ConfigError, suggest


class Strict(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=Strict)


def validate(kind: type[M], values: Mapping[str, Any], where: str) -> M:
    """Return a validated model, or one sentence on the first mistake.

    Args:
        kind: the pydantic model.
        values: what the user wrote.
        where: the place in the user's file, for the message.

    Returns:
        The model.

    Raises:
        ConfigError: with the key, the rule, the value and a suggestion.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(p) for p in (where, *first["loc"]) if str(p))
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            known = _fields_at(kind, first["loc"][:-1])
            raise ConfigError(
                f"key '{path}'", rule="is not known", received=repr(key), remedy=suggest(key, known)
            ) from None
        rule = first["msg"][:1].lower() + first["msg"][1:]
        received = None if first["type"] == "missing" else repr(first["input"])
        raise ConfigError(f"key '{path}'", rule=rule, received=received) from None


def _fields_at(kind: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys allowed at a place in a nested model."""
    for part in loc:
        field = kind.model_fields.get(str(part))
        inner = field.annotation if field else None
        candidates = [inner, *getattr(inner, "__args__", ())]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if models:
            kind = models[0]
    return list(kind.model_fields)


def _check_keep(rule: str) -> str:
    if rule in KEEP_RULES:
        return rule
    if rule.startswith("epoch=") and rule.removeprefix("epoch=").isdigit() and int(rule.removeprefix("epoch=")) > 0:
        return rule
    raise ValueError(f"must be one of {', '.join(KEEP_RULES)} or epoch=K")


KEEP_RULES = ("last", "best_brier", "best_nll", "best_accuracy")
Keep = Annotated[str, AfterValidator(_check_keep)]
"""Which checkpoint a run keeps, always chosen on validation: a name of `KEEP_RULES`, or ``epoch=K``."""

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Recipe(Strict):
    """How a network is trained.

    Attributes:
        epochs: passes over the training split.
        batch_size: examples a step.
        optimizer: ``sgd`` with momentum, or ``adamw``.
        lr: at the given batch size, after warm-up.
        momentum: of SGD.
        nesterov: whether SGD looks ahead.
        weight_decay: on every parameter, as the literature's recipes have it; on weight matrices alone for ``adamw``.
        schedule: ``constant``, ``cosine`` to zero, or ``multistep``.
        milestones: of ``multistep``: shares of training, in (0, 1), after which lr is multiplied by ``decay``.
        decay: factor at a milestone.
        warmup: share of training in which lr rises linearly from zero.
        clip: largest gradient norm, or None.
        ema: decay an update of an average of the weights that is kept instead of them, or None.
        augment: ``auto`` takes the problem's own.
        precision: ``auto`` times a step of the actual network in each.
        evaluate_every: epochs between looks at validation; the last is always looked at.
    """

    epochs: Annotated[int, Field(ge=1)] = 60
    batch_size: Annotated[int, Field(ge=2)] = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 5e-4
    schedule: Literal["constant", "cosine", "multistep"] = "cosine"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.625, 0.75, 0.875)
    decay: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip: Positive | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    augment: Literal["auto", "none", "flip", "crop_flip"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    evaluate_every: Annotated[int, Field(ge=1)] = 1
