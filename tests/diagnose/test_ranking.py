import numpy as np
import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.probability import log_probabilities
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.labels import symmetric_noise
from goodteacher.diagnose.distance import distance_to_truth
from goodteacher.diagnose.ranking import PREDICTORS, Candidate, example_scores, rank_candidates
from goodteacher.study.stats import mean_interval

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


def pairs():
    names = list(predictors(PROBLEM.validation.truth))
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


@pytest.mark.parametrize(("one", "other"), pairs())
@pytest.mark.parametrize(("score", "distance"), [("brier", "mse"), ("nll", "kl")])
def test_paired_held_out_scores_measure_the_distance_to_the_truth(one, other, score, distance):
    part = PROBLEM.validation
    logits = [predictors(part.truth)[name] for name in (one, other)]
    scores = [example_scores(z, part.labels)[0][score] for z in logits]
    distances = [distance_to_truth(z, part.truth)[distance] for z in logits]
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


@pytest.mark.parametrize("by", PREDICTORS)
def test_the_best_comes_first_by_any_predictor(by):
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
    for name in PREDICTORS:
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
    with pytest.raises(ConfigError, match="predictor: must be a known name, got 'breir'; did you mean 'brier'"):
        rank_candidates([candidate("a")], by="breir")
