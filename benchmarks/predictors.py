"""Which score of a teacher, known before any student, predicts its students? Rank correlations and regret.

    python benchmarks/predictors.py --out evidence/predictors.json [--problem gaussian3 gaussian10 digits]

Teachers: 4 objectives x 3 widths x 6 stopping times, chosen on nothing. Students: one small network at T = 1 and at T = 4.
For each score: Spearman's correlation with the students' test accuracy (mean over seeds), and the regret: accuracy lost by
following the score's pick instead of the best teacher in hindsight.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

from goodteacher.api import run_study
from goodteacher.diagnose.ranking import PREDICTORS
from goodteacher.study.machine import environment
from goodteacher.study.spec import parse_study
from goodteacher.study.stats import spearman

OBJECTIVES = ("cross_entropy", "brier", "label_smoothing", "confidence_penalty")
WIDTHS = (16, 64, 256)
PROBLEMS = {
    "gaussian3": ({"name": "gaussian", "classes": 3, "train": 1000, "validation": 1000, "test": 10000}, 0.02),
    "gaussian10": ({"name": "gaussian", "classes": 10, "train": 2000, "validation": 1000, "test": 10000}, 0.02),
    "digits": ({"name": "digits", "noise": 0.3}, 0.1),
}
EPOCHS = 24
STOPS = (2, 4, 8, 12, 18, 24)


def study(name: str, seeds: int) -> dict:
    """Return the study of one problem."""
    problem, lr = PROBLEMS[name]
    teachers = {
        f"{objective}-{width}-{stop}": {
            "model": {"mlp": {"widths": [width, width]}},
            "objective": objective,
            "keep": f"epoch={stop}",
        }
        for objective in OBJECTIVES
        for width in WIDTHS
        for stop in STOPS
    }
    small = {"mlp": {"widths": [16]}}
    students = {f"T{t}": {"model": small, "method": {"kd": {"temperature": float(t)}}} for t in (1, 4)}
    # A constant rate, so that a stopped teacher is one of a shorter training and not one cut at a high rate of a schedule.
    recipe = {"epochs": EPOCHS, "batch_size": 64, "lr": lr, "schedule": "constant", "evaluate_every": EPOCHS}
    return {
        "name": f"predictors-{name}",
        "problem": problem,
        "recipe": recipe,
        "teachers": teachers,
        "students": students,
        "seeds": seeds,
    }


def judge(results) -> dict:
    """Return correlation, interval, n and regret of every predictor, for each student."""
    found: dict = {}
    for student, points in results.points.groupby("student"):
        accuracy = points["student_accuracy"].to_numpy()
        found[student] = {"best": float(accuracy.max()), "mean": float(accuracy.mean()), "n": len(points)}
        for name in PREDICTORS:
            score = points[name].to_numpy() * (1 if name == "accuracy" else -1)
            e = spearman(score.tolist(), accuracy.tolist())
            regret = float(accuracy.max() - accuracy[int(np.argmax(score))])
            found[student][name] = {
                "spearman": round(e.mean, 3),
                "low": round(e.low, 3),
                "high": round(e.high, 3),
                "regret": round(regret, 5),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--store", type=Path, default=Path("goodteacher-runs"))
    parser.add_argument("--problem", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(args.out.read_text()) if args.out.exists() else {}
    for name in args.problem:
        spec = parse_study(study(name, args.seeds))
        finished = run_study(
            spec, out=args.store, engine="processes", workers=os.cpu_count() or 1, page=False, quiet=True
        )
        record[name] = {"seeds": args.seeds, "failed": len(finished.summary.failed), **judge(finished.results)}
        record["environment"] = environment()
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record, indent=1) + "\n")
        for student in ("T1", "T4"):
            row = record[name][student]
            print(
                f"{name} {student}: best {row['best']:.4f}, mean {row['mean']:.4f}, n = {row['n']} teachers, {args.seeds} seeds"
            )
            for p in PREDICTORS:
                e = row[p]
                interval = f"[{e['low']:+.2f}, {e['high']:+.2f}]"
                print(f"  {p:18} rho {e['spearman']:+.2f} {interval}  regret {100 * e['regret']:.2f} points")


if __name__ == "__main__":
    main()
