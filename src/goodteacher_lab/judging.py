"""Which score of a teacher, known before any student, predicts its students: rank correlation and regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from goodteacher.base.errors import ConfigError
from goodteacher.base.stats import Estimate, mean_interval, rank_correlation, resamples, spearman, stacked
from goodteacher.diagnose.results import Results
from goodteacher.diagnose.scorecard import DIRECTION


@dataclass(frozen=True)
class Judged:
    """How well a quantity predicted the students of one kind.

    Attributes:
        problem: name.
        student: arm.
        quantity: of the scorecard, or a combination of several.
        correlation: Spearman's, over teacher arms; positive means it predicts.
        regret: student accuracy lost by following its pick instead of the best teacher in hindsight, over seeds.
        pick: the teacher arm with the best value.
        teachers: arms that have the quantity.
    """

    problem: str
    student: str
    quantity: str
    correlation: Estimate
    regret: Estimate
    pick: str
    teachers: int


@dataclass(frozen=True)
class Cases:
    """Teachers with what was known of them, and what their students reached.

    Attributes:
        problem: name.
        student: arm.
        scores: one row per teacher arm, one column per quantity; higher is better in every column, NaN where it is not known.
        accuracy: ``(teachers, seeds)`` test accuracy of the students.
        trainings: what each teacher comes from; empty if each has a training of its own.
    """

    problem: str
    student: str
    scores: pd.DataFrame
    accuracy: np.ndarray
    trainings: tuple[str, ...] = ()


def cases_of(problem: str, results: Results) -> list[Cases]:
    """Return the cases of a finished study, one per student arm.

    Args:
        problem: its name for people.
        results: of the study.

    Returns:
        Cases with those teacher arms whose students all finished, at the seeds they share.
    """
    ranked = {r.name: r.scores for r in results.ranked}
    found = []
    for student in dict.fromkeys(row.student for row in results.students if row.teacher is not None):
        rows = {t: v for (s, t), v in results.student_values.items() if s == student and t in ranked}
        seeds = sorted(set.intersection(*(set(v) for v in rows.values())))
        arms = [arm for arm in ranked if arm in rows]
        values = {arm: {q: DIRECTION[q] * v for q, v in ranked[arm].items() if DIRECTION.get(q)} for arm in arms}
        accuracy = np.array([[rows[arm][s]["accuracy"] for s in seeds] for arm in arms])
        trainings = tuple(results.training_of(arm) for arm in arms)
        found.append(Cases(problem, student, pd.DataFrame.from_dict(values, orient="index"), accuracy, trainings))
    return found


def judge(cases: Cases, values: Mapping[str, float] | pd.Series, quantity: str) -> Judged:
    """Judge one quantity on one kind of student.

    Args:
        cases: teachers and their students.
        values: teacher arm to value, higher is better; arms without one are left out of both correlation and regret.
        quantity: its name.

    Returns:
        Correlation over arms, with a bootstrap interval over the trainings they come from; regret over seeds, with a t interval.

    Raises:
        ConfigError: if fewer than three arms have the quantity.
    """
    series = pd.Series(values).reindex(cases.scores.index)
    known = series.notna().to_numpy()
    if known.sum() < 3:
        raise ConfigError(
            f"quantity '{quantity}'", rule="needs at least 3 teachers that have it", received=int(known.sum())
        )
    own, accuracy = series[known], cases.accuracy[known]
    level = accuracy.mean(axis=1).round(12)  # what is tied on paper stays tied
    groups = np.array(cases.trainings or cases.scores.index)[known].tolist()
    correlation = spearman(own.round(12).tolist(), level.tolist(), groups=groups)
    # Arms that tie for the best value are followed in equal parts: an order of names is no prediction.
    best = np.flatnonzero(own.to_numpy() == own.max())
    lost = accuracy[int(level.argmax())] - accuracy[best].mean(axis=0)
    return Judged(
        cases.problem,
        cases.student,
        quantity,
        correlation,
        mean_interval(lost.tolist()),
        str(own.index[best[0]]),
        int(known.sum()),
    )


def correlation_difference(
    a: np.ndarray, b: np.ndarray, y: np.ndarray, *, groups: Sequence[str] | None = None
) -> Estimate:
    """Return the rank correlation of b with y less that of a, with a bootstrap interval over entries, or groups of them.

    Returns:
        The difference, resampled together; without an interval for fewer than 4 groups, NaN for fewer than 4 entries or a
        constant side.
    """
    nan = float("nan")
    if len(y) < 4 or min(np.ptp(a), np.ptp(b), np.ptp(y)) == 0:
        return Estimate(nan, nan, nan, len(y))

    def gain(rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = rank_correlation(b[rows], y[rows]) - rank_correlation(a[rows], y[rows])
        return found

    drawn = [gain(rows) for rows in stacked(resamples(len(y), groups))]
    low, high = np.nanquantile(np.concatenate(drawn), [0.025, 0.975]) if drawn else (nan, nan)
    return Estimate(float(gain(np.arange(len(y)))), float(low), float(high), len(y))


def judge_all(cases: Cases) -> list[Judged]:
    """Judge every quantity that all teachers of the cases have, best correlation first."""
    names = [str(q) for q in cases.scores.columns if cases.scores[q].notna().all()]
    judged = [judge(cases, cases.scores[q], q) for q in names]
    return sorted(judged, key=lambda j: -np.nan_to_num(j.correlation.mean, nan=-2.0))


def policy_regret(cases: Cases, arms: Sequence[str]) -> Estimate:
    """Return the accuracy lost, over seeds, by always taking a given arm (or any of several, on average)."""
    rows = [list(cases.scores.index).index(arm) for arm in arms]
    best = cases.accuracy[int(cases.accuracy.mean(axis=1).round(12).argmax())]
    return mean_interval((best - cases.accuracy[rows].mean(axis=0)).tolist())


def hindsight_regret(cases: Cases) -> Estimate:
    """Return the accuracy that hindsight itself loses: the arm that was best on the other seeds, on the seed left out.

    The best of many arms is partly the luckiest; a regret against it below this is not to be had.
    """
    seeds = cases.accuracy.shape[1]
    best = cases.accuracy[int(cases.accuracy.mean(axis=1).round(12).argmax())]
    if seeds < 2:
        return mean_interval([float("nan")])
    lost = []
    for s in range(seeds):
        others = np.delete(cases.accuracy, s, axis=1).mean(axis=1)
        lost.append(best[s] - cases.accuracy[int(others.argmax()), s])
    return mean_interval(lost)


def combination(train: Sequence[Cases], test: Cases, quantities: Sequence[str]) -> Judged:
    """Judge a combination of quantities fitted on some problems on another.

    Ranks within each problem and kind of student, scaled to [-1, 1], go into a ridge regression: levels and units differ
    between problems, orders can be compared.

    Args:
        train: cases of other problems than the test's.
        test: cases it is judged on.
        quantities: that go in.

    Returns:
        As `judge`.

    Raises:
        ConfigError: if a problem is in both.
    """
    from sklearn.linear_model import RidgeCV

    if any(c.problem == test.problem for c in train) or not train:
        raise ConfigError(
            "a combination", rule="must be fitted on other problems than it is judged on", received=test.problem
        )

    def ranks(frame: pd.DataFrame) -> np.ndarray:
        scaled = frame[list(quantities)].rank() - (len(frame) + 1) / 2
        return scaled.to_numpy() / (len(frame) / 2)

    x = np.concatenate([ranks(c.scores) for c in train])
    means = [pd.DataFrame({"a": c.accuracy.mean(axis=1)}).rank()["a"].to_numpy() for c in train]
    y = np.concatenate([(m - m.mean()) / (len(m) / 2) for m in means])
    model = RidgeCV(alphas=np.logspace(-2, 3, 11)).fit(x, y)
    values = pd.Series(model.predict(ranks(test.scores)), index=test.scores.index)
    return judge(test, values, "combination of " + ", ".join(quantities))
