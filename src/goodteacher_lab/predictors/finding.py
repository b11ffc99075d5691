"""Does the pick work: many candidate teachers each teach the same students, and every score known beforehand is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from goodteacher.base.stats import Estimate, holm, paired_difference, t_test_p
from goodteacher.diagnose.ranking import PREDICTORS
from goodteacher.report.charts import channel, chart, free, points, spec
from goodteacher.report.conclusion import ALPHA
from goodteacher.report.tables import Grid, correlation, each, grid, number, percent
from goodteacher.study.spec import StudySpec
from goodteacher_lab import reading
from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.judging import (
    Cases,
    Judged,
    cases_of,
    combination,
    hindsight_regret,
    judge_all,
    policy_regret,
)
from goodteacher_lab.predictors.study import VECTORS, image_study, vector_study
from goodteacher_lab.sizes import size_of


def predictors(job: Job) -> Finding:
    """Run the study on every problem chosen, and judge every quantity on it."""
    chosen = job.choices.get("problem") or (*VECTORS, *(["images"] if job.images else []))
    if "images" in chosen and job.images is None:
        job.need_pictures()
    cases: list[Cases] = []
    for name in chosen:
        study = _pictures_study(job) if name == "images" else vector_study(name, size_of(job, "predictors, vectors"))
        job.say(f"{name}: {len(study.teachers)} teachers, {len(study.seed_list)} seeds")
        cases += cases_of(name, job.run(study, whole=False))
    return finding(cases)


def _pictures_study(job: Job) -> StudySpec:
    size = size_of(job, "predictors")
    return image_study(reading.problem_of(job, size.per_class)[0], size)


def finding(cases: Sequence[Cases]) -> Finding:
    """Return what the cases show."""
    judged = {(c.problem, c.student): judge_all(c) for c in cases}
    combined = _combined(cases)
    summary = _summary(cases, judged, combined)
    grids = [
        summary,
        _policies(cases, judged),
        _claim(cases),
        *(_detail(c, judged[c.problem, c.student]) for c in cases),
    ]
    best = _means(judged)
    first, *rest = best.index[:3]
    others = ", ".join(f"{name} {best['correlation'][name]:+.2f}" for name in rest)
    own = best.loc["calibrated_brier"]
    verdict = (
        f"Over {len(cases)} settings the highest mean rank correlation with student accuracy is that of {first} "
        f"({best['correlation'][first]:+.2f}, mean regret {100 * best['regret'][first]:.2f} points), then {others} (not "
        f"tested against each other); calibrated Brier has {own['correlation']:+.2f} and {100 * own['regret']:.2f} points."
    )
    data = {
        "judged": [_plain(j) for rows in judged.values() for j in rows],
        "combined": [_plain(j) for j in combined.values()],
        "teachers": {f"{c.problem} {c.student}": len(c.scores) for c in cases},
        "seeds": {f"{c.problem} {c.student}": int(c.accuracy.shape[1]) for c in cases},
    }
    claim = claim_of("predictors")
    return Finding(
        "predictors",
        claim.text,
        verdict,
        claim.departures,
        tuple(grids),
        {"points": _chart(cases)},
        data,
    )


def _plain(j: Judged) -> dict[str, Any]:
    row = asdict(j)
    for key in ("correlation", "regret"):
        row[key] = {k: (None if isinstance(v, float) and np.isnan(v) else v) for k, v in row[key].items()}
    return row


def _combined(cases: Sequence[Cases]) -> dict[tuple[str, str], Judged]:
    """Return the combination of held-out scores fitted on the other problems, judged on each."""
    found = {}
    for test in cases:
        train = [c for c in cases if c.problem != test.problem]
        if train:
            held_out = [q for q in PREDICTORS if all(q in c.scores and c.scores[q].notna().all() for c in cases)]
            found[test.problem, test.student] = combination(train, test, held_out)
    return found


def _means(judged: dict[tuple[str, str], list[Judged]]) -> pd.DataFrame:
    """Return each quantity's mean correlation and regret over settings in which all teachers have it, best first."""
    rows = [
        {"quantity": j.quantity, "correlation": j.correlation.mean, "regret": j.regret.mean}
        for found in judged.values()
        for j in found
    ]
    frame = pd.DataFrame(rows)
    everywhere = frame.groupby("quantity")["correlation"].transform("size") == len(judged)
    return frame[everywhere].groupby("quantity").mean().sort_values("correlation", ascending=False)


def _summary(
    cases: Sequence[Cases],
    judged: dict[tuple[str, str], list[Judged]],
    combined: dict[tuple[str, str], Judged],
) -> Grid:
    means = _means(judged)
    keys = [(c.problem, c.student) for c in cases]
    by = {key: {j.quantity: j for j in judged[key]} for key in keys}
    rows = []
    for quantity, mean in means.iterrows():
        cells = [correlation(by[key][str(quantity)].correlation) for key in keys]
        rows.append((str(quantity), f"{mean['correlation']:+.2f}", f"{100 * mean['regret']:.2f}", *cells))
    if combined:
        found = [combined[key] for key in keys]
        means_of = [float(np.mean([getattr(j, name).mean for j in found])) for name in ("correlation", "regret")]
        cells = [correlation(j.correlation) for j in found]
        rows.append(
            ("combination, fitted on the other problems", f"{means_of[0]:+.2f}", f"{100 * means_of[1]:.2f}", *cells)
        )
    return Grid(
        "What predicts students: rank correlation with their test accuracy",
        ("quantity", "mean", "mean regret, points", *(f"{p}, {s}" for p, s in keys)),
        tuple(rows),
        "Spearman's correlation over teacher arms, [95% bootstrap interval over trainings]; positive: it predicts. Regret: "
        "accuracy lost by following its pick instead of the best arm in hindsight. Quantities that all teachers have.",
    )


def _setting(cases: Cases) -> str:
    return f"{cases.problem}, {cases.student}"


def _policies(cases: Sequence[Cases], judged: dict[tuple[str, str], list[Judged]]) -> Grid:
    picks = {
        "calibrated Brier's pick": "calibrated_brier", "calibrated NLL's": "calibrated_nll", "Brier's": "brier",
        "NLL's": "nll", "most accurate": "accuracy",
    }  # fmt: skip

    def regret(c: Cases, quantity: str) -> Estimate:
        return next(j.regret for j in judged[c.problem, c.student] if j.quantity == quantity)

    def last_plain(c: Cases) -> list[str]:
        last = max(int(name.rsplit("-", 1)[1]) for name in c.scores.index if name.count("-") == 2)
        return [name for name in c.scores.index if name.startswith("cross_entropy-") and name.endswith(f"-{last}")]

    columns: dict[str, Callable[[Cases], str]] = {
        "setting": _setting,
        "teachers": lambda c: str(len(c.scores)),
        "seeds": lambda c: str(c.accuracy.shape[1]),
        "best %": lambda c: f"{100 * c.accuracy.mean(axis=1).max():.2f}",
        **each(picks, lambda c, q: percent(regret(c, q))),
        "cross-entropy, last epoch": lambda c: percent(policy_regret(c, last_plain(c))),
        "any teacher": lambda c: percent(policy_regret(c, list(c.scores.index))),
        "hindsight on other seeds": lambda c: percent(hindsight_regret(c)),
    }
    return grid(
        "Regret of picks: student accuracy lost against the best teacher in hindsight, in points",
        cases,
        columns,
        "± is half a 95% t interval over seeds. Cross-entropy's is the mean over its architectures; 'hindsight on other seeds' "
        "is what the best arm of the other seeds loses on the seed left out: luck that no predictor can know.",
    )


def _claim(cases: Sequence[Cases]) -> Grid:
    """Return where students of Brier teachers beat those of cross-entropy teachers of the same network and stopping time."""
    found = []
    for c in cases:
        names = [n for n in c.scores.index if n.startswith("brier-") and n.count("-") == 2]
        for stop in sorted({int(n.rsplit("-", 1)[1]) for n in names}):
            pairs = [(n, n.replace("brier-", "cross_entropy-")) for n in names if n.endswith(f"-{stop}")]
            at = c.scores.index.get_loc
            # Networks of one seed share data, batches and the student's first weights: seeds are what is counted.
            gains = np.mean([c.accuracy[at(a)] - c.accuracy[at(b)] for a, b in pairs], axis=0).tolist()
            found.append((_setting(c), str(stop), len(pairs), gains))
    corrected = holm([t_test_p(gains) for *_, gains in found])
    rows = []
    for (setting, epochs, networks, gains), p in zip(found, corrected, strict=True):
        e = paired_difference(gains, [0.0] * len(gains))
        held = "not shown" if not p < ALPHA else "held" if e.mean > 0 else "the contrary"
        rows.append((setting, epochs, str(networks), percent(e, signed=True), number(p), str(e.n), held))
    return Grid(
        "The theory's claim: students of Brier teachers against those of cross-entropy teachers",
        ("setting", "teacher's epochs", "networks", "difference, points", "p Holm", "n", "claim"),
        tuple(rows),
        "Same network, seed and stopping time, mean over networks; ± is half a 95% t interval over n seeds; Holm: corrected for "
        "all rows.",
    )


def _detail(cases: Cases, judged: Sequence[Judged]) -> Grid:
    columns: dict[str, Callable[[Judged], str]] = {
        "quantity": lambda j: j.quantity,
        "correlation": lambda j: correlation(j.correlation),
        "regret, points": lambda j: percent(j.regret),
        "its pick": lambda j: j.pick,
        "teachers": lambda j: str(j.teachers),
    }
    n = f"{len(cases.scores)} teachers, {cases.accuracy.shape[1]} seeds"
    return grid(f"{cases.problem}, student {cases.student}: every quantity ({n})", judged, columns)


def _chart(cases: Sequence[Cases]) -> str:
    rows = []
    for c in cases:
        for arm, score, accuracy in zip(
            c.scores.index, c.scores["calibrated_brier"], c.accuracy.mean(axis=1), strict=True
        ):
            kind = arm.split("-")[0] if arm.count("-") == 2 else "with a map"
            rows.append({"setting": _setting(c), "teacher": arm, "kind": kind, "score": -score, "accuracy": accuracy})
    x, y = free("score", "calibrated Brier of the teacher"), free("accuracy", "student accuracy")
    tooltip = ["teacher", "score", "accuracy"]
    dots = points(x, y, look={"opacity": 0.7}, color=channel("kind:N", "teacher"), tooltip=tooltip)
    facet = channel("setting:N")
    return spec(chart(rows, dots, size=(300, 220), facet=facet, columns=2, apart=["x", "y"]))
