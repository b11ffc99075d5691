"""The Gaussian toy problem: Gaussian clouds of one variance, whose true label distribution is known exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, ShapeError, check_range
from goodteacher.base.seeds import numpy_stream
from goodteacher.data.inputs import Vectors
from goodteacher.data.problem import Problem, Split


def bayes_distribution(x: Tensor, means: Tensor, noise_variance: float) -> Tensor:
    r"""True label distribution of Gaussian clouds with equal variance and equal prior.

    .. math:: p^*_{nk} = \mathrm{softmax}_k\left(-\frac{\|x_n - \mu_k\|^2}{2\sigma^2}\right)
              = \mathrm{softmax}_k\left(\frac{x_n \cdot \mu_k - \|\mu_k\|^2 / 2}{\sigma^2}\right)

    Args:
        x: ``(N, D)``.
        means: ``(C, D)``, the class means.
        noise_variance: σ² > 0, the variance of every coordinate.

    Returns:
        ``(N, C)`` float64, computed in float64 on the values given. The second form is used: the term in ‖x‖² is
        common to all classes and would only cost digits.

    Raises:
        ShapeError: if ``x`` and ``means`` are not matrices of the same width.

    Example:
        >>> bayes_distribution(torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 6.0)
        tensor([[0.5000, 0.5000]], dtype=torch.float64)

    Source: Ren et al. (2022), the toy Gaussian problem.
    """
    check_range("noise_variance", noise_variance, low=0, open_low=True)
    if x.dim() != 2 or means.dim() != 2 or x.shape[1] != means.shape[1]:
        received = f"{tuple(x.shape)} and {tuple(means.shape)}"
        raise ShapeError("x and means", rule="must have shapes (N, D) and (C, D)", received=received)
    x, means = x.double(), means.double()
    return torch.log_softmax((x @ means.T - means.square().sum(dim=1) / 2) / noise_variance, dim=1).exp()


def gaussian_problem(
    *,
    classes: int = 3,
    dimension: int = 30,
    noise_variance: float = 6.0,
    mean_scale: float = 1.0,
    train: int = 5000,
    validation: int = 5000,
    test: int = 90000,
    seed: int = 0,
) -> Problem:
    r"""Draw a Gaussian problem with its exact true label distribution in every split.

    .. math:: y \sim U\{1..C\}, \quad x = \mu_y + \sigma \varepsilon, \quad \varepsilon \sim N(0, I_D), \quad
              \mu_{kd} \sim U\{-\delta, 0, \delta\}

    Args:
        classes: C, at least 2.
        dimension: D, at least 1.
        noise_variance: σ², the variance and not the standard deviation.
        mean_scale: δ > 0.
        train: number of training examples.
        validation: number of validation examples.
        test: number of test examples.
        seed: of the problem: means, labels and noise come from three streams of it.

    Returns:
        The problem; ``truth`` is p* at the float32 inputs a model sees, rounded to float32.

    Raises:
        ConfigError: for an option out of range, or more classes than there are different means (3^D).

    Example:
        >>> gaussian_problem(train=60, validation=30, test=30).describe()
        'gaussian: 60 train / 30 validation / 30 test · 3 classes · 30 · true label distribution known'

    Source: Ren et al. (2022); C=3, D=30, δ=1, σ²=6 and 5 % / 5 % / 90 % of 100,000 are theirs.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    for what, value, low in (
        ("classes", classes, 2),
        ("dimension", dimension, 1),
        *((k, v, 1) for k, v in sizes.items()),
    ):
        if not isinstance(value, int) or value < low:
            raise ConfigError(what, rule=f"must be a whole number of at least {low}", received=repr(value))
    check_range("noise_variance", noise_variance, low=0, open_low=True)
    check_range("mean_scale", mean_scale, low=0, open_low=True)
    means = mean_scale * _distinct_signs(classes, dimension, seed)
    labels = numpy_stream(seed, "labels").integers(0, classes, size=sum(sizes.values()))
    noise = numpy_stream(seed, "noise").standard_normal((len(labels), dimension))
    inputs = torch.from_numpy((means[labels] + np.sqrt(noise_variance) * noise).astype(np.float32))
    truth = bayes_distribution(inputs, torch.from_numpy(means), noise_variance).float()
    every = Split(Vectors(inputs), torch.from_numpy(labels), torch.arange(len(labels)), truth)
    middle, last = train, train + validation
    return Problem(
        "gaussian",
        every.take(every.indices[:middle]),
        every.take(every.indices[middle:last]),
        every.take(every.indices[last:]),
        class_names=tuple(map(str, range(classes))),
    )


def _distinct_signs(classes: int, dimension: int, seed: int) -> npt.NDArray[np.float64]:
    """Rows drawn uniformly from {-1, 0, 1}^D; one that is there already is drawn again: equal means are one class."""
    if classes > 3**dimension:
        raise ConfigError(
            "classes",
            rule=f"must be at most 3^{dimension} = {3**dimension} in {dimension} dimensions",
            received=classes,
        )
    stream, rows = numpy_stream(seed, "means"), dict[tuple[int, ...], None]()
    while len(rows) < classes:
        rows[tuple(stream.integers(-1, 2, size=dimension).tolist())] = None
    return np.array(list(rows), dtype=np.float64)
