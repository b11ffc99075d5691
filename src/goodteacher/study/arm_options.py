"""Options of an arm that have options of their own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from goodteacher.train.recipe import Strict


class EarlyStop(Strict):
    """A teacher that stops early.

    Attributes:
        epochs: that it trains.
        form: ``truncate`` keeps this epoch of the whole training, when the rate is still high; ``compress`` trains a schedule of
            this length to its end.
    """

    epochs: Annotated[int, Field(ge=1)]
    form: Literal["truncate", "compress"] = "truncate"


class Ensemble(Strict):
    """Several teacher arms as one.

    Attributes:
        of: names of arms.
        average: of ``probabilities`` or ``logits``.
        weights: ``equal``, or those with the best Brier score on ``validation``.
    """

    of: Annotated[tuple[str, ...], Field(min_length=1)]
    average: Literal["probabilities", "logits"] = "probabilities"
    weights: Literal["equal", "validation"] = "equal"


class Snapshots(Strict):
    """The networks at the ends of a cyclic schedule's cycles, as one teacher.

    Attributes:
        cycles: how many.
        average: of ``probabilities`` or ``logits``.
        weights: as in `Ensemble`.
    """

    cycles: Annotated[int, Field(ge=2)] = 5
    average: Literal["probabilities", "logits"] = "probabilities"
    weights: Literal["equal", "validation"] = "equal"


class ArmInputs(Strict):
    """What an arm's network expects to see, where that is not what the problem makes.

    Attributes:
        size: height and width in pixels, or one number for both.
        mean: of each channel, of pictures in [0, 1].
        std: of each channel, the same way.
    """

    size: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
