"""Targets of the Gaussian figure: p* under noise, their distances to p*, and which students are paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from goodteacher.base.probability import log_probabilities, log_soften, one_hot
from goodteacher.base.seeds import numpy_stream
from goodteacher_lab.mse.toy_panels import Point

# Mass spread evenly over the classes of a perturbed target, so that its cross-entropy is finite without a clamp.
FLOOR = 1e-3


@dataclass(frozen=True)
class Target:
    """What a student is taught on the training inputs.

    Attributes:
        kind: of the target.
        log_q: ``(N, C)`` float64.
        settings: what made it.
        of: the teacher's own scores, where there is one.
    """

    kind: str
    log_q: Tensor
    settings: dict[str, float]
    of: dict[str, float]


def label_share(truth: Tensor, labels: Tensor, share: float) -> Tensor:
    r"""Return the log of the paper's noisy distributions.

    .. math:: \tilde p = \lambda e_y + (1 - \lambda) p^*

    Args:
        truth: ``(N, C)``, p*.
        labels: ``(N,)``.
        share: λ in [0, 1).

    Returns:
        ``(N, C)`` float64.

    Source: Hamidi et al. (2024), released toy, noise ``combine``.
    """
    mixed = share * one_hot(labels, truth.shape[1]).double() + (1 - share) * truth.double()
    return log_probabilities(mixed)


def perturbed(
    truth: Tensor, labels: Tensor, *, temperature: float, share: float, concentration: float, seed: int
) -> Tensor:
    r"""Return the log of p* under three perturbations: temperature, Dirichlet noise and a share of the label.

    .. math:: q = (1 - \varepsilon) \big( \lambda e_y + (1 - \lambda) d \big) + \varepsilon / C, \quad
              d \sim \mathrm{Dir}(\kappa r), \quad r \propto (p^*)^{1/T}

    Args:
        truth: ``(N, C)``, p*.
        labels: ``(N,)``.
        temperature: T > 0.
        share: λ in [0, 1].
        concentration: κ > 0.
        seed: of the noise.

    Returns:
        ``(N, C)`` float64; ε is `FLOOR`.
    """
    tempered = log_soften(log_probabilities(truth.double()), temperature).exp()
    draws = numpy_stream(seed, "dirichlet").standard_gamma((concentration * tempered).numpy())
    noisy = torch.from_numpy(draws / draws.sum(axis=1, keepdims=True))
    mixed = share * one_hot(labels, truth.shape[1]).double() + (1 - share) * noisy
    return ((1 - FLOOR) * mixed + FLOOR / truth.shape[1]).log()


def student_seeds(targets: Sequence[Target]) -> list[int]:
    """Return a number for each student; those of the k-th teachers of all objectives share theirs, to be paired."""
    first = 1 + int(max((t.settings.get("teacher", 0.0) for t in targets), default=0))
    seeds, others = [], first
    for target in targets:
        if "teacher" in target.settings:
            seeds.append(int(target.settings["teacher"]))
        else:
            seeds.append(others)
            others += 1
    return seeds


def points_of(targets: Sequence[Target], accuracies: Sequence[float], truth: Tensor) -> list[Point]:
    """Return the dots of the figure: each target's distances to p* on the training inputs, and its student's accuracy.

    Args:
        targets: taught.
        accuracies: of the students.
        truth: ``(N, C)``, p* on the training inputs.
    """
    p, log_p = truth.double(), log_probabilities(truth.double())
    found = []
    for target, accuracy in zip(targets, accuracies, strict=True):
        q = target.log_q.exp()
        distance = float((q - p).square().sum(dim=1).mean())
        cross_entropy = float(-(p * target.log_q).sum(dim=1).mean())
        # The released script takes the teachers' cross-entropy the other way round.
        drawn = -(q * log_p.clamp_min(-10)) if target.of else -(p * target.log_q.clamp_min(-10))
        norm = float((q - p).square().sum().sqrt())
        found.append(
            Point(target.kind, accuracy, distance, cross_entropy, norm, float(drawn.sum(dim=1).mean()),
                  target.settings, target.of)
        )  # fmt: skip
    return found
