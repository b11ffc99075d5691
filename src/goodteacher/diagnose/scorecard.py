"""What is measured about a candidate teacher before it teaches: the table of quantities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from goodteacher.base.probability import brier_score, nll
from goodteacher.base.types import PerExample
from goodteacher.diagnose.calibration import classwise_calibration_error, cross_fitted, expected_calibration_error
from goodteacher.diagnose.known import Known

if TYPE_CHECKING:
    import pandas as pd

    from goodteacher.diagnose.ranking import Ranked

Need: TypeAlias = Literal["logits", "views", "lipschitz", "out_of_fold", "in_sample", "taught", "truth", "votes"]
Value: TypeAlias = PerExample | float | None
"""One value per example, one for all of them together, or None where it cannot be said."""


@dataclass(frozen=True)
class Quantity:
    """One row of the scorecard.

    Attributes:
        name: unique.
        better: which way makes a better teacher, or None where nobody says.
        compute: from what is known of a network.
        description: one line for people.
        needs: evidence without which it is absent.
    """

    name: str
    better: Literal["lower", "higher"] | None
    compute: Callable[[Known], Value]
    description: str
    needs: Need = "logits"

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is, 0 where nobody says."""
        return {"lower": -1, "higher": 1, None: 0}[self.better]

    def of(self, known: Known) -> Value:
        """Return the quantity of a network, or None where the evidence is missing or does not allow it."""
        return None if getattr(known, self.needs) is None else self.compute(known)


_TABLE = (
    Quantity(
        "calibrated_brier",
        "lower",
        lambda k: k.calibrated[0],
        "Brier score after a temperature fitted on the other half",
    ),
    Quantity(
        "calibrated_nll",
        "lower",
        lambda k: cross_fitted(k.logits, k.labels, score="nll")[0],
        "negative log-likelihood after a temperature fitted on the other half, nats",
    ),
    Quantity("brier", "lower", lambda k: brier_score(k.p, k.labels), "Brier score, summed over classes"),
    Quantity("nll", "lower", lambda k: nll(k.log_p, k.labels), "negative log-likelihood, nats"),
    Quantity(
        "accuracy",
        "higher",
        lambda k: (k.logits.argmax(dim=1) == k.labels).double(),
        "share of examples that are right",
    ),
    Quantity(
        "ece",
        "lower",
        lambda k: expected_calibration_error(k.p, k.labels),
        "expected calibration error, 15 bins of equal width",
    ),
    Quantity(
        "adaptive_ece",
        "lower",
        lambda k: expected_calibration_error(k.p, k.labels, binning="mass"),
        "expected calibration error, 15 bins of equally many examples",
    ),
    Quantity(
        "classwise_ece",
        "lower",
        lambda k: classwise_calibration_error(k.p, k.labels),
        "calibration error of each class's probability, averaged",
    ),
    Quantity("overconfidence", "lower", lambda k: k.gaps[0], "part of the calibration error in bins that are too sure"),
    Quantity(
        "underconfidence",
        "lower",
        lambda k: k.gaps[1],
        "part of the calibration error in bins that are not sure enough",
    ),
    Quantity(
        "reliability",
        "lower",
        lambda k: k.murphy.reliability,
        "Murphy's split: squared distance of probabilities to observed frequencies",
    ),
    Quantity(
        "resolution",
        "higher",
        lambda k: k.murphy.resolution,
        "Murphy's split: squared distance of observed frequencies to base rates",
    ),
    Quantity(
        "uncertainty",
        None,
        lambda k: k.murphy.uncertainty,
        "Murphy's split: score of the base rates, the same for every teacher",
    ),
    Quantity("entropy", None, lambda k: k.spread["entropy"], "entropy of predictions, nats"),
    Quantity("max_probability", None, lambda k: k.spread["top_probability"], "top probability"),
    Quantity(
        "secondary_deviation",
        "higher",
        lambda k: k.spread["secondary_deviation"],
        "deviation of the probabilities below the top; higher is better by Tan & Liu (2022)",
    ),
    Quantity(
        "cmi",
        "higher",
        lambda k: k.information.cmi if k.information else None,
        "information of input and prediction given the label, nats; higher is better by Ye et al. (2024)",
    ),
    Quantity(
        "ncmi",
        "lower",
        lambda k: k.information.ncmi if k.information and k.information.separation > 0 else None,
        "the same over the separation of classes; lower is better for the network itself by Yang et al. (2023)",
    ),
    Quantity(
        "view_variance",
        "lower",
        lambda k: k.consistency["variance"],
        "variance of predictions over augmented views",
        "views",
    ),
    Quantity(
        "view_disagreement",
        "lower",
        lambda k: k.consistency["disagreement"],
        "share of pairs of augmented views with different top classes",
        "views",
    ),
    Quantity(
        "lipschitz_random",
        "lower",
        lambda k: k.lipschitz_of("random"),
        "local Lipschitz estimate by random directions",
        "lipschitz",
    ),
    Quantity(
        "lipschitz_pgd",
        "lower",
        lambda k: k.lipschitz_of("pgd"),
        "local Lipschitz estimate by gradient ascent",
        "lipschitz",
    ),
    Quantity(
        "lipschitz_jacobian",
        "lower",
        lambda k: k.lipschitz_of("jacobian"),
        "spectral norm of the Jacobian",
        "lipschitz",
    ),
    Quantity(
        "out_of_fold_brier",
        "lower",
        lambda k: k.fold_scores["brier"],
        "Brier score on training examples not trained on",
        "out_of_fold",
    ),
    Quantity(
        "out_of_fold_nll",
        "lower",
        lambda k: k.fold_scores["nll"],
        "negative log-likelihood on training examples not trained on, nats",
        "out_of_fold",
    ),
    Quantity(
        "out_of_fold_accuracy",
        "higher",
        lambda k: k.fold_scores["accuracy"],
        "accuracy on training examples not trained on",
        "out_of_fold",
    ),
    Quantity(
        "in_sample_brier",
        "lower",
        lambda k: k.vote_scores["brier"],
        "Brier score on training inputs against votes not trained on",
        "in_sample",
    ),
    Quantity(
        "in_sample_nll",
        "lower",
        lambda k: k.vote_scores["nll"],
        "negative log-likelihood on training inputs against votes not trained on, nats",
        "in_sample",
    ),
    Quantity(
        "in_sample_mse",
        "lower",
        lambda k: k.vote_scores.get("mse"),
        "squared distance on training inputs to what votes not trained on say, corrected for their number",
        "in_sample",
    ),
    Quantity(
        "taught_mse",
        "lower",
        lambda k: k.taught_to_truth["mse"],
        "squared distance to the true label distribution on training inputs, where students are taught",
        "taught",
    ),
    Quantity(
        "taught_kl",
        "lower",
        lambda k: k.taught_to_truth["kl"],
        "divergence from the true label distribution on training inputs, nats",
        "taught",
    ),
    Quantity(
        "truth_mse", "lower", lambda k: k.to_truth["mse"], "squared distance to the true label distribution", "truth"
    ),
    Quantity(
        "truth_kl", "lower", lambda k: k.to_truth["kl"], "divergence from the true label distribution, nats", "truth"
    ),
    Quantity(
        "votes_mse",
        "lower",
        lambda k: k.to_votes.get("mse"),
        "squared distance to human votes, corrected for their number",
        "votes",
    ),
    Quantity(
        "votes_kl", "lower", lambda k: k.to_votes.get("kl"), "divergence from the shares of human votes, nats", "votes"
    ),
)

QUANTITIES: dict[str, Quantity] = {q.name: q for q in _TABLE}
"""Name to quantity, in the order in which they are shown."""

DIRECTION: dict[str, int] = {q.name: q.sign for q in _TABLE}
"""Name to 1 where higher is better, -1 where lower is, 0 where nobody says."""


def scores_of(networks: Sequence[Known]) -> dict[str, float]:
    """Return every quantity that can be said of all the networks, averaged over their examples, then over them.

    Args:
        networks: alike but for the seed.

    Returns:
        Name to mean, in the table's order; a quantity whose evidence is missing is left out.
    """
    found = {}
    for name, quantity in QUANTITIES.items():
        values = [quantity.of(known) for known in networks]
        means = [mean_of(value) for value in values if value is not None]
        if means and len(means) == len(networks):
            found[name] = sum(means) / len(means)
    return found


def mean_of(value: PerExample | float) -> float:
    """Return a quantity's mean over examples, or itself where it is one number."""
    return float(value.mean()) if isinstance(value, Tensor) else float(value)


def same_examples(networks: Sequence[Known], needs: Need) -> bool:
    """Say whether the values of several networks are of the same examples, so that they can be paired."""
    parts = [getattr(known, needs) for known in networks]
    if needs in ("out_of_fold", "in_sample", "taught"):
        return all(torch.equal(part[1], parts[0][1]) for part in parts)
    if needs == "views":
        return len({part.shape[1] for part in parts}) == 1
    if needs == "lipschitz":
        return len({len(values) for part in parts for values in part.values()}) == 1
    return True


def scorecard_frame(ranked: Sequence[Ranked]) -> pd.DataFrame:
    """Return a ranking with the whole scorecard as a table.

    Args:
        ranked: best first.

    Returns:
        One row per candidate: ``rank``, ``name``, ``tied``, ``seeds``, ``examples``, ``temperature``; ``by``, ``estimate``,
        ``estimate_low``, ``estimate_high``, the deciding quantity; ``to_best``, ``to_best_low``, ``to_best_high``, positive is
        worse, and ``over``, what its interval is over; then every quantity that somebody has, and as ``before_...`` those
        before the target map. What a candidate lacks is NaN.
    """
    import pandas as pd

    rows = []
    for place, r in enumerate(ranked, start=1):
        row = {"rank": place, "name": r.name, "tied": r.tied, "seeds": r.seeds, "examples": r.examples}
        row |= {"temperature": r.temperature, "by": r.by}
        for name, e in (("estimate", r.estimate), ("to_best", r.to_best)):
            row |= {name: e.mean, f"{name}_low": e.low, f"{name}_high": e.high}
        row["over"] = r.over
        rows.append({**row, **r.scores, **{f"before_{name}": value for name, value in r.before.items()}})
    frame = pd.DataFrame(rows)
    quantities = [*QUANTITIES, *(f"before_{name}" for name in QUANTITIES)]
    first = [column for column in frame if column not in quantities]
    return frame[[*first, *(name for name in quantities if name in frame)]]
