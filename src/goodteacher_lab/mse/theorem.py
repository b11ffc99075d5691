"""Theorem 4.1 of the MSE teacher, where the true label distribution is known: held-out scores measure the distance to it."""

from __future__ import annotations

from dataclasses import asdict, replace

from goodteacher.base.seeds import derive
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.problem import Problem, Split, SplitName
from goodteacher.train.recipe import Recipe
from goodteacher_lab.batched_mlp import StackLoss
from goodteacher_lab.claims import claim_of
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.mse import theorem_checks as checks
from goodteacher_lab.mse.toy import networks, stack_of, train_stack
from goodteacher_lab.sizes import Size, size_of
from goodteacher_lab.stack import Stack, all_of

OBJECTIVES: dict[str, StackLoss] = {"cross-entropy": "kl", "Brier": "brier_sum"}
WIDTHS = (16, 64, 256)
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
# The rate is higher than the toy's 5e-4, so that wide networks come to know their training labels by heart.
RECIPE = Recipe(epochs=40, batch_size=32, lr=0.02, momentum=0.9, weight_decay=0.0, schedule="constant")


def stops_of(epochs: int) -> tuple[int, ...]:
    """Return the epochs at which networks are taken: an eighth, a third and all of them."""
    return tuple(sorted({max(1, epochs // 8), max(1, epochs // 3), epochs}))


def measure(problem: Problem, seed: int, size: Size, job: Job, found: checks.Found) -> None:
    """Train all networks on one draw of the problem and add what they show."""
    stops = stops_of(size.epochs)
    recipe = RECIPE.model_copy(update={"epochs": size.epochs, "evaluate_every": size.epochs})
    examples, keeps = len(problem.train), [f"epoch={stop}" for stop in stops]
    seeds = [derive(seed, "theorem order", k) for k in range(size.starts)]
    for width in WIDTHS:
        last: dict[str, list[checks.Gaps]] = {}
        for objective, loss in OBJECTIVES.items():
            models = networks(size.starts, problem, seed, "theorem", (width, width))
            stack = stack_of(models, problem, problem.train.labels, recipe, job, loss=loss, seeds=seeds, keeps=keeps)
            train_stack(stack, f"{objective}, width {width}, {examples} examples", job)
            for stop, keep in zip(stops, keeps, strict=True):
                gaps: dict[str, list[checks.Gaps]] = {
                    split: _gaps_on(problem.split(split), stack, keep) for split in SPLITS
                }
                for start in range(size.starts):
                    means = {split: _means(values[start]) for split, values in gaps.items()}
                    found.cases.append(checks.Case(examples, width, objective, stop, seed, start, means))
            for split in ("train", "test"):
                found.add(split, (examples, width, objective), gaps[split])
            last[objective] = gaps["test"]
        pairs = [checks.less(a, b) for a, b in zip(last["Brier"], last["cross-entropy"], strict=True)]
        found.add("test", (examples, width, checks.PAIR), pairs)


def _gaps_on(split: Split, stack: Stack, keep: str) -> list[checks.Gaps]:
    assert split.truth is not None
    return [
        checks.gaps_of(logits, split.truth, split.labels) for logits in stack.predictions(all_of(split.inputs), keep)
    ]


def _means(gaps: checks.Gaps) -> dict[str, tuple[float, float]]:
    return {score: (float(gaps.excess[score].mean()), float(gaps.distance[score].mean())) for score in checks.SCORES}


def theorem(job: Job) -> Finding:
    """Check both identities on held-out examples, and show that they fail on the training examples."""
    size = size_of(job, "mse/theorem")
    size = replace(size, train=tuple(int(n) for n in job.choices.get("train", ())) or size.train)
    found = checks.Found([], {})
    for examples in size.train:
        for seed in range(size.seeds):
            problem = gaussian_problem(
                train=examples, validation=1000, test=size.test, seed=derive(seed, "n", examples)
            )
            measure(problem, seed, size, job, found)
    held_out, pairs, training = found.of("test"), found.of("test", pairs=True), found.of("train")
    ranks = checks.rank_correlations(found.cases)
    claim = claim_of(
        "mse/theorem", widths=len(WIDTHS), train=len(size.train), seeds=size.seeds, starts=size.starts, epochs=size.epochs,
        test=size.test,
    )  # fmt: skip
    return Finding(
        "mse/theorem",
        claim.text,
        checks.verdict_of(held_out, pairs, training, ranks),
        claim.departures,
        (
            checks.check_grid("Held-out examples: excess score and distance to p*", held_out, size.seeds),
            checks.pair_grid(pairs, size.seeds),
            checks.check_grid("The networks' own training examples: the same", training, size.seeds),
            checks.rank_grid(ranks),
            checks.example_grid(),
        ),
        {"excess Brier score against squared distance to p*": checks.excess_chart(found.cases)},
        {
            "checks": [
                {"split": split, "kind": list(kind), "score": score, **asdict(c), "z": c.z}
                for split, by in (("test", {**held_out, **pairs}), ("train", training)) for (kind, score), c in by.items()
            ],
            "cases": [asdict(c) for c in found.cases],
        },
    )  # fmt: skip
