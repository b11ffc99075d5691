"""What an epoch of each objective and training procedure costs, as a ratio to cross-entropy in the same process run.

    python benchmarks/objective_cost.py --out evidence/objective_cost.json [--model resnet8]

Steps of all candidates are interleaved, so that a busy machine slows all of them alike; the ratio is of median step times.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from goodteacher.base.compose import build_parts, join, parse
from goodteacher.base.seeds import seeded
from goodteacher.base.types import Progress
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.objectives.table import OBJECTIVES
from goodteacher.study.build import build_network, measure, setting_of, student_in
from goodteacher.study.machine import environment
from goodteacher.train.learner import Learner
from goodteacher.train.recipe import Recipe

BATCH = 64
TERMS = {"lipschitz", "consistency"}  # meaningless alone: timed beside cross-entropy
PROCEDURES = {
    "ema": {"ema": 0.999},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "filter_table": {"filter_table": 0.05},
}


def pictures(classes: int = 10, n: int = 512) -> Problem:
    """Return pictures of noise: only the time of a step is looked at."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, size=(n, 32, 32, 3), dtype=np.uint8)
    y = np.arange(n) % classes
    return Problem.from_arrays(x, y, x[:100], y[:100], validation=0.2)


def learner_of(objective: str, recipe: Recipe, model: str, problem: Problem) -> tuple[Learner, Loader]:
    """Return a fresh network with an objective, ready to step."""
    loader = Loader(problem, batch_size=BATCH, seed=0, mixup=recipe.mixup, cutmix=recipe.cutmix)
    with seeded(0, "init"):
        network = build_network({model: {}}, problem.classes, problem.input_shape)
    spec = f"cross_entropy + {objective}" if objective in TERMS else objective
    parts = parse({"sftn": {"student": model}} if objective == "sftn" else spec, OBJECTIVES, "objective")
    shape, classes = problem.input_shape, problem.classes
    setting = setting_of(
        measure(network, shape), None, classes=classes, examples=len(problem.train), labels=problem.train.labels,
        student=student_in(parts, lambda student: measure(build_network(student, classes, shape), shape)),
    )  # fmt: skip
    losses = build_parts(parts, OBJECTIVES, setting)
    for part in losses:
        if part.needs.prepares:
            part.prepare(network, (loader.batch(step) for step in range(loader.steps_per_epoch)))
    return Learner(objective, network, join(losses), recipe, examples=len(problem.train)), loader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    problem = pictures()
    plain = Recipe(batch_size=BATCH)
    timed = {name: learner_of(name, plain, args.model, problem) for name in OBJECTIVES}
    for name, options in PROCEDURES.items():
        timed[name] = learner_of("cross_entropy", plain.model_copy(update=options), args.model, problem)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for round_ in range(args.rounds + 2):
        for name, (learner, loader) in timed.items():
            # In the third epoch, when consistency has predictions to compare with.
            progress = Progress(2 * loader.steps_per_epoch + round_, loader.steps_per_epoch, 100)
            batch = loader.batch(round_)
            start = time.perf_counter()
            learner.train_step(batch, None, progress)
            if round_ >= 2:
                seconds[name].append(time.perf_counter() - start)
    base = statistics.median(seconds["cross_entropy"])
    ratios = {name: round(statistics.median(values) / base, 3) for name, values in seconds.items()}
    record = {
        "model": args.model,
        "batch_size": BATCH,
        "rounds": args.rounds,
        "ratio": ratios,
        "environment": environment(),
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    for name, ratio in sorted(ratios.items(), key=lambda item: item[1]):
        print(f"{name:22} {ratio:.2f}")


if __name__ == "__main__":
    main()
