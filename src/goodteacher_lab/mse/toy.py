"""Figure 1 of the MSE teacher: what students of noisy label distributions and of networks learn, on the Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from goodteacher.base.errors import TrainingError
from goodteacher.base.events import Event
from goodteacher.base.probability import log_probabilities, log_soften
from goodteacher.base.seeds import derive, numpy_stream, seeded
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.problem import Problem
from goodteacher.diagnose.distance import distance_to_truth
from goodteacher.models.mlp import MLP
from goodteacher.report.progress import shown
from goodteacher.train.recipe import Recipe
from goodteacher_lab.batched_mlp import StackLoss
from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.mse.toy_panels import (
    BRIER,
    BRIER_SUM,
    CROSS_ENTROPY,
    PERTURBED,
    SHARE,
    SHARE_HALF,
    SLOW,
    Point,
    figure_charts,
    figure_grids,
    plain_points,
)
from goodteacher_lab.mse.toy_targets import Target, label_share, perturbed, points_of, student_seeds
from goodteacher_lab.mse.toy_verdict import figure_verdict
from goodteacher_lab.sizes import Size, size_of
from goodteacher_lab.stack import Stack, all_of, fit_stack

# The released toy: 5,000 / 5,000 / 90,000 of 100,000, MLP 30-128-128-3, SGD 5e-4 constant, momentum 0.9, batch 32, 100 epochs.
WIDTHS = (128, 128)
RECIPE = Recipe(epochs=100, batch_size=32, lr=5e-4, momentum=0.9, weight_decay=0.0, schedule="constant")
# Loss and factor of the rate; the toy's Brier score, a mean over C classes, starts at 2/C^2 of cross-entropy's gradient.
TEACHERS: dict[str, tuple[StackLoss, float]] = {
    CROSS_ENTROPY: ("kl", 1.0), BRIER: ("brier_mean", 1.0), BRIER_SUM: ("brier_sum", 1.0), SLOW: ("kl", 2 / 9),
}  # fmt: skip
PARTS = ("label-share", "label-share-half", "teachers", "control", "perturbed")


def networks(count: int, problem: Problem, seed: int, name: str, widths: tuple[int, ...] = WIDTHS) -> list[MLP]:
    """Return freshly initialised networks; those of one name and seed are always the same."""
    made = []
    for k in range(count):
        with seeded(seed, name, k):
            made.append(MLP(problem.classes, input_shape=problem.input_shape, widths=widths))
    return made


def train_stack(stack: Stack, label: str, job: Job) -> None:
    """Train a stack to its end, showing progress.

    Raises:
        TrainingError: if the weights of a network cease to be finite.
    """
    failures: dict[int, int] = {}
    with shown(job.console or Console(quiet=True), quiet=job.quiet) as tell:
        for tick in fit_stack(stack, threads=max(1, job.workers)):
            failures = tick.failures
            tell(Event("step", label, f"epochs of {len(stack)} networks", tick.epoch, tick.epochs))
    if failures:
        k, epoch = next(iter(failures.items()))
        raise TrainingError(
            f"training of {label}, network {k + 1}",
            rule=f"stopped making sense in epoch {epoch}",
            received="weights that are not finite",
            remedy="lower lr",
        )


def stack_of(
    models: Sequence[MLP], problem: Problem, targets: Tensor, recipe: Recipe, job: Job, **options: Any
) -> Stack:
    """Return a stack on a problem's inputs as they are, whose checkpoint has a folder of its own."""
    validation = (all_of(problem.validation.inputs), problem.validation.labels)
    stack = Stack(
        models, all_of(problem.train.inputs), targets, recipe, validation=validation, drop_last=True, device=job.device,
        **options,
    )  # fmt: skip
    stack.folder = job.out / "stacks" / stack.fingerprint[:16]
    return stack


def noise_targets(problem: Problem, size: Size, seed: int, parts: Sequence[str]) -> list[Target]:
    """Return the targets that no network made."""
    truth, labels = problem.train.truth, problem.train.labels
    assert truth is not None
    found = []
    for part, kind, count, most in (
        ("label-share", SHARE, size.shares, 1.0),
        ("label-share-half", SHARE_HALF, size.halves, 0.5),
    ):
        for share in numpy_stream(seed, part).uniform(0, most, size=count) if part in parts else ():
            found.append(Target(kind, label_share(truth, labels, share), {"share": float(share)}, {}))
    draws = numpy_stream(seed, "perturbed")
    for k in range(size.perturbed if "perturbed" in parts else 0):
        settings = {
            "temperature": float(2 ** draws.uniform(-1, 1)),
            "share": float(draws.uniform(0, 0.5)),
            "concentration": float(2 * 100 ** draws.uniform(0, 1)),
        }
        log_q = perturbed(truth, labels, **settings, seed=derive(seed, "perturbed", k))
        found.append(Target(PERTURBED, log_q, settings, {}))
    return found


def teacher_targets(
    problem: Problem, size: Size, seed: int, parts: Sequence[str], recipe: Recipe, job: Job
) -> list[Target]:
    """Train teachers by each objective, of the same first weights and batches, and return their last answers."""
    wanted: tuple[str, ...] = (CROSS_ENTROPY, BRIER) if "teachers" in parts else ()
    wanted += (BRIER_SUM, SLOW) if "control" in parts else ()
    found, truth = [], problem.test.truth
    assert truth is not None
    seeds = [derive(seed, "teacher order", k) for k in range(size.teachers)]
    for kind in wanted:
        loss, factor = TEACHERS[kind]
        last = recipe.model_copy(update={"evaluate_every": recipe.epochs, "lr": factor * recipe.lr})
        models = networks(size.teachers, problem, seed, "teacher")
        stack = stack_of(models, problem, problem.train.labels, last, job, loss=loss, seeds=seeds)
        train_stack(stack, f"{kind}s", job)
        splits = (problem.train, problem.test)
        answers = zip(*(stack.predictions(all_of(split.inputs)) for split in splits), strict=True)
        for k, (train, test) in enumerate(answers):
            own = {name: float(values.mean()) for name, values in distance_to_truth(test, truth).items()}
            own["accuracy"] = float((test.argmax(dim=1) == problem.test.labels).double().mean())
            found.append(Target(kind, log_soften(train.double()), {"teacher": float(k)}, own))
    return found


def students_of(targets: Sequence[Target], problem: Problem, seed: int, recipe: Recipe, job: Job) -> list[float]:
    """Train a student of every target as one stack, and return their test accuracies at the best validation epoch."""
    numbers = student_seeds(targets)
    fresh = networks(max(numbers) + 1, problem, seed, "student")
    tables = torch.stack([target.log_q.exp().float() for target in targets])
    stack = stack_of(
        [fresh[k] for k in numbers], problem, tables, recipe, job,
        seeds=[derive(seed, "student order", k) for k in numbers], keeps=("best_accuracy",),
    )  # fmt: skip
    train_stack(stack, "students", job)
    test = problem.test
    return [
        float((logits.argmax(dim=1) == test.labels).double().mean())
        for logits in stack.predictions(all_of(test.inputs), "best_accuracy")
    ]


def figure1(job: Job) -> Finding:
    """Teach students noisy label distributions and networks' answers, and set their accuracy against both distances."""
    size = size_of(job, "mse/figure1")
    parts = job.choices.get("targets") or PARTS
    recipe = RECIPE.model_copy(update={"epochs": size.epochs})
    problems: list[list[Point]] = []
    entropies = []
    for seed in range(size.seeds):
        problem = gaussian_problem(test=size.test, seed=seed)
        truth = problem.train.truth
        assert truth is not None
        targets = [
            *noise_targets(problem, size, seed, parts),
            *teacher_targets(problem, size, seed, parts, recipe, job),
        ]
        job.say(f"{problem.describe()}: {len(targets)} students")
        problems.append(points_of(targets, students_of(targets, problem, seed, recipe, job), truth))
        entropies.append(float(-(truth.double() * log_probabilities(truth.double())).sum(dim=1).mean()))
    names = ("shares", "halves", "teachers", "epochs", "test", "seeds")
    claim = claim_of("mse/figure1", **{name: getattr(size, name) for name in names})
    return Finding(
        "mse/figure1",
        claim.text,
        figure_verdict(problems),
        claim.departures,
        figure_grids(problems),
        figure_charts(problems[0]),
        {"problems": [plain_points(points) for points in problems], "entropy of p*": entropies},
    )
