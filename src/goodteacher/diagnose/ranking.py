"""Which teacher will teach best: candidates ordered by a held-out score, with paired intervals to the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, check_choice
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.base.types import Labels, Logits
from goodteacher.diagnose.calibration import cross_fitted, expected_calibration_error
from goodteacher.study.stats import Estimate, mean_interval

PREDICTORS = ("calibrated_brier", "calibrated_nll", "brier", "nll", "accuracy")


@dataclass(frozen=True)
class Candidate:
    """A candidate teacher: one or several networks trained alike but for the seed.

    Attributes:
        name: for people.
        logits: one ``(N, C)`` table of validation logits a seed.
        labels: ``(N,)``, shared by all candidates.
        seeds: of the tables, by which candidates are paired; 0, 1, ... unless given.
    """

    name: str
    logits: tuple[Logits, ...]
    labels: Labels
    seeds: tuple[int, ...] = ()

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, one a table."""
        return self.seeds or tuple(range(len(self.logits)))


@dataclass(frozen=True)
class Ranked:
    """A candidate's place.

    Attributes:
        name: of the candidate.
        scores: mean over seeds of every predictor, and ``ece``.
        temperature: geometric mean of the cross-fitted temperatures.
        estimate: the deciding score with its interval.
        to_best: paired difference of the deciding score to the best candidate's; positive is worse.
        tied: whether the interval of that difference holds zero.
        seeds: networks.
        examples: validation examples.
    """

    name: str
    scores: dict[str, float]
    temperature: float
    estimate: Estimate
    to_best: Estimate
    tied: bool
    seeds: int
    examples: int


def example_scores(logits: Logits, labels: Labels) -> tuple[dict[str, Tensor], float]:
    """Return every predictor's value for each example (lower is better; accuracy as error), and the temperature.

    Args:
        logits: ``(N, C)`` on held-out examples.
        labels: ``(N,)``.

    Returns:
        Predictor to ``(N,)`` float64, and the geometric mean of the cross-fitted Brier temperatures.
    """
    log_p = log_soften(logits.double())
    calibrated, temperatures = cross_fitted(logits, labels, score="brier")
    values = {
        "calibrated_brier": calibrated,
        "calibrated_nll": cross_fitted(logits, labels, score="nll")[0],
        "brier": brier_score(log_p.exp(), labels),
        "nll": nll(log_p, labels),
        "accuracy": (logits.argmax(dim=1) != labels).double(),
    }
    return values, float(np.exp(np.mean(np.log(temperatures))))


def rank_candidates(candidates: Sequence[Candidate], *, by: str = "calibrated_brier") -> list[Ranked]:
    """Order candidate teachers by a held-out score.

    Differences are paired by example, and by seed where there are several: each seed's mean difference is one value, and
    the interval is over seeds, because a new teacher of the kind would be a new seed. With one seed the interval is over
    examples, and speaks of these very networks only.

    Args:
        candidates: scored on the same examples.
        by: one of `PREDICTORS`.

    Returns:
        Best first.

    Raises:
        ConfigError: for no candidates, two of one name, different examples, or an unknown predictor.
    """
    check_choice("predictor", by, PREDICTORS)
    if not candidates:
        raise ConfigError("a ranking", rule="needs at least one candidate", received="none")
    names = [c.name for c in candidates]
    if len(set(names)) < len(names):
        raise ConfigError("candidates", rule="must have different names", received=", ".join(map(repr, names)))
    labels = candidates[0].labels
    for candidate in candidates:
        if candidate.labels.shape != labels.shape or not bool((candidate.labels == labels).all()):
            raise ConfigError(
                f"candidate '{candidate.name}'",
                rule="must be scored on the same examples as the others",
                received=f"{len(candidate.labels)} examples against {len(labels)}, or other labels",
            )
    values = {c.name: [example_scores(z, labels) for z in c.logits] for c in candidates}
    means = {name: float(np.mean([float(v[by].mean()) for v, _ in rows])) for name, rows in values.items()}
    order = sorted(candidates, key=lambda c: means[c.name])
    best = {seed: v[by] for seed, (v, _) in zip(order[0].seed_list, values[order[0].name], strict=True)}
    ranked = []
    for candidate in order:
        rows = values[candidate.name]
        own = [v[by] for v, _ in rows]
        to_best = _paired(dict(zip(candidate.seed_list, own, strict=True)), best)
        scores = {p: float(np.mean([float(v[p].mean()) for v, _ in rows])) for p in PREDICTORS}
        scores["accuracy"] = 1 - scores["accuracy"]
        scores["ece"] = float(
            np.mean([expected_calibration_error(log_soften(z.double()).exp(), labels) for z in candidate.logits])
        )
        temperature = float(np.exp(np.mean([np.log(t) for _, t in rows])))
        tied = candidate is order[0] or not to_best.excludes_zero
        ranked.append(Ranked(candidate.name, scores, temperature, _spread(own), to_best, tied, len(own), len(labels)))
    return ranked


def _spread(values: Sequence[Tensor]) -> Estimate:
    if len(values) == 1:
        return mean_interval(values[0].tolist())
    return mean_interval([float(v.mean()) for v in values])


def _paired(own: Mapping[int, Tensor], best: Mapping[int, Tensor]) -> Estimate:
    """Return the difference to the best: over seeds that both have, if there are two; else over examples of the means."""
    common = sorted(set(own) & set(best))
    if len(common) > 1:
        return mean_interval([float((own[seed] - best[seed]).mean()) for seed in common])
    difference = torch.stack(list(own.values())).mean(dim=0) - torch.stack(list(best.values())).mean(dim=0)
    return mean_interval(difference.tolist())
