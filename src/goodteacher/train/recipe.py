"""A recipe: optimiser, schedule, epochs, batch, augmentation, precision. Strict: an unknown key is an error."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from goodteacher.base.errors import ConfigError, suggest


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=Strict)

TYPES = ("str", "int", "float", "bool", "constrained-int", "constrained-float")  # pydantic's names of them
MOST_ECHOED = 100  # characters of a wrong value that a message repeats


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
        path = ".".join(str(p) for p in (where, *_own_keys(first["loc"], values)) if str(p))
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            known = _fields_at(kind, first["loc"][:-1])
            unknown = ConfigError(f"key '{path}'", rule="is not known", received=repr(key), remedy=suggest(key, known))
            unknown.at = first["loc"]
            raise unknown from None
        said = first["msg"].removeprefix("Value error, ")
        rule = re.sub(r" or instance of \w+", "", said[:1].lower() + said[1:])
        received = repr(first["input"])
        # What is missing was not received; the whole of what a user wrote, or as much, hides the rule that it broke.
        if first["type"] == "missing" or not first["loc"] or len(received) > MOST_ECHOED:
            received = ""
        what = f"key '{path}'" if path else kind.__name__.removesuffix("Spec").lower()
        remedy = _remedy(first["type"], first["input"])
        wrong = ConfigError(what, rule=rule, received=received or None, remedy=remedy)
        wrong.at = first["loc"]
        raise wrong from None


def _own_keys(loc: tuple[int | str, ...], values: object) -> list[int | str]:
    """Return a place without what is no key of the user's: the type that pydantic tried last, where there may be several."""
    keys = []
    for part in loc:
        inside = isinstance(values, Mapping) and part in values
        if not inside and ("[" in str(part) or part in TYPES):
            continue
        keys.append(part)
        values = values[part] if isinstance(values, Mapping) and inside else None
    return keys


def _remedy(kind: str, received: object) -> str:
    """Return what to write in place of a value that a study file's reader took for something else than was meant."""
    if received is None and kind != "missing":
        return "give it a value, or leave the key out"
    if received in ("None", "none", "nil"):
        return "for none write null"
    if kind == "string_type" and isinstance(received, bool | int | float):
        return f'quote it: "{str(received).lower()}"'
    return ""


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
    if rule in (*KEEP_RULES, "half"):
        return rule
    if rule.startswith("epoch=") and rule.removeprefix("epoch=").isdigit() and int(rule.removeprefix("epoch=")) > 0:
        return rule
    raise ValueError(f"must be one of {', '.join(KEEP_RULES)}, half or epoch=K")


KEEP_RULES = ("last", "best_brier", "best_nll", "best_accuracy")
Keep = Annotated[str, AfterValidator(_check_keep)]
"""Which checkpoint a run keeps, always chosen on validation: a name of `KEEP_RULES`, ``half`` of training, or ``epoch=K``."""


def broken_cycle_rule(cycles: int, epochs: int) -> str:
    """Return the rule that so many cycles in so many epochs break, or nothing.

    Example:
        >>> broken_cycle_rule(4, 10), broken_cycle_rule(5, 4)
        ('', 'must be at most the 4 epochs of the recipe')
    """
    if cycles > epochs:
        return f"must be at most the {epochs} epochs of the recipe"
    # Cycles rounded up to whole epochs may use up training before the last has begun.
    would_do = math.ceil(epochs / math.ceil(epochs / cycles))
    if would_do < cycles:
        return f"must divide {epochs} epochs into so many cycles of whole epochs; {would_do} would do"
    return ""


Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Recipe(Strict):
    """How a network is trained.

    Attributes:
        epochs: passes over the training split.
        batch_size: examples per step.
        optimizer: ``sgd`` with momentum, or ``adamw``.
        lr: at the given batch size, after warm-up.
        momentum: of SGD.
        nesterov: whether SGD looks ahead.
        weight_decay: on every parameter, as the literature's recipes have it; on weight matrices alone for ``adamw``.
        schedule: ``constant``, ``cosine`` to zero, ``multistep``, or ``cyclic``: cosine to zero again and again.
        milestones: of ``multistep``: shares of training, in (0, 1), after which lr is multiplied by ``decay``.
        decay: factor at a milestone.
        cycles: of ``cyclic``; they take whole epochs, see `cycle_ends`.
        warmup: share of training in which lr rises linearly from zero.
        clip: largest gradient norm, or None.
        ema: decay an update of an average of the weights that is kept instead of them, or None.
        swa: share of training, in (0, 1), from which on the weights at the ends of epochs are averaged, all alike, and the
            average is kept instead of them, with batch normalisation estimated anew; or None.
        swa_lr: constant learning rate from there on; None leaves it to the schedule.
        mixup: α > 0: each batch's inputs are blended with another order of it in a share drawn from Beta(α, α), or None.
        cutmix: α > 0: a rectangle of each image is replaced by another's, its area drawn the same way, or None; with both,
            one of the two is drawn a batch.
        filter_table: α in (0, 1], share of the newest in a running average of each training example's predictions, which
            becomes a table a student can learn from, or None.
        sampling: ``natural`` shows each example once an epoch; ``balanced`` shows each class equally often, in epochs as long.
        class_weights: of the scores against labels: ``balanced`` for the inverse of a class's number of examples, one positive
            number per class in their order, or None. What a teacher learns then is p* of data drawn so, as under ``balanced``.
        quantise: ``int8`` trains for a file of 8 bits: weights and inputs of convolutions and linear layers are rounded so while
            training; the network that is kept is a plain one. None for no rounding.
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
    schedule: Literal["constant", "cosine", "multistep", "cyclic"] = "cosine"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.625, 0.75, 0.875)
    decay: Annotated[float, Field(gt=0, le=1)] = 0.1
    cycles: Annotated[int, Field(ge=1, validate_default=True)] = 5
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip: Positive | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    swa: Annotated[float, Field(gt=0, lt=1)] | None = None
    swa_lr: Positive | None = None
    mixup: Positive | None = None
    cutmix: Positive | None = None
    filter_table: Annotated[float, Field(gt=0, le=1)] | None = None
    sampling: Literal["natural", "balanced"] = "natural"
    class_weights: Literal["balanced"] | tuple[Positive, ...] | None = None
    quantise: Literal["int8"] | None = None
    augment: Literal["auto", "none", "flip", "crop_flip", "resized_crop_flip"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    evaluate_every: Annotated[int, Field(ge=1)] = 1

    @field_validator("cycles")
    @classmethod
    def _whole_epochs(cls, cycles: int, info: ValidationInfo) -> int:
        epochs = info.data.get("epochs")
        if info.data.get("schedule") != "cyclic" or epochs is None:
            return cycles
        broken = broken_cycle_rule(cycles, epochs)
        if broken:
            raise ValueError(broken)
        return cycles

    @field_validator("swa")
    @classmethod
    def _one_average(cls, swa: float | None, info: ValidationInfo) -> float | None:
        if swa is not None and info.data.get("ema") is not None:
            raise ValueError("cannot be combined with ema, another average of the weights")
        return swa

    @field_validator("sampling")
    @classmethod
    def _every_example(cls, sampling: str, info: ValidationInfo) -> str:
        if sampling == "balanced" and info.data.get("filter_table") is not None:
            raise ValueError("cannot be balanced with filter_table, which needs each example in each epoch")
        return sampling

    @field_validator("swa_lr")
    @classmethod
    def _rate_of_an_average(cls, rate: float | None, info: ValidationInfo) -> float | None:
        if rate is not None and info.data.get("swa") is None:
            raise ValueError("needs swa, the share of training from which on it holds")
        return rate


def cycle_ends(epochs: int, cycles: int) -> tuple[int, ...]:
    r"""Return the epochs at whose ends the cycles of a cyclic schedule end.

    Each cycle takes :math:`\lceil E / M \rceil` epochs, the last what is left.

    Args:
        epochs: E.
        cycles: M.

    Returns:
        1-based epochs, the last of them E; M of them for a validated recipe.

    Example:
        >>> cycle_ends(200, 5), cycle_ends(10, 4)
        ((40, 80, 120, 160, 200), (3, 6, 9, 10))
    """
    length = math.ceil(epochs / cycles)
    return (*range(length, epochs, length), epochs)
