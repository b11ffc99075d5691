import functools
import math

import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.probability import log_probabilities
from goodteacher.base.stats import mean_interval
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.labels import symmetric_noise
from goodteacher.diagnose.distance import distance_to_truth
from goodteacher.diagnose.ranking import (
    DEFAULT,
    PREDICTORS,
    Candidate,
    Evidence,
    example_scores,
    rank_candidates,
)
from goodteacher.diagnose.scorecard import DIRECTION, QUANTITIES

PROBLEM = gaussian_problem(train=4000, validation=40000, test=10, dimension=6, seed=2)


def predictors(p):
    """Fixed predictors: p* sharpened, softened, mixed with the evens, and with two classes swapped now and then."""
    log_p = log_probabilities(p.double())
    swapped = log_p.clone()
    swapped[::5] = swapped[::5][:, [1, 0, 2]]
    return {
        "exact": log_p,
        "sharp": 3 * log_p,
        "soft": log_p / 3,
        "mixed": (0.6 * p.double() + 0.4 / 3).log(),
        "swapped": swapped,
    }


@functools.cache
def judged(name):
    """Return a predictor's scores of each example, and its distances to the truth."""
    part = PROBLEM.validation
    logits = predictors(part.truth)[name]
    return example_scores(logits, part.labels)[0], distance_to_truth(logits, part.truth)


def pairs():
    names = list(predictors(PROBLEM.validation.truth))
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


@pytest.mark.parametrize(("one", "other"), pairs())
@pytest.mark.parametrize(("score", "distance"), [("brier", "mse"), ("nll", "kl")])
def test_paired_held_out_scores_measure_the_distance_to_the_truth(one, other, score, distance):
    scores, distances = zip(*((s[score], d[distance]) for s, d in map(judged, (one, other))), strict=True)
    difference, want = scores[0] - scores[1], distances[0] - distances[1]
    off = difference - want
    assert abs(float(off.mean())) < 4 * float(off.std()) / len(off) ** 0.5
    # Not because everything is small: the distances to p* itself differ by many such errors.
    assert one != "exact" or abs(float(want.mean())) > 8 * float(off.std()) / len(off) ** 0.5


@pytest.mark.parametrize(("score", "distance"), [("brier", "mse"), ("nll", "kl")])
def test_ranking_by_a_score_is_ranking_by_its_distance(score, distance):
    part = PROBLEM.validation
    logits = predictors(part.truth)
    ranked = rank_candidates([Candidate(n, (z,), part.labels) for n, z in logits.items()], by=score)
    far = {n: float(distance_to_truth(z, part.truth)[distance].mean()) for n, z in logits.items()}
    assert [r.name for r in ranked] == sorted(far, key=far.get) and ranked[0].name == "exact"
    assert not any(r.tied for r in ranked[1:])
    for r in ranked[1:]:
        assert r.to_best.low < far[r.name] - far["exact"] < r.to_best.high


def test_on_its_own_training_examples_the_score_misleads():
    noisy = symmetric_noise(PROBLEM, 0.4, seed=1)
    part = noisy.train
    memoriser = 4.0 * torch.nn.functional.one_hot(part.labels, 3).double()
    honest = predictors(part.truth)["soft"]
    candidates = [Candidate("memoriser", (memoriser,), part.labels), Candidate("honest", (honest,), part.labels)]
    ranked = rank_candidates(candidates, by="brier")
    assert ranked[0].name == "memoriser" and not ranked[1].tied
    far = [float(distance_to_truth(z, part.truth)["mse"].mean()) for z in (memoriser, honest)]
    assert far[0] > 10 * far[1]
    # Fresh labels for the very same inputs set it right.
    fresh = torch.multinomial(part.truth, 1, generator=torch.Generator().manual_seed(0)).squeeze(1)
    again = rank_candidates([Candidate(c.name, c.logits, fresh) for c in candidates], by="brier")
    assert again[0].name == "honest" and not again[1].tied


def drawn(n=300, seed=0, noise=1.0, labels=None):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 4 if labels is None else labels
    return 2 * torch.nn.functional.one_hot(y, 4) + noise * torch.randn(n, 4, generator=generator)


Y = torch.arange(300) % 4


def candidate(name, seeds=(0,), noise=1.0):
    return Candidate(name, tuple(drawn(seed=s, noise=noise) for s in seeds), Y)


def test_identical_candidates_are_tied():
    ranked = rank_candidates([candidate("a"), candidate("b")])
    assert all(r.tied for r in ranked) and [r.to_best.mean for r in ranked] == [0, 0]
    assert ranked[0].scores == ranked[1].scores


def test_candidates_that_differ_by_chance_are_tied_and_others_are_not():
    ranked = rank_candidates([candidate("poor", (9,), 3.0), candidate("a", (0,)), candidate("b", (1,))])
    assert {r.name for r in ranked[:2]} == {"a", "b"} and ranked[1].tied and ranked[0].tied
    assert ranked[2].name == "poor" and not ranked[2].tied and ranked[2].to_best.low > 0


PROPER = ("calibrated_brier", "calibrated_nll", "brier", "nll", "accuracy")


@pytest.mark.parametrize("by", [*PROPER, "resolution"])
def test_the_best_comes_first_by_any_score(by):
    ranked = rank_candidates([candidate(str(n), (0,), n) for n in (3.0, 0.5, 1.5)], by=by)
    assert [r.name for r in ranked] == ["0.5", "1.5", "3.0"]
    assert ranked[0].to_best.mean == 0 < ranked[1].to_best.mean < ranked[2].to_best.mean


def test_with_one_seed_the_interval_is_over_examples():
    ranked = rank_candidates([candidate("a", (0,), 1.0), candidate("b", (1,), 2.0)], by="brier")
    scores = {n: example_scores(c, Y)[0]["brier"] for n, c in (("a", drawn()), ("b", drawn(seed=1, noise=2.0)))}
    want = mean_interval((scores["b"] - scores["a"]).tolist())
    got = ranked[1].to_best
    assert (got.mean, got.low, got.high, got.n) == pytest.approx((want.mean, want.low, want.high, 300))
    assert ranked[1].estimate.n == 300 == ranked[1].examples and ranked[1].seeds == 1


def test_with_several_seeds_the_interval_is_over_seeds_paired():
    seeds = (0, 1, 2)
    ranked = rank_candidates([candidate("a", seeds, 1.0), candidate("b", seeds, 2.0)], by="brier")
    means = [
        float(
            (
                example_scores(drawn(seed=s, noise=2.0), Y)[0]["brier"] - example_scores(drawn(seed=s), Y)[0]["brier"]
            ).mean()
        )
        for s in seeds
    ]
    want, got = mean_interval(means), ranked[1].to_best
    assert (got.mean, got.low, got.high, got.n) == pytest.approx((want.mean, want.low, want.high, 3))
    assert ranked[0].estimate.n == 3 == ranked[0].seeds


def test_with_different_numbers_of_seeds_the_interval_is_over_examples():
    ranked = rank_candidates([candidate("a", (0, 1), 1.0), candidate("b", (5,), 2.0)], by="brier")
    assert ranked[1].to_best.n == 300 and ranked[1].seeds == 1 and ranked[0].seeds == 2


def test_scores_are_means_over_seeds_and_accuracy_is_a_share_that_is_right():
    (ranked,) = rank_candidates([candidate("a", (0, 1))])
    values = [example_scores(drawn(seed=s), Y) for s in (0, 1)]
    for name in PROPER:
        want = np.mean([float(v[name].mean()) for v, _ in values])
        assert ranked.scores[name] == pytest.approx(1 - want if name == "accuracy" else want)
    right = np.mean([float((drawn(seed=s).argmax(1) == Y).double().mean()) for s in (0, 1)])
    assert ranked.scores["accuracy"] == pytest.approx(right) and 0 < ranked.scores["ece"] < 1
    assert ranked.temperature == pytest.approx(np.exp(np.mean([np.log(t) for _, t in values])))


def test_calibrated_scores_do_not_see_a_candidates_scale():
    z, y = drawn(4000, noise=2.0), torch.arange(4000) % 4
    ranked = rank_candidates([Candidate("plain", (z,), y), Candidate("scaled", (5 * z,), y)])
    scores = {r.name: r.scores for r in ranked}
    temperature = {r.name: r.temperature for r in ranked}
    assert temperature["scaled"] == pytest.approx(5 * temperature["plain"], rel=0.03)
    for name in ("calibrated_brier", "calibrated_nll"):
        assert scores["scaled"][name] == pytest.approx(scores["plain"][name], rel=0.003)
    assert scores["scaled"]["brier"] > scores["plain"]["brier"] + 0.02


@pytest.mark.parametrize(
    ("candidates", "text"),
    [
        ([], "a ranking: needs at least one candidate, got none"),
        ([candidate("a"), candidate("a", (1,))], "candidates: must have different names, got 'a', 'a'"),
        ([candidate("a"), Candidate("b", (drawn(),), Y.flip(0))], "candidate 'b': must be scored on the same examples"),
        ([candidate("a"), Candidate("b", (drawn(200),), Y[:200])], "got 200 examples against 300"),
    ],
)
def test_mistakes(candidates, text):
    with pytest.raises(ConfigError, match=text):
        rank_candidates(candidates)


def test_unknown_predictor():
    with pytest.raises(ConfigError, match="quantity: must be a known name, got 'breir'; did you mean 'brier'"):
        rank_candidates([candidate("a")], by="breir")


def test_predictors_need_logits_and_labels_alone_and_have_a_direction():
    assert PREDICTORS[:5] == PROPER and PREDICTORS[0] == DEFAULT
    assert {"ece", "adaptive_ece", "resolution", "cmi"} <= set(PREDICTORS)
    assert not {"entropy", "uncertainty", "view_variance", "truth_mse"} & set(PREDICTORS)
    (ranked,) = rank_candidates([candidate("a")])
    assert set(PREDICTORS) <= set(ranked.scores)


def full(name, seeds=(0,), noise=1.0, **changes):
    """A candidate with all evidence; more noise makes everything but its calibration worse."""
    tables = tuple(drawn(seed=s, noise=noise) for s in seeds)
    evidence = {
        "views": tuple(torch.stack([z + 0.3 * noise * drawn(seed=50 + v) for v in range(3)])[:, :40] for z in tables),
        "lipschitz": tuple(
            {k: noise * torch.linspace(1, 2, 30) + s for k in ("random", "pgd", "jacobian")} for s in seeds
        ),
        "out_of_fold": tuple((drawn(seed=20 + s, noise=noise), Y) for s in seeds),
        "in_sample": tuple((drawn(seed=30 + s, noise=noise), VOTES) for s in seeds),
        "taught": tuple((drawn(seed=40 + s, noise=noise), VOTES / VOTES.sum(1, keepdim=True)) for s in seeds),
        "truth": VOTES / VOTES.sum(1, keepdim=True),
        "votes": VOTES,
        "unmapped": tuple(2 * z for z in tables),
    }
    return Candidate(name, tables, Y, seeds, Evidence(**(evidence | changes)))


VOTES = 1 + 4 * torch.nn.functional.one_hot(Y, 4)
RANKABLE = [name for name, sign in DIRECTION.items() if sign]


@pytest.mark.parametrize("by", RANKABLE)
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_every_quantity_with_a_direction_ranks_its_way(by, seeds):
    candidates = [full("a", seeds, 2.5), full("b", seeds, 1.0), full("c", seeds, 0.6)]
    ranked = rank_candidates(candidates, by=by)
    values = [DIRECTION[by] * r.scores[by] for r in ranked]
    assert values == sorted(values, reverse=True) and len(set(values)) > 1
    assert all(r.by == by and r.to_best.low <= r.to_best.mean <= r.to_best.high for r in ranked)
    assert ranked[0].to_best.mean == 0 <= ranked[1].to_best.mean <= ranked[2].to_best.mean
    assert all(r.estimate.mean == pytest.approx(r.scores[by]) for r in ranked)
    assert all(r.estimate.low <= r.estimate.mean <= r.estimate.high for r in ranked)
    over = {r.over for r in ranked}
    assert over == ({"seeds"} if len(seeds) > 1 else {"examples"} if per_example(by) else {"resamples"})


def per_example(by):
    return isinstance(QUANTITIES[by].of(full("x").known()[0]), torch.Tensor)


@pytest.mark.parametrize("by", RANKABLE)
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_identical_teachers_tie_by_every_quantity(by, seeds):
    ranked = rank_candidates([full("a", seeds), full("b", seeds)], by=by)
    assert [r.name for r in ranked] == ["a", "b"] and all(r.tied for r in ranked)
    assert ranked[1].to_best.low == ranked[1].to_best.mean == ranked[1].to_best.high == 0
    assert str(ranked[1].to_best.mean) == "0.0"


@pytest.mark.parametrize("by", ["ece", "reliability", "cmi"])
def test_one_number_for_all_examples_is_resampled_in_pairs(by):
    near = Candidate("near", (drawn() + 0.01 * drawn(seed=9),), Y)
    far = Candidate("far", (6 * drawn(noise=2.0),), Y)
    ranked = {r.name: r for r in rank_candidates([candidate("a"), near, far], by=by)}
    worst = ranked["far"] if by != "cmi" else ranked["a"]
    assert worst.over == "resamples" and not worst.tied and worst.to_best.n == 300
    # Teachers that are almost the same are told apart far better than the quantity itself is known.
    close = [r for r in ranked.values() if r.name in ("a", "near")]
    if by != "cmi":
        behind = max(close, key=lambda r: r.to_best.mean)
        assert behind.to_best.half < 0.3 * behind.estimate.half
    again = {r.name: r for r in rank_candidates([candidate("a"), near, far], by=by)}
    assert again == ranked


def test_a_resampled_interval_agrees_with_the_formula_where_there_is_one():
    # In one bin, the calibration error of teachers that are too sure is the mean of confidence less right.
    z = drawn(noise=3.0)
    candidates = [Candidate(n, (k * z,), Y) for n, k in (("a", 20.0), ("b", 30.0))]
    ranked = rank_candidates(candidates, by="overconfidence")
    value = (20 * z).softmax(1).max(1).values - (z.argmax(1) == Y).float()
    want = float(value.std()) / 300**0.5 * 1.96
    assert ranked[0].name == "a" and ranked[0].estimate.half == pytest.approx(want, rel=0.2)


def test_seeds_whose_differences_are_all_alike_say_nothing_of_their_scatter():
    one = 9 * torch.nn.functional.one_hot(Y, 4).float()
    other = one.clone()
    other[7] = one[8]  # one more mistake, with every seed
    ranked = rank_candidates([Candidate("a", (one, one), Y), Candidate("b", (other, other), Y)], by="accuracy")
    assert ranked[1].to_best.mean == pytest.approx(1 / 300) and ranked[1].over == "examples" and ranked[1].tied


def test_what_cannot_be_paired_has_no_interval_and_says_so():
    shorter = full("b", out_of_fold=((drawn(200, seed=3, noise=2.0, labels=Y[:200]), Y[:200]),))
    ranked = rank_candidates([full("a"), shorter], by="out_of_fold_brier")
    last = ranked[1]
    assert last.over == "nothing" and np.isnan(last.to_best.low) and last.to_best.mean > 0 and last.tied
    assert ranked[0].over == "examples"
    flipped = full("c", out_of_fold=((drawn(), Y.flip(0)),))
    assert rank_candidates([full("a"), flipped], by="out_of_fold_nll")[1].over == "nothing"
    fewer = full("d", views=(full("x").evidence.views[0][:, :20],), lipschitz=({"pgd": torch.ones(9)},))
    for by in ("view_variance", "lipschitz_pgd"):
        assert rank_candidates([full("a"), fewer], by=by)[1].over == "nothing"


def test_accuracy_is_shown_as_a_share_that_is_right_and_differences_as_how_much_worse():
    ranked = rank_candidates([candidate("a", (0,), 3.0), candidate("b", (0,), 0.5)], by="accuracy")
    assert ranked[0].name == "b" and ranked[0].estimate.mean == ranked[0].scores["accuracy"]
    gap = ranked[0].scores["accuracy"] - ranked[1].scores["accuracy"]
    assert ranked[1].to_best.mean == pytest.approx(gap) and gap > 0


@pytest.mark.parametrize(
    ("candidates", "by", "text"),
    [
        (
            [full("a"), candidate("b")],
            "lipschitz_pgd",
            "quantity 'lipschitz_pgd': must be known of every candidate; it needs",
        ),
        ([full("a"), candidate("b")], "lipschitz_pgd", "got nothing for 'b'; rank by another, or leave these out"),
        (
            [full("a", (0, 1), views=(None, torch.randn(2, 9, 4)))],
            "view_variance",
            "it needs views, got nothing for 'a'",
        ),
        ([candidate("a")], "entropy", "quantity 'entropy': must have a direction to rank by"),
        ([full("a", (0, 1), views=(torch.randn(2, 9, 4),))], "brier", "candidate 'a': must have views for each seed"),
        ([Candidate("a", (), Y)], "brier", "candidate 'a': must have one table of logits per seed, got 0 tables"),
        (
            [Candidate("a", (drawn(), drawn()), Y, (1, 1))],
            "brier",
            "must have one table of logits per seed, got 2 tables",
        ),
    ],
)
def test_a_quantity_that_cannot_decide_is_refused(candidates, by, text):
    with pytest.raises(ConfigError, match=text):
        rank_candidates(candidates, by=by)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_a_collapsed_network_is_ranked_last_and_has_no_ratio_to_a_separation_of_zero(seeds):
    collapsed = Candidate(
        "collapsed", (torch.tensor([[0.0, -2000.0, -2000.0, -2000.0]]).repeat(len(Y), 1),) * len(seeds), Y, seeds
    )
    ranked = rank_candidates([collapsed, full("good", seeds)])
    assert [r.name for r in ranked] == ["good", "collapsed"] and "ncmi" not in ranked[1].scores
    assert all(math.isfinite(value) for value in ranked[1].scores.values())
    with pytest.raises(
        ConfigError, match=r"quantity 'ncmi': must be known of every candidate; .* got nothing for 'collapsed'"
    ):
        rank_candidates([collapsed, full("good", seeds)], by="ncmi")
