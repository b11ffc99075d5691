"""How much faster the students of a figure train as one stack than one after another, measured in one process run.

    python benchmarks/stack.py [--out evidence/stack.json] [--networks 120] [--repeats 5]

Bouts of steps are interleaved, so that a busy machine slows all alike; the ratio is of median seconds a network's step. A few
networks stand for all where they train one after another. ``ordinary loop``: the library's own, with its validation of inputs
and its records; ``bare loop``: forward, backward and a fused optimiser, nothing else.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from goodteacher.base.seeds import seeded
from goodteacher.base.types import Needs, Progress
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.loader import Loader
from goodteacher.models.mlp import MLP
from goodteacher.study.machine import environment
from goodteacher.train.learner import Learner
from goodteacher.train.optim import build_optimizer
from goodteacher.train.recipe import Recipe
from goodteacher_lab.stack import Stack, all_of, fit_stack

RECIPE = Recipe(
    epochs=1, batch_size=32, lr=5e-4, weight_decay=0.0, schedule="constant", precision="fp32", evaluate_every=1
)


class Soft:
    """KL to a table of targets."""

    needs = Needs()

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table

    def __call__(self, network, teacher, batch, progress):
        """Return the term."""
        log_p = network.logits.log_softmax(dim=1)
        return {"kl": F.kl_div(log_p, self.table[batch.indices], reduction="batchmean")}


def network(seed: int) -> MLP:
    with seeded(seed, "init"):
        return MLP(3, input_shape=(30,))


def seconds_of(run: Callable[[], object]) -> tuple[float, float]:
    """Return wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--networks", type=int, default=120)
    parser.add_argument("--alone", type=int, default=2, help="networks that stand for those one after another")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of the stack")
    args = parser.parse_args()
    torch.set_num_threads(1)
    problem = gaussian_problem(test=10)
    shares = torch.linspace(0, 1, args.networks)[:, None, None]
    hard = F.one_hot(problem.train.labels, 3).float()
    targets = shares * hard + (1 - shares) * problem.train.truth
    validation = (all_of(problem.validation.inputs), problem.validation.labels)
    loader = Loader(problem, batch_size=RECIPE.batch_size, seed=0)

    def stacked() -> None:
        models = [network(seed) for seed in range(args.networks)]
        stack = Stack(models, all_of(problem.train.inputs), targets, RECIPE, validation=validation)
        list(fit_stack(stack, threads=args.threads))

    def ordinary() -> None:
        for seed in range(args.alone):
            learner = Learner("student", network(seed), Soft(targets[seed]), RECIPE, seed=seed)
            for step in range(loader.steps_per_epoch):
                learner.train_step(loader.batch(step), None, Progress(step, loader.steps_per_epoch, 1))
            learner.end_epoch(problem, loader, 1)

    def bare() -> None:
        for seed in range(args.alone):
            model, order = network(seed), torch.randperm(len(problem.train))
            optimizer = build_optimizer(RECIPE, [model])
            for rows in order.split(RECIPE.batch_size):
                optimizer.zero_grad()
                log_p = model(problem.train.inputs.rows(rows)).log_softmax(dim=1)
                F.kl_div(log_p, targets[seed][rows], reduction="batchmean").backward()
                optimizer.step()
            with torch.no_grad():
                model(validation[0])

    ways = {"stack": (stacked, args.networks), "ordinary loop": (ordinary, args.alone), "bare loop": (bare, args.alone)}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for repeat in range(args.repeats + 1):
        for name, (run, networks) in ways.items():
            wall, processor = seconds_of(run)
            if repeat:  # the first bout warms up
                found[name].append((wall / networks, processor / networks))
    median = {
        name: {
            "wall": statistics.median(wall for wall, _ in times),
            "processor": statistics.median(own for _, own in times),
        }
        for name, times in found.items()
    }
    ratios = {
        name: {clock: round(median[name][clock] / median["stack"][clock], 2) for clock in ("wall", "processor")}
        for name in ways
        if name != "stack"
    }
    for name, of in median.items():
        print(f"{name:14} {1e3 * of['wall']:8.1f} ms a network's epoch (processor {1e3 * of['processor']:.1f})")
    for name, ratio in ratios.items():
        print(f"{name} / stack: {ratio['wall']:.2f} (processor {ratio['processor']:.2f})")
    record = {
        "networks": args.networks,
        "alone": args.alone,
        "repeats": args.repeats,
        "threads": args.threads,
        "seconds a network's epoch": median,
        "ratio": ratios,
        "environment": environment(),
    }
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
