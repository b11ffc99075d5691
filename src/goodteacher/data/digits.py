"""Scikit-learn's handwritten digits: 1,797 real 8x8 images that come with the package, so nothing is downloaded."""

from __future__ import annotations

import numpy as np
import torch

from goodteacher.data.inputs import Pictures
from goodteacher.data.problem import Problem, Split
from goodteacher.data.splits import stratified_split


def digits_problem(*, test: float = 0.3, validation: float = 0.2, seed: int = 0) -> Problem:
    """Build the digits problem.

    Args:
        test: share of the 1,797 images that becomes the test split.
        validation: share of the rest that becomes the validation split.
        seed: of both splits.

    Returns:
        The problem: ``(N, 8, 8, 1)`` uint8 images, pixels 0..16 scaled to 0..255; indices are scikit-learn's rows.

    Raises:
        ConfigError: if a share is not in (0, 1).

    Example:
        >>> digits_problem().describe()
        'digits: 1008 train / 250 validation / 539 test · 10 classes · 1x8x8'

    Source: Alpaydin & Kaynak (1998), UCI optical recognition of handwritten digits; scikit-learn holds its test part.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    images = np.rint(source.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = source.target.astype(np.int64)
    every = Split(Pictures(torch.from_numpy(images)), torch.from_numpy(labels), torch.arange(len(labels)))
    rest, held_out = stratified_split(labels, test, seed, stream="test")
    kept, validated = stratified_split(labels[rest], validation, seed)
    train_rows, validation_rows, test_rows = (
        torch.from_numpy(rows) for rows in (rest[kept], rest[validated], held_out)
    )
    return Problem(
        "digits",
        every.take(train_rows),
        every.take(validation_rows),
        every.take(test_rows),
        class_names=tuple(map(str, range(10))),
    )
