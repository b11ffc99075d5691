"""What is odd about a problem's inputs, though it can be trained on: features that hardly vary, splits on other scales."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from goodteacher.data.inputs import Inputs

_Values = npt.NDArray[np.float64]

_HARDLY = 1e-4  # of a feature's mean or of the typical deviation: less is no variation
_LEAST = 1e-6
_FACTOR = 10  # times as far as 95% of the others: no sample of the same source does that with half of its rows
_ROWS, _VALUES = 2000, 20_000_000  # of a split that are looked at
_FEW = 20  # rows, fewer say nothing of how far they spread


def safe_deviation(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return what inputs are divided by, so that what is fed later cannot blow up.

    .. math:: s_j = \max(1, |m_j|, \tilde s) \text{ where } s_j \le 10^{-4} \max(|m_j|, \tilde s)

    with the median s̃ of the deviations that are not zero. A feature that is constant in training, or hardly varies, would
    turn its first other value into a number of thousands; so it is centred and not scaled up.

    Args:
        mean: ``(D,)`` of the training inputs, float64.
        std: ``(D,)``, their standard deviation.

    Returns:
        ``(D,)`` float64, and ``(D,)`` bool: which were replaced.

    Example:
        >>> mean = torch.tensor([0.0, 5.0, 0.0], dtype=torch.float64)
        >>> safe_deviation(mean, torch.tensor([2.0, 1e-7, 0.0], dtype=torch.float64))[0].tolist()
        [2.0, 5.0, 1.0]
    """
    varying = std[std > 0]
    typical = varying.median() if len(varying) else std.new_zeros(())
    size = mean.abs().maximum(typical)
    hardly = std <= _HARDLY * size
    return torch.where(hardly, size.clamp_min(1), std.clamp_min(_LEAST)), hardly


def of_little_variation(inputs: Inputs, hardly: Tensor) -> tuple[str, ...]:
    """Return a note on features or channels that `safe_deviation` replaced."""
    if not hardly.any():
        return ()
    what = "channels" if inputs.kind == "image" else "features"
    count = int(hardly.sum())
    return (
        f"{count} of {len(hardly)} {what} are constant in training or hardly vary ({_places(hardly.numpy())}): they are "
        "centred, and not scaled up to the others' variation",
    )


def other_scales(train: Inputs, others: Mapping[str, Inputs]) -> tuple[str, ...]:
    """Return a note per split that cannot be a sample of what training is: scaled or shifted otherwise.

    The rule: half of its rows (all of them, where there are fewer than 20) lie more than 10 times as far from training's middle
    as 95% of the training rows do, in a feature or in the sum over the features; or the same with the two exchanged, where the
    split has 20 rows. The middle is the median. Of pictures, the mean and the deviation of each channel stand for the features.

    Args:
        train: inputs of the training split.
        others: name of each other split to its inputs.
    """
    notes, ours = [], _sample(train)
    for name, inputs in others.items():
        theirs = _sample(inputs)
        if len(ours) < _FEW or len(theirs) < 4:
            continue
        up, down = _factors(ours, theirs), _factors(theirs, ours)
        far = up > _FACTOR
        if len(theirs) < _FEW:
            far &= np.isfinite(up)
        else:
            far |= (down > _FACTOR) & np.isfinite(down)
        if far.any():
            notes.append(_said(name, inputs, far, np.maximum(up, np.where(np.isfinite(down), down, 0))))
    return tuple(notes)


def _sample(inputs: Inputs) -> _Values:
    """Return rows spread over a split, ``(n, D)``."""
    size = int(np.prod(inputs.shape))
    count = min(len(inputs), _ROWS, max(_VALUES // size, _FEW))
    rows = inputs.rows(torch.linspace(0, len(inputs) - 1, count).round().long()).double()
    if inputs.kind == "vector":
        return rows.numpy()
    pixels = rows.flatten(1, 2)
    return torch.cat([pixels.mean(dim=1), pixels.std(dim=1, correction=0)], dim=1).numpy()


def _factors(ours: _Values, theirs: _Values) -> _Values:
    """Return how many times farther half of their rows are from our middle than 95% of ours, per feature and in sum."""
    middle = np.median(ours, axis=0)
    near, away = (np.abs(rows - middle) for rows in (ours, theirs))
    near, away = (np.concatenate([d, d.sum(axis=1, keepdims=True)], axis=1) for d in (near, away))
    # Of a few rows of a skewed source, half may well lie far out.
    wide, half = np.quantile(near, 0.95, axis=0), (np.median if len(theirs) >= _FEW else np.min)(away, axis=0)
    noise = 1e-6 * np.append(np.abs(middle), np.abs(middle).sum())  # what rounding to float32 may add
    half = np.where(half <= noise, 0, half)
    factors: _Values = np.where(half > 0, np.inf, 0.0)
    np.divide(half, wide, out=factors, where=wide > noise)
    return factors


def _said(name: str, inputs: Inputs, far: npt.NDArray[np.bool_], factors: _Values) -> str:
    largest = float(factors[far].max())
    times = f"by a factor of about {largest:.2g}" if np.isfinite(largest) else "from what is constant in training"
    if inputs.kind == "image":
        where = "in brightness or contrast"
    else:
        single = far[:-1]
        where = f"in {int(single.sum())} of {len(single)} features ({_places(single)})" if single.any() else "in all"
    return f"{name} inputs lie on another scale than those of training, {where}, {times}: check that all are prepared alike"


def _places(chosen: npt.NDArray[np.bool_]) -> str:
    places = np.flatnonzero(chosen)
    return f"numbers {', '.join(map(str, places[:5]))}{', ...' if len(places) > 5 else ''}, from 0"
