"""What is known of one network that may teach: its outputs with what they are judged by, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from goodteacher.base.checks import check_float
from goodteacher.base.errors import DataError
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.base.types import Labels, Logits, PerExample, Probabilities
from goodteacher.diagnose.calibration import confidence_gaps, cross_fitted
from goodteacher.diagnose.dispersion import (
    ConditionalInformation,
    MurphySplit,
    conditional_mutual_information,
    murphy_split,
    spread,
    view_consistency,
)
from goodteacher.diagnose.distance import distance_to_truth, distance_to_votes, scores_by_votes


@dataclass(frozen=True)
class Known:
    """What is known of one network.

    Attributes:
        logits: ``(N, C)`` on validation, as a student would be taught them.
        labels: ``(N,)``.
        views: ``(V, n, C)`` logits of augmented views of n validation examples.
        lipschitz: kind of estimate (``random``, ``pgd``, ``jacobian``) to ``(n,)``.
        out_of_fold: logits ``(M, C)`` and labels ``(M,)`` of training examples that the network did not see.
        in_sample: logits ``(M, C)`` on training inputs, and ``(M, C)`` counts of votes that the network did not see.
        taught: logits ``(M, C)`` handed over on training inputs, and the ``(M, C)`` true label distribution there.
        truth: ``(N, C)`` true label distribution of the validation examples.
        votes: ``(N, C)`` counts of human votes on them.
    """

    logits: Logits
    labels: Labels
    views: Tensor | None = None
    lipschitz: Mapping[str, Tensor] | None = None
    out_of_fold: tuple[Logits, Labels] | None = None
    in_sample: tuple[Logits, Tensor] | None = None
    truth: Probabilities | None = None
    votes: Tensor | None = None
    taught: tuple[Logits, Probabilities] | None = None

    @cached_property
    def log_p(self) -> Tensor:
        """Log-probabilities, ``(N, C)`` float64."""
        return log_soften(self.logits.double())

    @cached_property
    def p(self) -> Probabilities:
        """Probabilities, ``(N, C)`` float64."""
        return self.log_p.exp()

    @cached_property
    def calibrated(self) -> tuple[PerExample, tuple[float, float]]:
        """Cross-fitted Brier scores, and the temperatures of the halves."""
        return cross_fitted(self.logits, self.labels, score="brier")

    @cached_property
    def gaps(self) -> tuple[float, float]:
        """Over- and underconfidence."""
        return confidence_gaps(self.p, self.labels)

    @cached_property
    def murphy(self) -> MurphySplit:
        """The parts of the Brier score."""
        return murphy_split(self.p, self.labels)

    @cached_property
    def spread(self) -> dict[str, PerExample]:
        """How each prediction is spread over classes."""
        return spread(self.logits)

    @cached_property
    def information(self) -> ConditionalInformation | None:
        """Conditional mutual information, or None where the labels do not allow it."""
        try:
            return conditional_mutual_information(self.logits, self.labels)
        except DataError:
            return None

    @cached_property
    def consistency(self) -> dict[str, PerExample]:
        """Variance and disagreement over views."""
        assert self.views is not None
        return view_consistency(self.views)

    def lipschitz_of(self, kind: str) -> PerExample | None:
        """Return a kind of local Lipschitz estimate, or None."""
        assert self.lipschitz is not None
        found = self.lipschitz.get(kind)
        if found is None:
            return None
        check_float(**{f"{kind} Lipschitz estimates": found})
        return found.double()

    @cached_property
    def fold_scores(self) -> dict[str, PerExample]:
        """Scores on training examples that the network did not see."""
        assert self.out_of_fold is not None
        logits, labels = self.out_of_fold
        log_p = log_soften(logits.double())
        right = (logits.argmax(dim=1) == labels).double()
        return {"brier": brier_score(log_p.exp(), labels), "nll": nll(log_p, labels), "accuracy": right}

    @cached_property
    def vote_scores(self) -> dict[str, PerExample]:
        """Scores on training inputs against votes that the network did not see; the distance where two votes allow it."""
        assert self.in_sample is not None
        logits, votes = self.in_sample
        scores = scores_by_votes(logits, votes)
        if float(votes.sum(dim=1).min()) >= 2:
            scores["mse"] = distance_to_votes(logits, votes)["mse"]
        return scores

    @cached_property
    def taught_to_truth(self) -> dict[str, PerExample]:
        """Distances to the truth on the inputs that students are taught on."""
        assert self.taught is not None
        return distance_to_truth(*self.taught)

    @cached_property
    def to_truth(self) -> dict[str, PerExample]:
        """Distances to the truth."""
        assert self.truth is not None
        return distance_to_truth(self.logits, self.truth)

    @cached_property
    def to_votes(self) -> dict[str, PerExample]:
        """Distances to human votes; none where an example has fewer than two."""
        assert self.votes is not None
        return distance_to_votes(self.logits, self.votes) if float(self.votes.sum(dim=1).min()) >= 2 else {}
