"""Does the pick work: many candidate teachers each teach the same students, and every score known beforehand is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from goodteacher.base.stats import Estimate, holm, paired_difference, t_test_p
from goodteacher.diagnose.ranking import PREDICTORS
from goodteacher.report.charts import channel, chart, free, points, spec
from goodteacher.report.conclusion import ALPHA
from goodteacher.report.tables import Grid, number, percent
from goodteacher.study.spec import StudySpec, parse_study
from goodteacher_lab import reading
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

OBJECTIVES = ("cross_entropy", "brier", "label_smoothing", "confidence_penalty", "soteacher", "tolerant")
# Regularisation on top of cross-entropy, as overrides of the recipe.
REGULARISED: dict[str, dict[str, Any]] = {
    "decay": {"weight_decay": 5e-3},
    "mixup": {"mixup": 0.2},
    "ema": {"ema": 0.99},
}
MAPS: dict[str, Any] = {
    "fitted": "temperature",
    "sharp": {"temperature": {"value": 0.5}},
    "flat": {"temperature": {"value": 3.0}},
    "proxy": {"pt_proxy": {"order": 3}},
    "top2": {"top_k": {"k": 2}},
}
TEMPERATURES = (1.0, 4.0)
VECTORS: dict[str, tuple[dict[str, Any], float]] = {
    "gaussian3": ({"name": "gaussian", "classes": 3, "train": 1000, "validation": 1000, "test": 10000}, 0.02),
    "gaussian10": ({"name": "gaussian", "classes": 10, "train": 2000, "validation": 1000, "test": 10000}, 0.02),
    "digits": ({"name": "digits", "noise": 0.3}, 0.1),
}
SEEDS = {"minutes": 3, "hours": 5, "paper": 10}
IMAGE_EPOCHS = {"minutes": 6, "hours": 30, "paper": 60}
IMAGE_SEEDS = {"minutes": 2, "hours": 3, "paper": 5}
IMAGE_MAPS = ("fitted", "flat", "proxy")
PER_CLASS = {"minutes": 150, "hours": 1000, "paper": 4500}


def vector_study(name: str, seeds: int, epochs: int = 16) -> StudySpec:
    """Return the study on Gaussians or digits: networks of three widths, stopped at four times.

    The rate is constant, so that a stopped teacher is one of a shorter training and not one cut at a high rate.
    """
    problem, lr = VECTORS[name]
    models = {str(width): {"mlp": {"widths": [width, width]}} for width in (16, 64, 256)}
    recipe = {"epochs": epochs, "batch_size": 64, "lr": lr, "schedule": "constant", "evaluate_every": epochs}
    return _study(name, problem, models, {"mlp": {"widths": [16]}}, OBJECTIVES, recipe, seeds)


def image_study(job: Job) -> StudySpec:
    """Return the study on pictures: two ResNets, three stopping times, and maps around the smaller one."""
    epochs = job.epochs or IMAGE_EPOCHS[job.budget]
    recipe = {"epochs": epochs, "batch_size": 64, "lr": 0.05, "schedule": "constant", "evaluate_every": epochs}
    problem, _ = reading.problem_of(job, PER_CLASS[job.budget])
    models: dict[str, Any] = {name: {name: {}} for name in ("resnet8", "resnet14")}
    seeds = job.seeds or IMAGE_SEEDS[job.budget]
    return _study(
        "images",
        problem,
        models,
        "resnet8",
        OBJECTIVES[:4],
        recipe,
        seeds,
        stops=3,
        maps=IMAGE_MAPS,
        mapped=("resnet8",),
    )


def _study(
    name: str,
    problem: dict[str, Any],
    models: dict[str, Any],
    student: Any,
    objectives: Sequence[str],
    recipe: dict[str, Any],
    seeds: int,
    stops: int = 4,
    maps: Sequence[str] | None = None,
    mapped: Sequence[str] = ("16", "256"),
) -> StudySpec:
    epochs = int(recipe["epochs"])
    times = sorted({max(1, round(epochs * share)) for share in np.geomspace(1 / 8, 1, stops)})
    teachers: dict[str, Any] = {}
    for size, model in models.items():
        for stop in times:
            keep = f"epoch={stop}"
            for objective in objectives:
                teachers[f"{objective}-{size}-{stop}"] = {"model": model, "objective": objective, "keep": keep}
            for change, overrides in REGULARISED.items():
                teachers[f"{change}-{size}-{stop}"] = {"model": model, "keep": keep, "recipe": overrides}
    for size in mapped:
        for stop in (times[len(times) // 2 - 1], times[-1]):
            for objective in ("cross_entropy", "brier"):
                for short in MAPS if maps is None else maps:
                    arm = teachers[f"{objective}-{size}-{stop}"]
                    teachers[f"{objective}-{size}-{stop}-{short}"] = {**arm, "map": MAPS[short]}
    students = {f"T{t:g}": {"model": student, "method": {"kd": {"temperature": t}}} for t in TEMPERATURES}
    return parse_study({
        "name": f"predictors-{name}", "problem": problem, "recipe": recipe, "teachers": teachers, "students": students,
        "seeds": seeds,
    })  # fmt: skip


def predictors(job: Job) -> Finding:
    """Run the study on every problem chosen, and judge every quantity on it."""
    chosen = job.choices.get("problem") or (*VECTORS, *(["images"] if job.images else []))
    if "images" in chosen and job.images is None:
        job.need_pictures()
    cases: list[Cases] = []
    for name in chosen:
        seeds = job.seeds or SEEDS[job.budget]
        study = image_study(job) if name == "images" else vector_study(name, seeds, job.epochs or 16)
        job.say(f"{name}: {len(study.teachers)} teachers, {len(study.seed_list)} seeds")
        cases += cases_of(name, job.run(study, whole=False))
    return finding(cases)


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
    return Finding(
        "predictors",
        "A teacher's scores on held-out examples, known before any student is trained, tell which teacher's students will be "
        "most accurate.",
        verdict,
        (
            "No paper has this study: teachers are objectives x regularisation x stopping x architectures x target maps.",
            "Stopping times are of one training at a constant rate.",
            "Test accuracy of students is averaged over seeds; teachers and students are paired by seed.",
        ),
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


def _correlation(e: Estimate) -> str:
    return f"{e.mean:+.2f} [{e.low:+.2f}, {e.high:+.2f}]"


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
        cells = [_correlation(by[key][str(quantity)].correlation) for key in keys]
        rows.append((str(quantity), f"{mean['correlation']:+.2f}", f"{100 * mean['regret']:.2f}", *cells))
    if combined:
        found = [combined[key] for key in keys]
        means_of = [float(np.mean([getattr(j, name).mean for j in found])) for name in ("correlation", "regret")]
        cells = [_correlation(j.correlation) for j in found]
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


def _policies(cases: Sequence[Cases], judged: dict[tuple[str, str], list[Judged]]) -> Grid:
    rows = []
    for c in cases:
        last = max(int(name.rsplit("-", 1)[1]) for name in c.scores.index if name.count("-") == 2)
        plain = [name for name in c.scores.index if name.startswith("cross_entropy-") and name.endswith(f"-{last}")]
        by = {j.quantity: j for j in judged[c.problem, c.student]}
        names = ("calibrated_brier", "calibrated_nll", "brier", "nll", "accuracy")
        cells = [percent(by[name].regret) for name in names]
        mean = policy_regret(c, list(c.scores.index))
        setting = (f"{c.problem}, {c.student}", str(len(c.scores)), str(c.accuracy.shape[1]))
        others = (policy_regret(c, plain), mean, hindsight_regret(c))
        top = f"{100 * c.accuracy.mean(axis=1).max():.2f}"
        rows.append((*setting, top, *cells, *(percent(e) for e in others)))
    return Grid(
        "Regret of picks: student accuracy lost against the best teacher in hindsight, in points",
        (
            "setting",
            "teachers",
            "seeds",
            "best %",
            "calibrated Brier's pick",
            "calibrated NLL's",
            "Brier's",
            "NLL's",
            "most accurate",
            "cross-entropy, last epoch",
            "any teacher",
            "hindsight on other seeds",
        ),
        tuple(rows),
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
            found.append((f"{c.problem}, {c.student}", str(stop), len(pairs), gains))
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
    rows = [(j.quantity, _correlation(j.correlation), percent(j.regret), j.pick, str(j.teachers)) for j in judged]
    n = f"{len(cases.scores)} teachers, {cases.accuracy.shape[1]} seeds"
    return Grid(
        f"{cases.problem}, student {cases.student}: every quantity ({n})",
        ("quantity", "correlation", "regret, points", "its pick", "teachers"),
        tuple(rows),
    )


def _chart(cases: Sequence[Cases]) -> str:
    rows = []
    for c in cases:
        for arm, score, accuracy in zip(
            c.scores.index, c.scores["calibrated_brier"], c.accuracy.mean(axis=1), strict=True
        ):
            kind = arm.split("-")[0] if arm.count("-") == 2 else "with a map"
            setting = f"{c.problem}, {c.student}"
            rows.append({"setting": setting, "teacher": arm, "kind": kind, "score": -score, "accuracy": accuracy})
    x, y = free("score", "calibrated Brier of the teacher"), free("accuracy", "student accuracy")
    tooltip = ["teacher", "score", "accuracy"]
    dots = points(x, y, look={"opacity": 0.7}, color=channel("kind:N", "teacher"), tooltip=tooltip)
    facet = channel("setting:N")
    return spec(chart(rows, dots, size=(300, 220), facet=facet, columns=2, apart=["x", "y"]))
