import json
import math

import pytest
import torch
from torch.nn.functional import one_hot

from goodteacher.base.errors import ShapeError
from goodteacher.base.probability import brier_score, log_probabilities, nll
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.diagnose.calibration import (
    classwise_calibration_error,
    confidence_gaps,
    cross_fitted,
    expected_calibration_error,
)
from goodteacher.diagnose.dispersion import conditional_mutual_information, murphy_split, spread, view_consistency
from goodteacher.diagnose.distance import distance_to_truth, distance_to_votes, scores_by_votes
from goodteacher.diagnose.known import Known
from goodteacher.diagnose.ranking import Candidate, Evidence, rank_candidates
from goodteacher.diagnose.scorecard import DIRECTION, QUANTITIES, mean_of, same_examples, scorecard_frame, scores_of

N, C = 120, 3
Y = torch.arange(N) % C


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Z = drawn(0, N, C) + one_hot(Y, C)
VOTES = torch.randint(1, 5, (N, C), generator=torch.Generator().manual_seed(5))
TRUTH = drawn(6, N, C).softmax(1)
VIEWS = drawn(1, 4, 30, C)
FOLD = drawn(2, 80, C), Y[:80]
SAMPLE = drawn(3, N, C), VOTES.flip(0)
LIPSCHITZ = {"random": torch.rand(20), "pgd": 2 + torch.rand(20), "jacobian": 3 + torch.rand(20)}
TAUGHT = drawn(7, 50, C), drawn(8, 50, C).softmax(1)
KNOWN = Known(Z, Y, VIEWS, LIPSCHITZ, FOLD, SAMPLE, TRUTH, VOTES, TAUGHT)
P = Z.double().softmax(1)
Q = FOLD[0].double().softmax(1)


# By hand from the plainest functions there are; each has its own test against loops.
WANT = {
    "calibrated_brier": lambda: cross_fitted(Z, Y, score="brier")[0],
    "calibrated_nll": lambda: cross_fitted(Z, Y, score="nll")[0],
    "brier": lambda: sum((P[:, c] - (c == Y).double()) ** 2 for c in range(C)),
    "nll": lambda: torch.stack([-P[i, Y[i]].log() for i in range(N)]),
    "accuracy": lambda: torch.tensor([float(P[i].argmax() == Y[i]) for i in range(N)]),
    "ece": lambda: expected_calibration_error(P, Y, bins=15),
    "adaptive_ece": lambda: expected_calibration_error(P, Y, bins=15, binning="mass"),
    "classwise_ece": lambda: classwise_calibration_error(P, Y, bins=15),
    "overconfidence": lambda: confidence_gaps(P, Y)[0],
    "underconfidence": lambda: confidence_gaps(P, Y)[1],
    "reliability": lambda: murphy_split(P, Y).reliability,
    "resolution": lambda: murphy_split(P, Y).resolution,
    "uncertainty": lambda: 1 - 1 / C,
    "entropy": lambda: -(P * P.log()).sum(1),
    "max_probability": lambda: P.max(1).values,
    "secondary_deviation": lambda: spread(Z)["secondary_deviation"],
    "cmi": lambda: conditional_mutual_information(Z, Y).cmi,
    "ncmi": lambda: conditional_mutual_information(Z, Y).ncmi,
    "view_variance": lambda: view_consistency(VIEWS)["variance"],
    "view_disagreement": lambda: view_consistency(VIEWS)["disagreement"],
    "lipschitz_random": lambda: LIPSCHITZ["random"],
    "lipschitz_pgd": lambda: LIPSCHITZ["pgd"],
    "lipschitz_jacobian": lambda: LIPSCHITZ["jacobian"],
    "out_of_fold_brier": lambda: (Q - one_hot(FOLD[1], C)).square().sum(1),
    "out_of_fold_nll": lambda: -Q.log()[torch.arange(80), FOLD[1]],
    "out_of_fold_accuracy": lambda: (Q.argmax(1) == FOLD[1]).double(),
    "in_sample_brier": lambda: scores_by_votes(*SAMPLE)["brier"],
    "in_sample_nll": lambda: scores_by_votes(*SAMPLE)["nll"],
    "in_sample_mse": lambda: distance_to_votes(*SAMPLE)["mse"],
    "taught_mse": lambda: (TAUGHT[0].double().softmax(1) - TAUGHT[1]).square().sum(1),
    "taught_kl": lambda: (TAUGHT[1] * (TAUGHT[1].log() - TAUGHT[0].double().log_softmax(1))).sum(1),
    "truth_mse": lambda: (P - TRUTH).square().sum(1),
    "truth_kl": lambda: (TRUTH * (TRUTH.log() - P.log())).sum(1),
    "votes_mse": lambda: distance_to_votes(Z, VOTES)["mse"],
    "votes_kl": lambda: distance_to_votes(Z, VOTES)["kl"],
}
ONE_NUMBER = {
    "ece", "adaptive_ece", "classwise_ece", "overconfidence", "underconfidence", "reliability", "resolution", "uncertainty",
    "cmi", "ncmi",
}  # fmt: skip


@pytest.mark.parametrize("name", QUANTITIES)
def test_each_quantity_is_what_it_says(name):
    got, want = QUANTITIES[name].of(KNOWN), WANT[name]()
    if name in ONE_NUMBER:
        assert isinstance(got, float) and got == pytest.approx(want)
    else:
        assert isinstance(got, torch.Tensor) and got.dim() == 1
        torch.testing.assert_close(got, want.double(), atol=1e-6, rtol=1e-5)
    assert scores_of([KNOWN])[name] == pytest.approx(float(torch.as_tensor(want).double().mean()), rel=1e-5)


def test_the_table_is_in_order():
    assert set(WANT) == set(QUANTITIES) and all(name == q.name for name, q in QUANTITIES.items())
    assert list(scores_of([KNOWN])) == list(QUANTITIES)
    assert all(q.description and not q.description.endswith(".") for q in QUANTITIES.values())
    # What is one number for all examples needs logits and labels alone: it can be had on a resample of them.
    assert all(QUANTITIES[name].needs == "logits" for name in ONE_NUMBER)


def test_directions():
    higher = {"accuracy", "resolution", "secondary_deviation", "cmi", "out_of_fold_accuracy"}
    unknown = {"uncertainty", "entropy", "max_probability"}
    for name, sign in DIRECTION.items():
        assert sign == (1 if name in higher else 0 if name in unknown else -1) == QUANTITIES[name].sign


@pytest.mark.parametrize(
    ("without", "gone"),
    [
        ("views", {"view_variance", "view_disagreement"}),
        ("lipschitz", {"lipschitz_random", "lipschitz_pgd", "lipschitz_jacobian"}),
        ("out_of_fold", {"out_of_fold_brier", "out_of_fold_nll", "out_of_fold_accuracy"}),
        ("in_sample", {"in_sample_brier", "in_sample_nll", "in_sample_mse"}),
        ("taught", {"taught_mse", "taught_kl"}),
        ("truth", {"truth_mse", "truth_kl"}),
        ("votes", {"votes_mse", "votes_kl"}),
    ],
)
def test_without_evidence_a_quantity_is_absent(without, gone):
    changed = Known(**{**vars_of(KNOWN), without: None})
    assert set(QUANTITIES) - set(scores_of([changed])) == gone
    # Where one seed lacks it, the mean over seeds would be of others than the rest of the scorecard.
    assert set(QUANTITIES) - set(scores_of([KNOWN, changed])) == gone


def vars_of(known):
    return {name: getattr(known, name) for name in Known.__dataclass_fields__}


def test_evidence_that_does_not_allow_a_quantity():
    single = one_hot(Y, C)
    scores = scores_of([Known(Z, Y, in_sample=(Z, single), votes=single, lipschitz={"pgd": torch.ones(3)})])
    assert "in_sample_mse" not in scores and not {"votes_mse", "votes_kl"} & set(scores)
    assert scores["in_sample_brier"] == pytest.approx(scores["brier"])
    assert scores["lipschitz_pgd"] == 1 and "lipschitz_random" not in scores
    few = scores_of([Known(Z[:3], Y[:3])])
    assert not {"cmi", "ncmi"} & set(few) and all(math.isfinite(v) for v in few.values())


def test_damaged_evidence_is_refused():
    with pytest.raises(ShapeError, match="pgd Lipschitz estimates: must be finite"):
        scores_of([Known(Z, Y, lipschitz={"pgd": torch.tensor([1.0, math.nan])})])
    with pytest.raises(ShapeError, match="logits of 'broken': must be finite"):
        rank_candidates([Candidate("fine", (Z,), Y), Candidate("broken", (Z / 0,), Y)])
    with pytest.raises(ShapeError, match="labels"):
        rank_candidates([Candidate("short", (Z[1:],), Y)])


def test_means_are_over_seeds():
    other = Known(drawn(9, N, C), Y)
    both, one, two = scores_of([Known(Z, Y), other]), scores_of([Known(Z, Y)]), scores_of([other])
    assert both == pytest.approx({name: (one[name] + two[name]) / 2 for name in one})
    assert mean_of(torch.tensor([1.0, 3.0])) == 2 == mean_of(2.0)


def test_murphys_parts_and_calibration_parts_add_up_within_the_scorecard():
    scores = scores_of([KNOWN])
    within = murphy_split(P, Y).within
    assert scores["brier"] == pytest.approx(
        scores["reliability"] - scores["resolution"] + scores["uncertainty"] + within
    )
    assert scores["ece"] == pytest.approx(scores["overconfidence"] + scores["underconfidence"])


def test_examples_are_the_same_or_not():
    moved = Known(Z, Y, VIEWS[:, :20], {"pgd": torch.ones(9)}, (FOLD[0], FOLD[1].flip(0)), (Z, VOTES), TRUTH, VOTES)
    for needs in ("views", "lipschitz", "out_of_fold", "in_sample"):
        assert same_examples([KNOWN, KNOWN], needs) and not same_examples([KNOWN, moved], needs)
    assert same_examples([KNOWN, moved], "logits") and same_examples([KNOWN, moved], "truth")


# --- what held-out scores, and votes never trained on, say of the distance to the truth


def teachers(problem, split, labels):
    """Logits of a memoriser of the given labels, of an honest teacher, and of one that is flat, from the truth."""
    log_p = log_probabilities(problem.split(split).truth.double())
    return {"memoriser": log_p + 2.0 * one_hot(labels, 3), "honest": 0.7 * log_p, "flat": log_p / 4}


def drawn_labels(p, seed, count=1):
    ballots = torch.multinomial(p.double(), count, replacement=True, generator=torch.Generator().manual_seed(seed))
    return ballots.squeeze(1) if count == 1 else one_hot(ballots, p.shape[1]).sum(1)


PROBLEM = gaussian_problem(train=20000, validation=20000, test=10, dimension=6, seed=2)


@pytest.mark.parametrize(("one", "other"), [("memoriser", "honest"), ("flat", "honest")])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_scores_by_fresh_votes_differ_by_the_distance_to_the_truth_on_training_inputs(one, other, count):
    part = PROBLEM.train
    seen = drawn_labels(part.truth, 1)
    votes = one_hot(drawn_labels(part.truth, 2), 3) if count == 1 else drawn_labels(part.truth, 2, count)
    tables = teachers(PROBLEM, "train", seen)
    known = {n: Known(Z, Y, in_sample=(tables[n], votes)) for n in (one, other)}
    far = {n: distance_to_truth(tables[n], part.truth) for n in (one, other)}
    for name, distance in (("in_sample_brier", "mse"), ("in_sample_nll", "kl")):
        values = [QUANTITIES[name].of(known[n]) for n in (one, other)]
        want = far[one][distance] - far[other][distance]
        off = values[0] - values[1] - want
        tolerance = 4 * float(off.std()) / len(off) ** 0.5
        assert abs(float(off.mean())) < tolerance and abs(float(want.mean())) > 2 * tolerance
    if count > 1:
        mse = QUANTITIES["in_sample_mse"].of(known[one])
        assert abs(float((mse - far[one]["mse"]).mean())) < 4 * float(mse.std()) / len(mse) ** 0.5


def test_the_labels_trained_on_would_have_misled():
    part = PROBLEM.train
    seen, votes = drawn_labels(part.truth, 1), drawn_labels(part.truth, 2, 3)
    tables = teachers(PROBLEM, "train", seen)
    far = {n: float(distance_to_truth(z, part.truth)["mse"].mean()) for n, z in tables.items()}
    assert far["memoriser"] > 3 * far["honest"]
    for name in ("in_sample_brier", "in_sample_nll", "in_sample_mse"):
        fresh = {n: scores_of([Known(Z, Y, in_sample=(z, votes))])[name] for n, z in tables.items()}
        assert fresh["memoriser"] > fresh["honest"]
    # The very labels that the memoriser saw turn the order round, by far more than chance.
    naive = {n: brier_score(z.softmax(1), seen) for n, z in tables.items()}
    gap = naive["memoriser"] - naive["honest"]
    assert float(gap.mean()) < -20 * float(gap.std()) / len(gap) ** 0.5
    own = scores_of([Known(Z, Y, in_sample=(tables["memoriser"], one_hot(seen, 3)))])["in_sample_brier"]
    constant = float((1 - part.truth.double().square().sum(1)).mean())
    assert own == pytest.approx(float(naive["memoriser"].mean())) and own < far["memoriser"] + constant - 0.1


@pytest.mark.parametrize(("score", "distance"), [("brier", "truth_mse"), ("nll", "truth_kl"), ("brier", "votes_mse")])
def test_held_out_scores_differ_as_distances_do(score, distance):
    part = PROBLEM.validation
    tables = teachers(PROBLEM, "validation", drawn_labels(part.truth, 4))
    votes = drawn_labels(part.truth, 3, 20)
    evidence = Evidence(truth=part.truth, votes=votes)
    ranked = rank_candidates([Candidate(n, (z,), part.labels, (), evidence) for n, z in tables.items()], by=score)
    best = ranked[0]
    assert best.name == "honest"
    for r in ranked[1:]:
        # The interval of the paired score, made wider to four errors and by the scatter of the votes.
        difference = r.scores[distance] - best.scores[distance]
        assert abs(r.to_best.mean - difference) < 2.5 * r.to_best.half and not r.tied and difference > 0


# --- the table for files


def ranked_pair():
    full = Evidence((VIEWS,), (LIPSCHITZ,), (FOLD,), (SAMPLE,), TRUTH, VOTES, (Z,), (TAUGHT,))
    return rank_candidates([Candidate("full", (0.8 * Z,), Y, (), full), Candidate("bare", (0.1 * drawn(8, N, C),), Y)])


def test_a_row_a_candidate_with_everything_that_is_known():
    ranked = ranked_pair()
    frame = scorecard_frame(ranked)
    assert list(frame["name"]) == ["full", "bare"] and list(frame["rank"]) == [1, 2]
    head = [
        "rank",
        "name",
        "tied",
        "seeds",
        "examples",
        "temperature",
        "by",
        "estimate",
        "estimate_low",
        "estimate_high",
    ]
    head += ["to_best", "to_best_low", "to_best_high", "over"]
    before = [f"before_{n}" for n, q in QUANTITIES.items() if q.needs in ("logits", "truth", "votes")]
    assert list(frame.columns) == [*head, *QUANTITIES, *before]
    first, last = frame.iloc[0], frame.iloc[1]
    assert {n: first[n] for n in QUANTITIES} == ranked[0].scores
    assert {n.removeprefix("before_"): first[n] for n in before} == ranked[0].before
    assert math.isnan(last["view_variance"]) and math.isnan(last["before_brier"])
    got = (last["to_best"], last["to_best_low"], last["to_best_high"], last["over"], last["by"])
    e = ranked[1].to_best
    assert got == (e.mean, e.low, e.high, "examples", "calibrated_brier")
    assert (first["estimate"], first["estimate_low"]) == (ranked[0].estimate.mean, ranked[0].estimate.low)


def test_the_frame_goes_into_files(tmp_path):
    frame = scorecard_frame(ranked_pair())
    text = frame.to_csv(index=False)
    assert text.splitlines()[0].startswith("rank,name,tied") and len(text.splitlines()) == 3
    rows = [{k: v for k, v in row.items() if v == v} for row in frame.to_dict("records")]
    again = json.loads(json.dumps(rows, allow_nan=False))
    assert again[0]["truth_mse"] > 0 and "truth_mse" not in again[1] and again[0]["tied"] is True
    assert len(scorecard_frame([])) == 0


def test_before_the_map_is_shown_only_where_the_map_changes_something():
    def before(*unmapped):
        return rank_candidates([Candidate("a", (Z, Z), Y, (), Evidence(truth=TRUTH, unmapped=unmapped))])[0].before

    assert before() == {} and before(Z, Z.double()) == {} and before(2 * Z, None) == {}
    changed = before(2 * Z, Z)
    want = [float(nll((k * Z.double()).log_softmax(1), Y).mean()) for k in (2, 1)]
    assert changed["nll"] == pytest.approx(sum(want) / 2) and "truth_mse" in changed and "view_variance" not in changed
