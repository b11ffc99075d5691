"""Drawing: what a figure shows, said as plain layers, becomes a Vega-Lite specification; the only importer of Altair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

WIDTH, HEIGHT = 380, 270  # two side by side on the page


@dataclass(frozen=True)
class Channel:
    """What a column is drawn as.

    Attributes:
        column: with its type, ``Q`` (numbers) or ``N`` (names): ``"epoch:Q"``.
        options: of Vega-Lite: title, scale, axis, legend, sort, format.
    """

    column: str
    options: Mapping[str, Any] = field(default_factory=dict)


def channel(column: str, title: str | None = "", **options: Any) -> Channel:
    """Return a channel; an empty title is the column's name, None is no title."""
    return Channel(column, options if title == "" else {"title": title, **options})


def free(column: str, title: str, **scale: Any) -> Channel:
    """Return an axis of numbers that need not start at zero."""
    return channel(f"{column}:Q", title, scale={"zero": False, **scale})


@dataclass(frozen=True)
class Layer:
    """One kind of mark.

    Attributes:
        mark: ``point``, ``line`` or ``rule``.
        look: of the mark.
        channels: by name: x, y, color, shape, ...
        frame: its own rows, in place of the chart's.
        only: an expression that picks rows.
    """

    mark: str
    look: Mapping[str, Any]
    channels: Mapping[str, Any]
    frame: pd.DataFrame | None = None
    only: str | None = None


def points(x: Any, y: Any, *, look: Mapping[str, Any] | None = None, **channels: Any) -> Layer:
    """Return filled points."""
    return Layer("point", {"filled": True, **(look or {})}, {"x": x, "y": y, **channels})


def lines(x: Any, y: Any, *, look: Mapping[str, Any] | None = None, **channels: Any) -> Layer:
    """Return lines with their points marked."""
    return Layer("line", {"point": True} if look is None else look, {"x": x, "y": y, **channels})


def intervals(*, only: str | None = "isValid(datum.low)", look: Mapping[str, Any] | None = None, **at: Any) -> Layer:
    """Return rules from column ``low`` to column ``high``.

    Args:
        only: as in `Layer`; by default the rows that have an interval.
        look: of the rules.
        at: the other channels; whichever of x and y is not among them is the interval's.
    """
    across = "x" if "y" in at else "y"
    return Layer("rule", look or {}, {across: "low:Q", f"{across}2": "high:Q", **at}, only=only)


def diagonal(x: str, y: str, low: float = 0, high: float = 1) -> Layer:
    """Return the dashed line where two columns are equal."""
    ends = pd.DataFrame({x: [low, high], y: [low, high]})
    return Layer("line", {"strokeDash": [4, 4], "color": "grey"}, {"x": f"{x}:Q", "y": f"{y}:Q"}, ends)


def zero(x: str | None = None) -> Layer:
    """Return a dashed rule at zero of a column; within facets at zero of the axis."""
    if x is None:
        return Layer("rule", {"strokeDash": [2, 2]}, {"x": 0})
    return Layer("rule", {"strokeDash": [4, 4], "color": "grey"}, {"x": f"{x}:Q"}, pd.DataFrame({x: [0]}))


def chart(
    frame: pd.DataFrame | Sequence[Mapping[str, Any]],
    *layers: Layer,
    size: tuple[int | None, int | None] = (WIDTH, HEIGHT),
    title: str | None = None,
    facet: Channel | None = None,
    columns: int | None = None,
    apart: Sequence[str] = (),
) -> Any:
    """Return a chart.

    Args:
        frame: rows of the layers that have none of their own.
        layers: the first lies lowest.
        size: width and height of a panel; None is Vega-Lite's own.
        title: above it.
        facet: one panel for each of its values.
        columns: panels in a row.
        apart: axes that are scaled for each panel alone.
    """
    import altair as alt

    rows = frame if isinstance(frame, pd.DataFrame) else pd.DataFrame(frame)
    shared = rows if facet is None else alt.Undefined
    drawn = [_drawn(layer if layer.frame is not None else replace(layer, frame=shared)) for layer in layers]
    whole = drawn[0] if len(drawn) == 1 else alt.layer(*drawn)
    known = {"width": size[0], "height": size[1], "title": title}
    whole = whole.properties(**{key: value for key, value in known.items() if value is not None})
    if facet is not None:
        whole.data = rows
        panels = alt.Facet(facet.column, **facet.options)
        whole = whole.facet(panels, columns=alt.Undefined if columns is None else columns)
    return whole.resolve_scale(**dict.fromkeys(apart, "independent")) if apart else whole


def beside(charts: Sequence[Any], *, apart: Sequence[str] = ()) -> Any:
    """Return charts from left to right, with scales of their own where they are named."""
    import altair as alt

    whole = alt.hconcat(*charts)
    return whole.resolve_scale(**dict.fromkeys(apart, "independent")) if apart else whole


def spec(drawn: Any) -> str:
    """Return a chart as Vega-Lite JSON."""
    text: str = drawn.to_json(indent=None)
    return text


def reliability(frame: pd.DataFrame, *, color: Channel, title: str) -> Any:
    """Return a reliability diagram of columns ``confidence`` and ``accuracy``, a curve for each value of ``color``."""
    x, y = channel("confidence:Q", "mean top probability in the bin"), channel("accuracy:Q", "share that is right")
    return chart(frame, diagonal("confidence", "accuracy"), lines(x, y, color=color), title=title)


def _drawn(layer: Layer) -> Any:
    import altair as alt

    kinds = {"x": alt.X, "y": alt.Y, "color": alt.Color, "shape": alt.Shape, "strokeDash": alt.StrokeDash}
    made = {
        name: kinds[name](c.column, **c.options) if isinstance(c, Channel) else alt.datum(c) if c == 0 else c
        for name, c in layer.channels.items()
    }
    if "tooltip" in made:
        made["tooltip"] = [alt.Tooltip(t.column, **t.options) if isinstance(t, Channel) else t for t in made["tooltip"]]
    base = alt.Chart(layer.frame)
    base = base if layer.only is None else base.transform_filter(layer.only)
    return getattr(base, f"mark_{layer.mark}")(**layer.look).encode(**made)
