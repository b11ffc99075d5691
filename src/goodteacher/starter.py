"""A first study file for somebody's data: a student within a limit, teachers to choose among, comments and a time estimate."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from goodteacher.base.errors import ConfigError
from goodteacher.data.problem import Problem
from goodteacher.study.build import Parts, build_network, outline
from goodteacher.study.cost import estimate_cost
from goodteacher.study.footprint import macs_of, milliseconds
from goodteacher.study.known_names import LARGER
from goodteacher.study.machine import environment
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import StudySpec, read_study
from goodteacher.study.store import Store
from goodteacher.train.precision import lay_out
from goodteacher.train.records import write_atomically

WIDTHS = (4, 8, 16, 32, 64, 128, 256, 512)
# Students that are offered, and the one taken where no limit is given; larger pictures want networks that shrink them first.
SMALL_PICTURES = (
    "mobilenetv2_0.1", "resnet8", "resnet14", "resnet20", "resnet32", "resnet56", "wrn_16_2", "resnet8x4", "shufflenetv2",
    "vgg8",
)  # fmt: skip
LARGE_PICTURES = ("mobilenetv2_0.1", "shufflenetv2", "mobilenetv2", "resnet18_imagenet", "resnet34_imagenet")
LARGE_FROM = 64
USUAL: dict[str, Parts] = {"vector": {"mlp": {"widths": [32]}}, "small": {"resnet20": {}}, "large": {"mobilenetv2": {}}}
UNLIKE = 3
TEACHERS = {
    "cross_entropy": "the usual teacher: the baseline of every comparison",
    "brier": "trained to come near the true label distribution",
    "label_smoothing": "softer targets",
}


@dataclass(frozen=True)
class Start:
    """A first study.

    Attributes:
        text: of its file.
        study: that the text reads as.
        student: its model.
        parameters: of the student.
        minutes: of one worker on this machine, within a factor of two.
    """

    text: str
    study: StudySpec
    student: Parts
    parameters: int
    minutes: float


def write_start(
    path: Path,
    problem: Problem,
    words: Mapping[str, Any],
    *,
    max_params: int | None = None,
    max_latency: float | None = None,
    out: Path = Path("goodteacher-runs"),
    device: str = "cpu",
) -> Start:
    """Write a commented study file for a problem.

    Args:
        path: of the file, which must not be there.
        problem: loaded.
        words: that load it again, ``name`` among them.
        max_params: that the student may have.
        max_latency: milliseconds that the student may take for one example, on one processor thread as this process has them.
        out: folder of the store, for the estimate.
        device: to train on, for the estimate.

    Raises:
        ConfigError: if the file is there, or no known student is within the limits.
    """
    if path.exists():
        raise ConfigError(f"file '{path}'", rule="must not be there yet", remedy="another --to, or remove it")
    student = pick_student(problem, max_params, max_latency)
    limits = [f"at most {max_params:,} parameters"] if max_params is not None else []
    limits += [f"at most {max_latency:g} ms for one example" if max_latency is not None else ""]
    text = _text(problem, words, student, " and ".join(filter(None, limits)))
    study = _read(text, path)
    cost = estimate_cost(plan_study(study, problem.facts), problem, Store(out), device)
    minutes = cost.seconds / 60
    estimate = (
        f"# About {minutes:.3g} minutes of one worker on this machine, within a factor of two ({cost.runs} runs)."
    )
    text = f"{estimate}\n# {_machine(device)}\n{text}"
    write_atomically(path, lambda file: file.write(text.encode()))
    return Start(text, study, student.model, student.parameters, minutes)


def _read(text: str, path: Path) -> StudySpec:
    """Return the study that a file of this text would be, as whoever runs it reads it."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_text(text, encoding="utf-8")
        return read_study(trial)


def _machine(device: str) -> str:
    found = environment()
    return (
        found.get("accelerator", "an accelerator")
        if device != "cpu"
        else f"{found['processor']}, one thread per worker"
    )


def students_for(problem: Problem) -> list[Parts]:
    """Return the models that are offered as students of a problem."""
    if not problem.is_image:
        return [{"mlp": {"widths": [width]}} for width in WIDTHS]
    large = min(problem.input_shape[1:]) >= LARGE_FROM
    return [{name: {}} for name in (LARGE_PICTURES if large else SMALL_PICTURES)]


@dataclass(frozen=True)
class Offer:
    """A student with what it costs."""

    model: Parts
    parameters: int
    macs: int


def offers(problem: Problem) -> list[Offer]:
    """Return the students of a problem that are offered, those that compute most first; nothing is trained or timed."""
    found = []
    for model in students_for(problem):
        network = outline(model, problem.classes, problem.input_shape).eval()
        macs = macs_of(network, torch.zeros(1, *problem.input_shape, device="meta"))
        found.append(Offer(model, sum(p.numel() for p in network.parameters()), macs))
    return sorted(found, key=lambda offer: -offer.macs)


def pick_student(problem: Problem, max_params: int | None, max_latency: float | None) -> Offer:
    """Return the student within the limits that computes most; a usual one without limits.

    Raises:
        ConfigError: if there is none.
    """
    found = offers(problem)
    if max_params is None and max_latency is None:
        kind = "vector" if not problem.is_image else "large" if min(problem.input_shape[1:]) >= LARGE_FROM else "small"
        return next(offer for offer in found if offer.model == USUAL[kind])
    fitting = [offer for offer in found if max_params is None or offer.parameters <= max_params]
    if not fitting:
        least = min(found, key=lambda offer: offer.parameters)
        smallest = f"{next(iter(least.model))} of {least.parameters:,}"
        raise ConfigError("--max-params", rule=f"must allow for the smallest student, {smallest}", received=max_params)
    times: list[float] = []
    for offer in fitting:
        if max_latency is None:
            return offer
        times.append(_latency(offer.model, problem))
        if times[-1] <= max_latency:
            return offer
    raise ConfigError(
        "--max-latency", rule=f"must allow for the fastest student, {min(times):.2f} ms", received=max_latency
    )


def _latency(model: Parts, problem: Problem) -> float:
    network = lay_out(build_network(model, problem.classes, problem.input_shape)).eval()
    return milliseconds(network, torch.zeros(1, *problem.input_shape))


def _teacher(student: Parts) -> Parts:
    """Return a teacher's model: larger than the student, of its family where one is known."""
    ((name, options),) = student.items()
    if name == "mlp":
        width = max(min(4 * options["widths"][0], WIDTHS[-1]), options["widths"][0])
        return {"mlp": {"widths": [width, width]}}
    return {LARGER.get(name, name): {}}


def _written(model: Parts) -> str:
    """Return a model as a study file says it."""
    ((name, options),) = model.items()
    return json.dumps(model) if options else name


def _text(problem: Problem, words: Mapping[str, Any], student: Offer, limits: str) -> str:
    """Return the file without its estimate; every value is written as JSON, which is YAML that nobody reads otherwise."""
    counts = torch.bincount(problem.train.labels, minlength=problem.classes)
    low, high = int(counts.min()), int(counts.max())
    unlike = UNLIKE * low < high
    teacher, small = _written(_teacher(student.model)), _written(student.model)
    lines = [
        f"# {problem.describe()}; {low} to {high} training examples per class.",
        *(f"# Note: {note}" for note in problem.notes),
        f"problem: {json.dumps(dict(words), ensure_ascii=False)}",
        *(
            ["# `size` above is what pictures are scaled to, in pixels; networks for it are chosen below."]
            if "size" in words
            else []
        ),
        "",
        "recipe:",
        "  epochs: 60",
        "  batch_size: 64",
        "  lr: 0.05",
        *(["  sampling: balanced        # classes are of unlike size: each is shown equally often"] if unlike else []),
        "",
        "# Ranked before any student is trained, by how near they come to the true label distribution.",
        "teachers:",
        *(f"  {name}: {{model: {teacher}, objective: {name}}}    # {why}" for name, why in TEACHERS.items()),
        f"  early: {{model: {teacher}, keep: best_brier}}    # the first training, its best checkpoint: costs nothing",
        "",
        f"# The student has {student.parameters:,} parameters{f', the most capable offered with {limits}' if limits else ''}.",
        "students:",
        f"  alone: {{model: {small}, method: none}}    # without a teacher",
        f"  kd: {{model: {small}, method: kd}}    # under each teacher; `goodteacher list methods` has others",
        "",
        "seeds: 3    # five or more can show a difference",
    ]
    return "\n".join(lines) + "\n"
