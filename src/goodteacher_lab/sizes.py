"""What each budget buys: one table of models, epochs, seeds and examples for every reproduction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from goodteacher_lab.benchmark import BENCHMARK, Pair
from goodteacher_lab.job import Budget, Job
from goodteacher_lab.mse.printed import TABLE1, TABLE2, TABLE3


@dataclass(frozen=True)
class Size:
    """What a budget buys; a reproduction reads the fields that it has a use for.

    Attributes:
        epochs: of teachers and students.
        seeds: of both, paired; or draws of the problem.
        teacher: model; the larger one where both teach.
        student: model.
        other: a student of another family, if there is one.
        recipe: the rest of it.
        examples: training examples at most, in all; None for all.
        per_class: training pictures per class at most; None for all.
        test: test examples, where they are drawn.
        points: checkpoints of a teacher that teach, at most.
        batch: examples per step.
        pixels: height and width of pictures from a folder.
        pairs: of networks.
        methods: without KD behind them.
        labels: numbers of labelled examples.
        teacher_epochs: over labelled examples, where a student's are over all.
        train: numbers of training examples.
        starts: networks of each kind.
        shares: students of p* mixed with the label, λ ~ U(0, 1).
        halves: the same with λ ~ U(0, 1/2).
        teachers: of each objective, with one student each.
        perturbed: students of p* under three perturbations at once.
    """

    epochs: int
    seeds: int
    teacher: Any = None
    student: Any = None
    other: Any = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    examples: int | None = None
    per_class: int | None = None
    test: int = 90_000
    points: int = 1
    batch: int = 64
    pixels: int = 32
    pairs: tuple[Pair, ...] = ()
    methods: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    teacher_epochs: int = 0
    train: tuple[int, ...] = ()
    starts: int = 0
    shares: int = 0
    halves: int = 0
    teachers: int = 0
    perturbed: int = 0


def _mlp(*widths: int) -> dict[str, Any]:
    return {"mlp": {"widths": list(widths)}}


STAND_IN: Pair = ("resnet14", "resnet8")
FIRST: Pair = ("resnet56", "resnet20")
FIRST2, FIRST3 = next(iter(TABLE2)), next(iter(TABLE3))
METHODS1, METHODS2 = tuple(TABLE1[FIRST]), tuple(TABLE2[FIRST2])
METHODS3 = ("kd", "dkd", "reviewkd_kd", "crd_kd")
LABELS = (500, 1000, 2000, 4000)
TOY: dict[str, Any] = {"batch_size": 32, "schedule": "constant", "weight_decay": 0.0}
COSINE: dict[str, Any] = {"batch_size": 64, "schedule": "cosine", "weight_decay": 5e-4, "lr": 0.05}
WIDE, NARROW = _mlp(128, 128), _mlp(32)

SIZES: dict[str, dict[Budget, Size]] = {
    "mse/figure1": {
        "minutes": Size(50, 1, test=20_000, shares=40, halves=8, teachers=5, perturbed=40),
        "hours": Size(100, 3, shares=100, halves=20, teachers=10, perturbed=100),
        "paper": Size(100, 1, shares=100, halves=20, teachers=10, perturbed=100),
    },
    "mse/theorem": {
        "minutes": Size(40, 5, train=(500, 2000), test=20_000, starts=2),
        "hours": Size(40, 10, train=(500, 2000, 10_000), starts=3),
        "paper": Size(100, 20, train=(500, 5000, 20_000), starts=5),
    },
    "mse/table1": {
        "minutes": Size(6, 2, pairs=(STAND_IN,), methods=("kd", "at", "dkd"), examples=3000),
        "hours": Size(20, 2, pairs=(FIRST,), methods=("kd", "at", "dkd"), examples=10_000),
        "paper": Size(240, 5, pairs=tuple(TABLE1), methods=METHODS1),
    },
    "mse/table2": {
        "minutes": Size(6, 2, pairs=(STAND_IN,), methods=("at", "sp"), examples=3000),
        "hours": Size(12, 2, pairs=(FIRST2,), methods=("at", "sp"), examples=10_000),
        "paper": Size(240, 5, pairs=tuple(TABLE2), methods=METHODS2),
    },
    "mse/table3": {
        "minutes": Size(6, 2, pairs=(FIRST3,), methods=("kd", "dkd"), examples=500, pixels=64, batch=32),
        "hours": Size(20, 2, pairs=(FIRST3,), methods=("kd", "dkd"), examples=5000, pixels=64),
        "paper": Size(120, 3, pairs=tuple(TABLE3), methods=METHODS3, pixels=224, batch=256),
    },
    "mse/table4": {
        "minutes": Size(40, 2, "vgg8", examples=1200, batch=32),
        "hours": Size(40, 3, "vgg13", examples=2000, batch=32),
        "paper": Size(240, 5, "vgg13"),
    },
    "mse/figure2": {
        "minutes": Size(6, 2, "resnet8", labels=LABELS[:3], teacher_epochs=25, examples=4000, batch=32),
        "hours": Size(15, 2, "resnet20", labels=LABELS, teacher_epochs=60, examples=15_000),
        "paper": Size(240, 3, "resnet18", labels=LABELS, teacher_epochs=240),
    },
    "soteacher": {
        "minutes": Size(6, 2, "resnet14", "resnet8", points=3, per_class=100),
        "hours": Size(60, 3, "resnet20", "resnet8", points=12, per_class=1000),
        "paper": Size(240, 3, "wrn_40_2", "wrn_40_1", points=24),
    },
    "soteacher, digits": {"minutes": Size(48, 4, WIDE, NARROW, points=6)},
    # Ren et al. (2022), at `paper`: 5,000 of 100,000 examples, MLP 30-128-128-3, SGD 5e-4 constant, batch 32, 100 epochs.
    "ptloss/toy": {
        "minutes": Size(40, 5, WIDE, WIDE, recipe={**TOY, "lr": 5e-3}, examples=1000, test=20_000),
        "hours": Size(100, 10, WIDE, WIDE, recipe={**TOY, "lr": 5e-3}, examples=1000),
        "paper": Size(100, 10, WIDE, WIDE, recipe={**TOY, "lr": 5e-4}, examples=5000),
    },
    "ptloss/images": {
        "minutes": Size(6, 2, "resnet14", "resnet8", recipe=COSINE, per_class=100),
        "hours": Size(60, 3, "resnet20", "resnet8", recipe=COSINE, per_class=1000),
        "paper": Size(240, 5, "resnet56", "resnet20", recipe=COSINE),
    },
    "ptloss/images, digits": dict.fromkeys(
        ("minutes", "hours", "paper"), Size(30, 5, WIDE, WIDE, recipe={**TOY, "lr": 0.05})
    ),
    "humans": {
        "minutes": Size(6, 2, "resnet8", "resnet8", points=3, per_class=100),
        "hours": Size(40, 3, "resnet14", "resnet8", points=5, per_class=700),
        "paper": Size(240, 5, "resnet56", "resnet20", points=8),
    },
    "deviations": {
        "minutes": Size(8, 3, "resnet14", "resnet8", "vgg8", {**BENCHMARK, "lr": 0.1}, per_class=150),
        "hours": Size(60, 3, "resnet20", "resnet8", "vgg8", BENCHMARK, per_class=1000),
        "paper": Size(240, 3, "resnet56", "resnet20", "vgg8", BENCHMARK),
    },
    "deviations, vectors": {
        "minutes": Size(40, 4, WIDE, NARROW, recipe=COSINE),
        "hours": Size(40, 10, WIDE, NARROW, recipe=COSINE),
        "paper": Size(40, 10, WIDE, NARROW, recipe=COSINE),
    },
    # Epochs, each one full batch, are by model.
    "deviations/eigenspace": {
        "minutes": Size(0, 3, examples=1000),
        "hours": Size(0, 5, examples=2000),
        "paper": Size(0, 10, examples=10_000),
    },
    "predictors": {
        "minutes": Size(6, 2, per_class=150),
        "hours": Size(30, 3, per_class=1000),
        "paper": Size(60, 5, per_class=4500),
    },
    "predictors, vectors": {"minutes": Size(16, 3), "hours": Size(16, 5), "paper": Size(16, 10)},
}


def size_of(job: Job, name: str) -> Size:
    """Return what a job's budget buys, with the job's own epochs and seeds where it gives them.

    Raises:
        ConfigError: if this budget needs pictures and none are given.
    """
    if job.budget not in SIZES[name]:
        job.need_pictures()
    size = SIZES[name][job.budget]
    return replace(size, epochs=job.epochs or size.epochs, seeds=job.seeds or size.seeds)
