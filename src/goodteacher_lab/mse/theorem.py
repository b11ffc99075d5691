"""Theorem 4.1 of the MSE teacher, where the true label distribution is known: held-out scores measure the distance to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from goodteacher.base.seeds import derive
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.problem import Problem, Split, SplitName
from goodteacher.train.recipe import Recipe
from goodteacher_lab.batched_mlp import StackLoss
from goodteacher_lab.job import Budget, Finding, Job, Reproduction
from goodteacher_lab.mse.theorem_checks import (
    PAIR,
    SCORES,
    Case,
    Found,
    Gaps,
    check_grid,
    example_grid,
    excess_chart,
    gaps_of,
    less,
    pair_grid,
    rank_correlations,
    rank_grid,
    verdict_of,
)
from goodteacher_lab.mse.toy import networks, stack_of, train_stack
from goodteacher_lab.stack import Stack, all_of

OBJECTIVES: dict[str, StackLoss] = {"cross-entropy": "kl", "Brier": "brier_sum"}
WIDTHS = (16, 64, 256)
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
# The rate is higher than the toy's 5e-4, so that wide networks come to know their training labels by heart.
RECIPE = Recipe(epochs=40, batch_size=32, lr=0.02, momentum=0.9, weight_decay=0.0, schedule="constant")


@dataclass(frozen=True)
class Size:
    """What a budget buys: training examples, test examples, draws of the problem, networks of each kind, and epochs."""

    train: tuple[int, ...]
    test: int
    problems: int
    starts: int
    epochs: int = 40


SIZES: dict[Budget, Size] = {
    "minutes": Size((500, 2000), 20_000, 5, 2),
    "hours": Size((500, 2000, 10_000), 90_000, 10, 3),
    "paper": Size((500, 5000, 20_000), 90_000, 20, 5, 100),
}


def stops_of(epochs: int) -> tuple[int, ...]:
    """Return the epochs at which networks are taken: an eighth, a third and all of them."""
    return tuple(sorted({max(1, epochs // 8), max(1, epochs // 3), epochs}))


def measure(problem: Problem, seed: int, size: Size, job: Job, found: Found) -> None:
    """Train all networks on one draw of the problem and add what they show."""
    stops = stops_of(size.epochs)
    recipe = RECIPE.model_copy(update={"epochs": size.epochs, "evaluate_every": size.epochs})
    examples, keeps = len(problem.train), [f"epoch={stop}" for stop in stops]
    seeds = [derive(seed, "theorem order", k) for k in range(size.starts)]
    for width in WIDTHS:
        last: dict[str, list[Gaps]] = {}
        for objective, loss in OBJECTIVES.items():
            models = networks(size.starts, problem, seed, "theorem", (width, width))
            stack = stack_of(models, problem, problem.train.labels, recipe, job, loss=loss, seeds=seeds, keeps=keeps)
            train_stack(stack, f"{objective}, width {width}, {examples} examples", job)
            for stop, keep in zip(stops, keeps, strict=True):
                gaps: dict[str, list[Gaps]] = {split: _gaps_on(problem.split(split), stack, keep) for split in SPLITS}
                for start in range(size.starts):
                    means = {split: _means(values[start]) for split, values in gaps.items()}
                    found.cases.append(Case(examples, width, objective, stop, seed, start, means))
            for split in ("train", "test"):
                found.add(split, (examples, width, objective), gaps[split])
            last[objective] = gaps["test"]
        pairs = [less(a, b) for a, b in zip(last["Brier"], last["cross-entropy"], strict=True)]
        found.add("test", (examples, width, PAIR), pairs)


def _gaps_on(split: Split, stack: Stack, keep: str) -> list[Gaps]:
    assert split.truth is not None
    return [gaps_of(logits, split.truth, split.labels) for logits in stack.predictions(all_of(split.inputs), keep)]


def _means(gaps: Gaps) -> dict[str, tuple[float, float]]:
    return {score: (float(gaps.excess[score].mean()), float(gaps.distance[score].mean())) for score in SCORES}


def theorem(job: Job) -> Finding:
    """Check both identities on held-out examples, and show that they fail on the training examples."""
    size = SIZES[job.budget]
    size = replace(size, epochs=job.epochs or size.epochs, problems=job.seeds or size.problems)
    size = replace(size, train=tuple(int(n) for n in job.choices.get("train", ())) or size.train)
    found = Found([], {})
    for examples in size.train:
        for seed in range(size.problems):
            problem = gaussian_problem(
                train=examples, validation=1000, test=size.test, seed=derive(seed, "n", examples)
            )
            measure(problem, seed, size, job, found)
    held_out, pairs, training = found.of("test"), found.of("test", pairs=True), found.of("train")
    ranks = rank_correlations(found.cases)
    return Finding(
        "mse/theorem",
        "In the mean over held-out examples, the excess of the Brier score over that of the true label distribution p* is the "
        "squared distance to p*, and the excess of the log loss is KL(p* || q); on training examples neither holds.",
        verdict_of(held_out, pairs, training, ranks),
        (
            "The theorem is an identity and has no experiment in the paper; networks, sizes and seeds are this library's. "
            f"{len(WIDTHS)} widths, 2 objectives, {len(size.train)} training sizes, {size.problems} draws of the problem and "
            f"{size.starts} networks of each kind, {size.epochs} epochs, {size.test} test examples a draw.",
            "The learning rate is 0.02 and not the toy's 5e-4, so that training labels are fitted.",
            "The numbers of the paper's example of two estimates cannot be read in the text at hand: the example is constructed.",
        ),
        (
            check_grid("Held-out examples: excess score and distance to p*", held_out, size.problems),
            pair_grid(pairs, size.problems),
            check_grid("The networks' own training examples: the same", training, size.problems),
            rank_grid(ranks),
            example_grid(),
        ),
        {"excess Brier score against squared distance to p*": excess_chart(found.cases)},
        {
            "checks": [
                {"split": split, "kind": list(kind), "score": score, **asdict(c), "z": c.z}
                for split, by in (("test", {**held_out, **pairs}), ("train", training)) for (kind, score), c in by.items()
            ],
            "cases": [asdict(c) for c in found.cases],
        },
    )  # fmt: skip


ROWS: dict[str, Reproduction] = {
    "mse/theorem": Reproduction(
        theorem,
        "Hamidi et al. (ECCV 2024), theorem 4.1",
        {"minutes": "1 minute", "hours": "15 minutes", "paper": "3 hours"},
        {"train": tuple(str(n) for n in sorted({n for size in SIZES.values() for n in size.train}))},
    ),
}
