"""How the default scale and warm-up of the objective `brier` were chosen.

    python benchmarks/brier_default.py --out evidence/brier_default.json [--npz cifar100.npz]

Trains the same network on the same batches with cross-entropy and with Brier scores at several scales and warm-ups, on
problems of 2, 10, 100 and 1000 classes, and writes validation accuracy and validation Brier of each. CIFAR-100 joins where
an .npz of it is given. Validation only: the test split is not read.
"""

import argparse
import json
from pathlib import Path

import torch

from goodteacher.base.events import Event
from goodteacher.base.seeds import seeded
from goodteacher.base.types import Setting
from goodteacher.data.arrays import npz_problem
from goodteacher.data.digits import digits_problem
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.models.table import build_model
from goodteacher.objectives.table import build_objective
from goodteacher.study.machine import environment
from goodteacher.train.learner import Learner
from goodteacher.train.loop import fit
from goodteacher.train.precision import choose_precision
from goodteacher.train.recipe import Recipe

GRID: list[tuple[float | str, float]] = [
    ("auto", 0.6),
    ("auto", 0.9),
    (2, 0.9),
    ("auto", 0),
    ("auto", 0.3),
    (1, 0),
    ("C/2", 0),
    (1, 0.3),
    (2, 0.3),
    (5, 0.3),
    (10, 0.3),
    (2, 0.6),
    (5, 0.1),
]


def arms(classes: int, few: int | None = None) -> dict[str, object]:
    """Return the objectives compared."""
    specs: dict[str, object] = {"cross_entropy": "cross_entropy"}
    for scale, warmup in GRID[:few]:
        value = classes / 2 if scale == "C/2" else scale
        specs[f"scale {scale}, warm-up {warmup:g}"] = {"brier": {"scale": value, "warmup": warmup}}
    return specs


def run(
    problem: Problem, model: str, recipe: Recipe, seed: int, few: int | None, **options: object
) -> dict[str, dict[str, float]]:
    """Train every arm as one cohort and return its validation scores."""
    loader = Loader(problem, batch_size=recipe.batch_size, seed=seed)
    learners = []
    precision = None
    for name, spec in arms(problem.classes, few).items():
        with seeded(seed, "init"):
            network = build_model(model, classes=problem.classes, input_shape=problem.input_shape, **options)
        precision = precision or choose_precision(network, loader.batch(0).inputs)[0]
        objective = build_objective(spec, Setting(problem.classes))
        learners.append(Learner(name, network, objective, recipe, seed=seed, precision=precision))
    scores: dict[str, dict[str, float]] = {}

    def tell(event: Event) -> None:
        if event.kind == "epoch":
            scores[event.name] = event.record["validation"]
        elif event.kind == "failed":
            scores[event.name] = {"failed": event.text}

    fit(learners, loader, problem, epochs=recipe.epochs, tell=tell)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--npz", type=Path, help="an .npz of CIFAR-100 (x_train, y_train, ...)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6, help="on CIFAR-100")
    parser.add_argument("--few", type=int, help="only the first so many settings of the grid, beside cross-entropy")
    parser.add_argument("--case", action="append", help="run these cases only; results join what --out holds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    mlp = Recipe(epochs=20, batch_size=64, lr=0.1)
    low = Recipe(epochs=20, batch_size=64, lr=0.02)
    cases = {
        "gaussian, 2 classes": (lambda s: gaussian_problem(classes=2, test=100, seed=s), "mlp", low, {}),
        "gaussian, 10 classes": (lambda s: gaussian_problem(classes=10, test=100, seed=s), "mlp", low, {}),
        "digits, 10 classes": (lambda s: digits_problem(seed=s), "mlp", mlp, {}),
        "gaussian, 100 classes": (
            lambda s: gaussian_problem(classes=100, dimension=60, train=20000, test=100, seed=s),
            "mlp",
            mlp,
            {"widths": (256,)},
        ),
        "gaussian, 1000 classes": (
            lambda s: gaussian_problem(classes=1000, dimension=100, train=40000, test=100, seed=s),
            "mlp",
            mlp,
            {"widths": (256,)},
        ),
    }
    if args.npz:
        cifar = Recipe(epochs=args.epochs, batch_size=128, lr=0.1)
        cases["cifar100, recovered labels"] = (
            lambda s: npz_problem(args.npz, seed=s, confidence=0.9),
            "resnet8",
            cifar,
            {},
        )
    record = json.loads(args.out.read_text()) if args.out.exists() else {"results": {}}
    results = record["results"]
    record["environment"] = environment()
    for name, (make, model, recipe, options) in cases.items():
        if args.case and name.split(",")[0] not in args.case and name not in args.case:
            continue
        seeds = 1 if "cifar" in name else args.seeds
        results[name] = [run(make(seed), model, recipe, seed, args.few, **options) for seed in range(seeds)]
        print(name)
        for arm in results[name][0]:
            rows = [r[arm] for r in results[name]]
            print(
                f"  {arm:24}",
                "  ".join(f"acc {r.get('accuracy', 0):.3f} brier {r.get('brier', 9):.3f}" for r in rows),
                flush=True,
            )
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
