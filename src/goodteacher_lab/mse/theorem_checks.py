"""What theorem 4.1 of the MSE teacher says, checked example by example, and the tables of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from goodteacher.base.probability import brier_score, kl, log_probabilities, log_soften, nll, squared_distance
from goodteacher.base.stats import Estimate, holm, mean_interval, spearman
from goodteacher.report.charts import channel, chart, lines, points, spec
from goodteacher.report.tables import Grid, grid

SCORES = ("brier", "log")
# p* and two estimates of it that squared distance and cross-entropy order differently.
EXAMPLE: dict[str, tuple[float, float, float]] = {
    "p*": (0.70, 0.20, 0.10), "estimate 1": (0.60, 0.25, 0.15), "estimate 2": (0.72, 0.27, 0.01),
}  # fmt: skip


@dataclass(frozen=True)
class Gaps:
    """Scores of a network on some examples against its distances to the truth.

    Attributes:
        excess: by score: its value less that of the truth itself, ``(N,)``.
        distance: by score: squared distance to the truth, or KL from it, ``(N,)``.
    """

    excess: dict[str, npt.NDArray[np.float64]]
    distance: dict[str, npt.NDArray[np.float64]]


def gaps_of(logits: Tensor, truth: Tensor, labels: Tensor) -> Gaps:
    r"""Return what the theorem says is equal in the mean over fresh labels, one entry per example.

    .. math:: \|q - e_y\|^2 - \|p^* - e_y\|^2 \text{ and } \|q - p^*\|^2, \qquad
              \log p^*_y - \log q_y \text{ and } \mathrm{KL}(p^* \Vert q)

    Args:
        logits: ``(N, C)``; q is their softmax.
        truth: ``(N, C)``, p*.
        labels: ``(N,)``.

    Returns:
        Both, in float64.

    Source: Hamidi et al. (2024), theorem 4.1; METHODS.md, "Why held-out Brier ranks teachers".
    """
    log_q, p = log_soften(logits.double()), truth.double()
    log_p = log_probabilities(p)
    brier = brier_score(log_q.exp(), labels) - brier_score(p, labels)
    log = nll(log_q, labels) - nll(log_p, labels)
    return Gaps(
        {"brier": brier.numpy(), "log": log.numpy()},
        {"brier": squared_distance(log_q.exp(), p).numpy(), "log": kl(log_p, log_q).numpy()},
    )


@dataclass(frozen=True)
class Case:
    """A network at an epoch: its mean excess scores and distances on each split.

    Attributes:
        examples: it was trained on.
        width: of its hidden layers.
        objective: it was trained by.
        epoch: at which it was taken.
        problem: draw.
        start: which of its kind.
        means: by split, then score: mean excess and mean distance.
    """

    examples: int
    width: int
    objective: str
    epoch: int
    problem: int
    start: int
    means: dict[str, dict[str, tuple[float, float]]]


@dataclass(frozen=True)
class Check:
    """Mean excess score against mean distance over draws of the problem.

    Attributes:
        excess: mean.
        distance: mean.
        difference: of the two.
        error: standard error of the difference.
    """

    excess: float
    distance: float
    difference: float
    error: float

    @property
    def z(self) -> float:
        """The difference in standard errors."""
        return self.difference / self.error

    @property
    def p(self) -> float:
        """Two-sided p of no difference, by the normal distribution."""
        return float(2 * stats.norm.sf(abs(self.z)))


def check_of(gaps: Sequence[Gaps], score: str) -> Check:
    """Return the check of one score on one draw of the problem.

    Args:
        gaps: of networks on the same examples; averaged example by example, because they share labels.
        score: ``brier`` or ``log``.
    """
    excess = np.mean([g.excess[score] for g in gaps], axis=0)
    distance = np.mean([g.distance[score] for g in gaps], axis=0)
    gap = excess - distance
    error = math.sqrt(float(gap.var(ddof=1)) / gap.size)
    return Check(float(excess.mean()), float(distance.mean()), float(gap.mean()), error)


def combined(checks: Sequence[Check]) -> Check:
    """Return the mean of checks on independent draws of the problem."""
    excess, distance, difference = (
        float(np.mean([getattr(c, name) for c in checks])) for name in ("excess", "distance", "difference")
    )
    return Check(excess, distance, difference, math.sqrt(sum(c.error**2 for c in checks)) / len(checks))


def less(a: Gaps, b: Gaps) -> Gaps:
    """Return the gaps of one network less those of another on the same examples."""
    return Gaps(
        {score: a.excess[score] - b.excess[score] for score in SCORES},
        {score: a.distance[score] - b.distance[score] for score in SCORES},
    )


# Training examples, width, and what the network was trained by.
Kind = tuple[int, int, str]
Checks = dict[tuple[Kind, str], Check]
PAIR = "Brier - cross-entropy"


@dataclass
class Found:
    """Everything measured.

    Attributes:
        cases: networks at an epoch.
        checks: by split and kind (a pair of networks counts as one) and score, one a draw; of the last epoch.
    """

    cases: list[Case]
    checks: dict[tuple[str, Kind, str], list[Check]]

    def add(self, split: str, kind: Kind, gaps: Sequence[Gaps]) -> None:
        """Add one draw's networks of a kind."""
        for score in SCORES:
            self.checks.setdefault((split, kind, score), []).append(check_of(gaps, score))

    def of(self, split: str, *, pairs: bool = False) -> Checks:
        """Return the checks on a split over all draws, of networks or of their pairs."""
        return {
            (kind, score): combined(checks)
            for (name, kind, score), checks in self.checks.items()
            if name == split and pairs == (kind[2] == PAIR)
        }


RANKED = {"training examples": "train", "1,000 held-out examples": "validation", "all test examples": "test"}


def rank_correlations(cases: Sequence[Case]) -> dict[tuple[int, str, str, str], Estimate]:
    """Return the rank correlation over networks of each score with the true distances, over draws of the problem.

    Returns:
        By training examples, score, where the score was taken (`RANKED`), and where the distance: ``train`` or ``test``.
    """
    found = {}
    for examples in dict.fromkeys(c.examples for c in cases):
        for score in SCORES:
            for where, split in RANKED.items():
                for target in ("test", "train"):
                    values = []
                    for problem in dict.fromkeys(c.problem for c in cases):
                        own = [c for c in cases if c.problem == problem and c.examples == examples]
                        excess = [c.means[split][score][0] for c in own]
                        distance = [c.means[target][score][1] for c in own]
                        values.append(spearman(excess, distance).mean)
                    known = [v for v in values if not math.isnan(v)]
                    if known:
                        found[examples, score, where, target] = mean_interval(known)
    return found


NAMES = {"brier": ("Brier", "squared distance"), "log": ("log", "KL")}


Row = tuple[tuple[Kind, str], Check]
PLACE: dict[str, Callable[[Row], str]] = {
    "training examples": lambda row: str(row[0][0][0]), "network": lambda row: f"{row[0][0][1]}-{row[0][0][1]}",
}  # fmt: skip
ERROR: dict[str, Callable[[Row], str]] = {
    "standard error": lambda row: f"{row[1].error:.5f}", "z": lambda row: f"{row[1].z:+.2f}",
}  # fmt: skip


def check_grid(title: str, checks: Checks, problems: int) -> Grid:
    """Return checks as a table."""
    corrected = dict(zip(checks, holm([c.p for c in checks.values()]), strict=True))
    columns: dict[str, Callable[[Row], str]] = {
        **PLACE,
        "trained by": lambda row: row[0][0][2],
        "score": lambda row: NAMES[row[0][1]][0],
        "excess": lambda row: f"{row[1].excess:.5f}",
        "distance": lambda row: f"{row[1].distance:.5f}",
        "difference": lambda row: f"{row[1].difference:+.5f}",
        **ERROR,
        "p Holm": lambda row: f"{p:.2g}" if (p := corrected[row[0]]) > 0 else "< 1e-15",
    }
    note = (
        "Last epochs, means over draws of the problem; distance: squared for Brier, KL(p* || q) in nats for log. Networks of a "
        "kind are averaged example by example before the standard error is taken; rows of one draw share its labels, so their z "
        "hang together."
    )
    return grid(f"{title} (n = {problems} draws)", checks.items(), columns, note)


def pair_grid(pairs: Checks, problems: int) -> Grid:
    """Return differences of networks trained by Brier and by cross-entropy as a table."""
    columns: dict[str, Callable[[Row], str]] = {
        **PLACE,
        "score": lambda row: NAMES[row[0][1]][0],
        "distance": lambda row: NAMES[row[0][1]][1],
        "scores' difference": lambda row: f"{row[1].excess:+.5f}",
        "distances' difference": lambda row: f"{row[1].distance:+.5f}",
        "their difference": lambda row: f"{row[1].difference:+.5f}",
        **ERROR,
    }
    note = (
        "What ranking needs: the difference of two held-out scores, known without p*, is that of the distances. Brier-trained "
        "less cross-entropy-trained, same first weights and batches; negative: the former is better."
    )
    return grid(f"Two networks compared on held-out examples (n = {problems} draws)", pairs.items(), columns, note)


def _bounded(e: Estimate) -> str:
    return f"{e.mean:+.2f}" if e.n == 1 else f"{e.mean:+.2f} [{max(e.low, -1):+.2f}, {min(e.high, 1):+.2f}]"


def rank_grid(ranks: dict[tuple[int, str, str, str], Estimate]) -> Grid:
    """Return rank correlations as a table."""
    rows = []
    for (examples, score, where, target), e in ranks.items():
        if target == "test":
            both = [ranks.get((examples, score, where, t)) for t in ("test", "train")]
            cells = ["-" if b is None else _bounded(b) for b in both]
            rows.append((str(examples), NAMES[score][0], where, *cells, str(e.n)))
    columns = (
        "training examples",
        "score",
        "taken on",
        "with distance on test",
        "with distance on training inputs",
        "n",
    )
    note = (
        "Spearman's over networks (widths, objectives, three stopping times, starts) of one draw; mean over draws, [95% t "
        "interval]. +1: the score orders networks as their true distance does."
    )
    return Grid("Does the score rank networks by their distance to p*?", columns, tuple(rows), note)


def example_grid() -> Grid:
    """Return the two estimates that squared distance and cross-entropy order differently."""
    table = torch.tensor(list(EXAMPLE.values()), dtype=torch.float64)
    p = table[:1].expand_as(table)
    cross_entropy = -(p * table.log()).sum(dim=1)
    columns = ("distribution", "values", "squared distance to p*", "cross-entropy from p*", "KL(p* || q)")
    cells = zip(
        EXAMPLE,
        squared_distance(p, table).tolist(),
        cross_entropy.tolist(),
        kl(p.log(), table.log()).tolist(),
        strict=True,
    )
    rows = [
        (name, "(" + ", ".join(f"{v:.2f}" for v in EXAMPLE[name]) + ")", f"{a:.4f}", f"{b:.4f}", f"{abs(c):.4f}")
        for name, a, b, c in cells
    ]
    note = "Constructed. Estimate 1 is nearer in cross-entropy, which minds the rare class, and estimate 2 in squared distance."
    return Grid("Two estimates of one distribution", columns, tuple(rows), note)


def verdict_of(
    held_out: Checks, pairs: Checks, training: Checks, ranks: dict[tuple[int, str, str, str], Estimate]
) -> str:
    """Return whether the identities held, and what training scores are worth."""
    held = [*held_out.values(), *pairs.values()]
    inside = sum(abs(c.z) < stats.norm.ppf(0.975) for c in held)
    refuted = sum(p < 0.05 for p in holm([c.p for c in held]))
    said = [
        f"On held-out examples the identities {'held' if refuted == 0 else f'did not hold in {refuted} rows'}: of {len(held)} "
        f"differences {inside} lie within 1.96 standard errors of zero, the largest |z| is {max(abs(c.z) for c in held):.2f}, "
        f"and {refuted} are told from zero after Holm's correction."
    ]
    own = list(training.values())
    said.append(
        f"On training examples {sum(p < 0.05 for p in holm([c.p for c in own]))} of {len(own)} are, all with a score too small: "
        f"median z {np.median([c.z for c in own]):+.0f}."
        if all(c.difference < 0 for c in own)
        else f"On training examples {sum(p < 0.05 for p in holm([c.p for c in own]))} of {len(own)} are."
    )
    for examples in dict.fromkeys(key[0] for key in ranks):
        words = [
            f"{ranks[examples, 'brier', where, 'test'].mean:+.2f} ({where})"
            for where in RANKED
            if (examples, "brier", where, "test") in ranks
        ]
        said.append(
            f"Rank correlation of the Brier score with the squared distance, {examples} examples: {', '.join(words)}."
        )
    return " ".join(said)


def excess_chart(cases: Sequence[Case]) -> str:
    """Return each network's excess Brier score on test and on its training examples, against its squared distance there."""
    rows = [
        {
            "examples": c.examples, "trained by": c.objective, "epoch": c.epoch, "width": c.width,
            "scored on": where, "excess": c.means[split]["brier"][0], "distance": c.means[split]["brier"][1],
        }
        for c in cases for where, split in (("held-out examples", "test"), ("its training examples", "train"))
    ]  # fmt: skip
    dots = points(
        channel("distance:Q", "squared distance to p* on the same inputs"), channel("excess:Q", "excess Brier score"),
        look={"opacity": 0.6}, color=channel("scored on:N"), shape=channel("trained by:N"),
        tooltip=["width", "epoch", "trained by", "distance", "excess"],
    )  # fmt: skip
    equal = lines("distance:Q", "distance:Q", look={"color": "gray", "strokeDash": [4, 4]})
    return spec(chart(rows, equal, dots, size=(260, 220), facet=channel("examples:N")))
