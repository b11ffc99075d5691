"""Which teacher will teach best: candidates ordered by a quantity of the scorecard, with paired intervals to the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.checks import check_labels, check_logits, trusted_values
from goodteacher.base.errors import ConfigError, check_choice
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.base.seeds import numpy_stream
from goodteacher.base.stats import LEVEL, Estimate, mean_interval
from goodteacher.base.types import Labels, Logits
from goodteacher.diagnose.calibration import cross_fitted
from goodteacher.diagnose.known import Known
from goodteacher.diagnose.scorecard import QUANTITIES, Quantity, mean_of, same_examples, scores_of

DEFAULT = "calibrated_brier"
PREDICTORS = tuple(name for name, q in QUANTITIES.items() if q.needs == "logits" and q.better is not None)
RESAMPLES = 200
PER_SEED = ("views", "lipschitz", "out_of_fold", "in_sample", "unmapped")

Over: TypeAlias = Literal["seeds", "examples", "resamples", "nothing"]


@dataclass(frozen=True)
class Evidence:
    """What may be known of a candidate beside its validation logits.

    Each tuple has one entry per seed, None where that seed's is missing; an empty one means that nothing is known.

    Attributes:
        views: ``(V, n, C)`` logits of augmented views of n validation examples.
        lipschitz: kind of estimate (``random``, ``pgd``, ``jacobian``) to ``(n,)``.
        out_of_fold: logits ``(M, C)`` and labels ``(M,)`` of training examples that the network did not see.
        in_sample: logits ``(M, C)`` on training inputs, and ``(M, C)`` counts of votes that do not depend on the label the
            network was trained on.
        taught: logits ``(M, C)`` handed over on training inputs, and the ``(M, C)`` true label distribution there.
        truth: ``(N, C)`` true label distribution of the validation examples.
        votes: ``(N, C)`` counts of human votes on them.
        unmapped: ``(N, C)`` validation logits before the candidate's target map.
    """

    views: tuple[Tensor | None, ...] = ()
    lipschitz: tuple[Mapping[str, Tensor] | None, ...] = ()
    out_of_fold: tuple[tuple[Logits, Labels] | None, ...] = ()
    in_sample: tuple[tuple[Logits, Tensor] | None, ...] = ()
    truth: Tensor | None = None
    votes: Tensor | None = None
    unmapped: tuple[Logits | None, ...] = ()
    taught: tuple[tuple[Logits, Tensor] | None, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A candidate teacher: one or several networks trained alike but for the seed.

    Attributes:
        name: for people.
        logits: one ``(N, C)`` table of validation logits per seed.
        labels: ``(N,)``, shared by all candidates.
        seeds: of the tables, by which candidates are paired; 0, 1, ... unless given.
        evidence: what else is known.
    """

    name: str
    logits: tuple[Logits, ...]
    labels: Labels
    seeds: tuple[int, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, one a table."""
        return self.seeds or tuple(range(len(self.logits)))

    def known(self) -> list[Known]:
        """Return what is known of each network."""
        return [self._known(i) for i in range(len(self.logits))]

    def _known(self, i: int) -> Known:
        e = self.evidence
        return Known(
            self.logits[i],
            self.labels,
            views=e.views[i] if e.views else None,
            lipschitz=e.lipschitz[i] if e.lipschitz else None,
            out_of_fold=e.out_of_fold[i] if e.out_of_fold else None,
            in_sample=e.in_sample[i] if e.in_sample else None,
            taught=e.taught[i] if e.taught else None,
            truth=e.truth,
            votes=e.votes,
        )

    def before(self) -> list[Known]:
        """Return what is known of each network before the target map; nothing where the map changes nothing."""
        unmapped = [z for z in self.evidence.unmapped if z is not None]
        if len(unmapped) < len(self.logits):
            return []
        if all(torch.equal(z.double(), own.double()) for z, own in zip(unmapped, self.logits, strict=True)):
            return []
        return [Known(z, self.labels, truth=self.evidence.truth, votes=self.evidence.votes) for z in unmapped]


@dataclass(frozen=True)
class Ranked:
    """A candidate's place.

    Attributes:
        name: of the candidate.
        scores: its scorecard: every quantity that its evidence allows, means over seeds.
        temperature: geometric mean of the cross-fitted temperatures.
        estimate: the deciding quantity with its interval.
        to_best: paired difference of the deciding quantity to the best candidate's; positive is worse.
        tied: whether the interval of that difference holds zero, or there is none.
        seeds: networks.
        examples: validation examples.
        by: the deciding quantity.
        over: what the interval of the difference is over; ``resamples`` of the examples where the quantity is one number for
            all of them, ``nothing`` where the two cannot be paired, and the interval is NaN.
        before: the scorecard before the target map, where there is one that changes anything.
    """

    name: str
    scores: dict[str, float]
    temperature: float
    estimate: Estimate
    to_best: Estimate
    tied: bool
    seeds: int
    examples: int
    by: str = DEFAULT
    over: Over = "examples"
    before: dict[str, float] = field(default_factory=dict)


def example_scores(logits: Logits, labels: Labels) -> tuple[dict[str, Tensor], float]:
    """Return the proper scores and the error of each example (lower is better), and the temperature.

    Args:
        logits: ``(N, C)`` on held-out examples.
        labels: ``(N,)``.

    Returns:
        ``calibrated_brier``, ``calibrated_nll``, ``brier``, ``nll`` and ``accuracy`` (as error) to ``(N,)`` float64, and the
        geometric mean of the cross-fitted Brier temperatures.
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


@dataclass(frozen=True)
class _Measured:
    """A candidate with its scorecard, and its values of the deciding quantity, one per seed."""

    candidate: Candidate
    scores: dict[str, float]
    before: dict[str, float]
    temperature: float
    values: list[Any]

    @property
    def means(self) -> dict[int, float]:
        """Seed to mean."""
        return {s: mean_of(v) for s, v in zip(self.candidate.seed_list, self.values, strict=True)}


def rank_candidates(candidates: Sequence[Candidate], *, by: str = DEFAULT) -> list[Ranked]:
    """Order candidate teachers by a quantity of the scorecard.

    Differences are paired by example, and by seed where there are several: each seed's mean difference is one value, and
    the interval is over seeds, because a new teacher of the kind would be a new seed. With one seed in common, or seeds
    whose differences are all alike, which say nothing of their scatter, the interval is over examples, and speaks of these
    very networks only; where the quantity is no mean over examples, the examples are resampled.

    Args:
        candidates: scored on the same examples.
        by: a quantity that has a direction, and that every candidate has.

    Returns:
        Best first; candidates with equal values in the order given.

    Raises:
        ConfigError: for no candidates, two of one name, different examples, evidence that is not one per seed, or a quantity that
            is unknown, has no direction, or is not known of every candidate.
    """
    quantity = _quantity(by)
    _check(candidates)
    measured = [_measure(c, quantity) for c in candidates]
    if lacking := [m.candidate.name for m in measured if by not in m.scores]:
        raise ConfigError(
            f"quantity '{by}'",
            rule=f"must be known of every candidate; it needs {quantity.needs.replace('_', ' ')}",
            received=f"nothing for {', '.join(map(repr, lacking))}",
            remedy="rank by another, or leave these out"
            + ("; --probes measures it" if quantity.needs in ("lipschitz", "views") else ""),
        )
    order = sorted(measured, key=lambda m: -quantity.sign * m.scores[by])
    resampled: dict[str, np.ndarray] = {}
    ranked = []
    for m in order:
        to_best, over = _to_best(m, order[0], quantity, resampled)
        estimate = _estimate(m, quantity, resampled)
        tied = m is order[0] or not to_best.excludes_zero
        sizes = len(m.values), len(m.candidate.labels)
        ranked.append(
            Ranked(m.candidate.name, m.scores, m.temperature, estimate, to_best, tied, *sizes, by, over, m.before)
        )
    return ranked


def _quantity(name: str) -> Quantity:
    check_choice("quantity", name, QUANTITIES)
    quantity = QUANTITIES[name]
    if quantity.better is None:
        raise ConfigError(
            f"quantity '{name}'",
            rule="must have a direction to rank by",
            received="one that is neither better high nor low",
            remedy=f"rank by {DEFAULT}",
        )
    return quantity


def _check(candidates: Sequence[Candidate]) -> None:
    if not candidates:
        raise ConfigError("a ranking", rule="needs at least one candidate", received="none")
    names = [c.name for c in candidates]
    if len(set(names)) < len(names):
        raise ConfigError("candidates", rule="must have different names", received=", ".join(map(repr, names)))
    labels = candidates[0].labels
    for c in candidates:
        if c.labels.shape != labels.shape or not bool((c.labels == labels).all()):
            raise ConfigError(
                f"candidate '{c.name}'",
                rule="must be scored on the same examples as the others",
                received=f"{len(c.labels)} examples against {len(labels)}, or other labels",
            )
        if not c.logits or len(set(c.seed_list)) != len(c.logits):
            received = f"{len(c.logits)} tables and seeds {c.seed_list}"
            raise ConfigError(f"candidate '{c.name}'", rule="must have one table of logits per seed", received=received)
        for z in c.logits:
            check_logits(**{f"logits of '{c.name}'": z})
            check_labels(c.labels, examples=z.shape[0], classes=z.shape[1])
        for kind in PER_SEED:
            count = len(getattr(c.evidence, kind))
            if count not in (0, len(c.logits)):
                rule = f"must have {kind.replace('_', ' ')} for each seed, None where they are missing, or for none"
                raise ConfigError(f"candidate '{c.name}'", rule=rule, received=f"{count} for {len(c.logits)} seeds")


def _measure(candidate: Candidate, quantity: Quantity) -> _Measured:
    networks = candidate.known()
    temperatures = [t for known in networks for t in known.calibrated[1]]
    temperature = float(np.exp(np.mean(np.log(temperatures))))
    before = candidate.before()
    values = [quantity.of(known) for known in networks]
    return _Measured(candidate, scores_of(networks), scores_of(before) if before else {}, temperature, values)


def _worse_by(quantity: Quantity, own: Any, best: Any) -> Any:
    """Return a difference that is positive where the first is worse."""
    return best - own if quantity.better == "higher" else own - best


def _to_best(
    own: _Measured, best: _Measured, quantity: Quantity, resampled: dict[str, np.ndarray]
) -> tuple[Estimate, Over]:
    """Return the difference to the best, positive where it is worse, with what its interval is over."""
    means, others = own.means, best.means
    differences = [_worse_by(quantity, means[seed], others[seed]) for seed in sorted(set(means) & set(others))]
    scattered = len(differences) > 1 and np.ptp(differences) > 1e-12 * np.abs(differences).max()
    if len(differences) > 1 and (scattered or not any(differences)):
        return mean_interval(differences), "seeds"
    total = _worse_by(quantity, own.scores[quantity.name], best.scores[quantity.name])
    if not all(isinstance(v, Tensor) for v in (*own.values, *best.values)):
        draws = _worse_by(quantity, *(_resamples(m, quantity, resampled) for m in (own, best)))
        return _around(total, draws, len(own.candidate.labels)), "resamples"
    if not same_examples([*own.candidate.known(), *best.candidate.known()], quantity.needs):
        return Estimate(total, float("nan"), float("nan"), 0), "nothing"
    each = [torch.stack(m.values).mean(dim=0) for m in (own, best)]
    return mean_interval(_worse_by(quantity, *each).tolist()), "examples"


def _estimate(own: _Measured, quantity: Quantity, resampled: dict[str, np.ndarray]) -> Estimate:
    if len(own.values) > 1:
        return mean_interval(list(own.means.values()))
    if isinstance(own.values[0], Tensor):
        return mean_interval(own.values[0].tolist())
    return _around(own.values[0], _resamples(own, quantity, resampled), len(own.candidate.labels))


def _resamples(own: _Measured, quantity: Quantity, found: dict[str, np.ndarray]) -> np.ndarray:
    """Return the quantity on resamples of the validation examples, the same for every candidate; NaN where it is not defined."""
    name = own.candidate.name
    if name not in found:
        labels = own.candidate.labels
        rows = torch.from_numpy(numpy_stream(0, "scorecard").integers(len(labels), size=(RESAMPLES, len(labels))))
        with trusted_values():
            draws = [[quantity.compute(Known(z[row], labels[row])) for z in own.candidate.logits] for row in rows]
        found[name] = np.array(draws, dtype=float).mean(axis=1)
    return found[name]


def _around(value: float, draws: np.ndarray, n: int) -> Estimate:
    """Return an interval from the deviation of resamples, around the value itself: resampling biases calibration errors."""
    draws = draws[~np.isnan(draws)]
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * float(draws.std(ddof=1)) if len(draws) > 1 else float("nan")
    return Estimate(value, value - half, value + half, n)
