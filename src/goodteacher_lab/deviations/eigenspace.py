"""Progress along the data's eigendirections: what gradient flow predicts for a distilled student, and what descent does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from goodteacher.base.probability import kl, log_soften
from goodteacher.base.seeds import seeded, torch_stream
from goodteacher.base.stats import Estimate, mean_interval
from goodteacher.data.augment import normalise
from goodteacher.data.digits import digits_problem
from goodteacher.data.problem import Problem
from goodteacher.models.mlp import MLP
from goodteacher.report.charts import channel, chart, lines, spec
from goodteacher.report.tables import Grid, each, grid
from goodteacher_lab import reading
from goodteacher_lab.claims import claim_of
from goodteacher_lab.deviations.runs import written
from goodteacher_lab.job import Finding, Job
from goodteacher_lab.sizes import size_of
from goodteacher_lab.spectrum import Spectrum, at_equal_top, eigendirections, flow_progress, progress

# A student of softmax at T = 1 differs from its teacher by its targets alone; at T = 4 by its softened loss too.
SOFTMAX = {"linear-softmax": 1.0, "linear-softmax-T4": 4.0, "mlp-softmax": 1.0, "mlp-softmax-T4": 4.0}
MODELS = ("linear-squared", *SOFTMAX)
# Shown and counted: the first is the abscissa.
DIRECTIONS = (2, 3, 5, 10, 20)
WIDTH = 64
RECORDED = 60
# Share of eta times the largest eigenvalue: far below 2, where descent would diverge, so that it follows the flow.
STEP = 0.05
# The softmax's curvature is at most one half of the squared error's, so that descent diverges above 4; no flow is followed.
SOFT_STEP = 0.4
# Updates of a teacher; a student has as many. A job's epochs, each a full batch, replace them. A linear teacher of squared
# errors that trains for long answers as the labels along all directions shown, and then there is nothing to compare.
UPDATES = {"linear-squared": 150, **dict.fromkeys(SOFTMAX, 400)}


@dataclass(frozen=True)
class Trajectory:
    """Weights of the layer that reads the data, along a descent.

    Attributes:
        weights: ``(S, O, D)``, the first before any update.
        updates: ``(S,)`` counts.
        outputs: ``(N, C)`` at the end, on the training inputs.
        rate: of learning.
    """

    weights: Tensor
    updates: Tensor
    outputs: Tensor
    rate: float


@dataclass(frozen=True)
class Curves:
    """Progress of one seed: ``teacher``, ``student`` and their predictions by gradient flow, each ``(S, K)``."""

    teacher: Tensor
    student: Tensor
    predicted: tuple[Tensor, Tensor] | None
    spectrum: Spectrum

    @property
    def ratio(self) -> Tensor:
        """Student's over teacher's progress ``(K,)`` where both have come equally far along direction 1; below 1: behind."""
        teacher, student = at_equal_top(self.teacher, self.student)
        return student / teacher

    @property
    def predicted_ratio(self) -> Tensor | None:
        """The same by gradient flow."""
        if self.predicted is None:
            return None
        teacher, student = at_equal_top(*self.predicted)
        return student / teacher


def descend(
    parameters: Sequence[Tensor],
    outputs: Callable[[Sequence[Tensor], Tensor], Tensor],
    loss: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    rate: float,
    updates: int,
) -> Trajectory:
    """Return what full-batch gradient descent does to the first of some parameters.

    Args:
        parameters: at the start; they stay as they are.
        outputs: from parameters and inputs to ``(N, C)``.
        loss: of outputs, a scalar.
        inputs: ``(N, D)``.
        rate: of learning.
        updates: how many.
    """
    own = [p.clone().requires_grad_(True) for p in parameters]
    at = np.unique(np.concatenate([[0], np.geomspace(1, updates, RECORDED).round()]).astype(int))
    kept = [own[0].detach().clone()]
    for update in range(1, updates + 1):
        gradients = torch.autograd.grad(loss(outputs(own, inputs)), own)
        with torch.no_grad():
            for p, g in zip(own, gradients, strict=True):
                p.sub_(rate * g)
        if update in at:
            kept.append(own[0].detach().clone())
    return Trajectory(torch.stack(kept), torch.from_numpy(at), outputs(own, inputs).detach(), rate)


def linear(parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Return ``X Wᵀ`` for one weight ``(C, D)``."""
    return inputs @ parameters[0].T


def two_layers(parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Return the logits of a network of one hidden layer, from its two weights and biases."""
    first, bias, second, last = parameters
    return F.relu(inputs @ first.T + bias) @ second.T + last


def data_of(problem: Problem, examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return normalised training inputs ``(n, D)`` and labels: four fifths of them at most, drawn anew for each seed."""
    n = min(examples, len(problem.train) * 4 // 5)
    rows = torch.randperm(len(problem.train), generator=torch_stream(seed, "eigenspace"))[:n]
    mean, std = problem.statistics
    return normalise(problem.train.inputs.rows(rows), mean, std).flatten(1).double(), problem.train.labels[rows]


def squared(inputs: Tensor, labels: Tensor, classes: int, updates: int) -> Curves:
    """Descend on squared errors with a linear model from zero: teacher on labels, student on what the teacher answers."""
    spectrum = eigendirections(inputs)
    rate = STEP / float(spectrum.values[0])
    targets = F.one_hot(labels, classes).double()
    zero = inputs.new_zeros(classes, inputs.shape[1])

    def taught_by(target: Tensor) -> Trajectory:
        def loss(y: Tensor) -> Tensor:
            return 0.5 * (y - target).square().sum() / len(target)

        return descend([zero], linear, loss, inputs, rate=rate, updates=updates)

    teacher = taught_by(targets)
    student = taught_by(teacher.outputs)
    goal = torch.linalg.lstsq(inputs, targets, driver="gelsd").solution.T
    kept = _kept(spectrum)
    seen = [progress(t.weights, zero, goal, kept.vectors) for t in (teacher, student)]
    times = rate * teacher.updates.double()
    predicted = flow_progress(kept.values, times), flow_progress(kept.values, times, taught_by=rate * updates)
    return Curves(seen[0], seen[1], predicted, kept)


def softmax(
    inputs: Tensor, labels: Tensor, classes: int, updates: int, seed: int, *, hidden: bool, temperature: float
) -> Curves:
    """Descend on cross-entropy: teacher on labels, student from the same weights on the teacher's answers at T.

    Progress is measured against where the teacher ends.
    """
    spectrum = eigendirections(inputs)
    start, outputs = [inputs.new_zeros(classes, inputs.shape[1])], linear
    if hidden:
        with seeded(seed, "init"):
            model = MLP(classes, input_shape=(inputs.shape[1],), widths=(WIDTH,))
        start, outputs = [p.detach().to(inputs) for p in model.parameters()], two_layers
    rate = SOFT_STEP / float(spectrum.values[0])
    teacher = descend(start, outputs, lambda z: F.cross_entropy(z, labels), inputs, rate=rate, updates=updates)
    soft = log_soften(teacher.outputs, temperature)

    def distil(z: Tensor) -> Tensor:
        return temperature**2 * kl(soft, log_soften(z, temperature)).mean()

    student = descend(start, outputs, distil, inputs, rate=rate, updates=updates)
    kept = _kept(spectrum)
    goal = teacher.weights[-1]
    seen = [progress(t.weights, start[0], goal, kept.vectors) for t in (teacher, student)]
    return Curves(seen[0], seen[1], None, kept)


def _kept(spectrum: Spectrum) -> Spectrum:
    """Return the first direction and those shown."""
    rows = torch.tensor([0, *(k - 1 for k in DIRECTIONS if k <= len(spectrum.values))])
    return Spectrum(spectrum.values[rows], spectrum.vectors[:, rows])


def curves_of(model: str, problem: Problem, examples: int, updates: int, seed: int) -> Curves:
    """Return teacher's and student's progress for one of `MODELS`."""
    inputs, labels = data_of(problem, examples, seed)
    if model == "linear-squared":
        return squared(inputs, labels, problem.classes, updates)
    hidden = model.startswith("mlp")
    return softmax(inputs, labels, problem.classes, updates, seed, hidden=hidden, temperature=SOFTMAX[model])


def eigenspace(job: Job) -> Finding:
    """Train linear models and MLPs by full-batch descent, and hold the student's progress against the teacher's."""
    words, problem = reading.problem_of(job, None)
    if job.images is None:
        words = {"name": "digits"}
        problem = digits_problem()
    size = size_of(job, "deviations/eigenspace")
    seeds, examples = size.seeds, size.examples or 0
    found: dict[str, list[Curves]] = {}
    for model in job.choices.get("model") or MODELS:
        updates = job.epochs or UPDATES[model]
        job.say(f"{model}: {updates} full batches, {seeds} seeds")
        found[model] = [curves_of(model, problem, examples, updates, seed) for seed in range(seeds)]
    rows = {model: ratios(curves) for model, curves in found.items()}
    said = []
    for model, row in rows.items():
        behind = sum(measured.high < 1 for _, measured, _ in row)
        ahead = sum(measured.low > 1 for _, measured, _ in row)
        said.append(f"{model}: behind on {behind} and ahead on {ahead} of {len(row)} directions")
    known = [(abs(m.mean - p.mean)) for m, p in ((m, p) for row in rows.values() for _, m, p in row) if p is not None]
    close = f" Where gradient flow predicts the ratio, it differs by {max(known):.4f} at most." if known else ""
    counts = ", ".join(f"{model} {job.epochs or UPDATES[model]}" for model in found)
    verdict = f"Where both have come equally far along the first direction, the student is {'; '.join(said)}.{close}"
    rates = {"step": f"{STEP:g}", "soft_step": f"{SOFT_STEP:g}"}
    claim = claim_of("deviations/eigenspace", counts=counts, **rates)
    return Finding(
        "deviations/eigenspace",
        claim.text,
        verdict,
        (
            f"Data: {problem.describe()}; each seed takes up to {examples} of them, four fifths at most, anew.",
            *(f"Data: {note}." for note in problem.notes),
            *claim.departures,
        ),
        (_grid(rows, found, seeds),),
        {f"progress: {model}": _chart(model, curves[0]) for model, curves in found.items()},
        {model: [_plain(c) for c in curves] for model, curves in found.items()} | {"problem": {"words": words}},
    )


def ratios(curves: Sequence[Curves]) -> list[tuple[int, Estimate, Estimate | None]]:
    """Return, for each direction below the first, its number and the measured and predicted ratio over seeds."""
    numbers = DIRECTIONS[: curves[0].teacher.shape[1] - 1]
    found = []
    for i, number in enumerate(numbers, start=1):
        own = mean_interval([float(c.ratio[i]) for c in curves])
        flows = [c.predicted_ratio for c in curves]
        predicted = None if flows[0] is None else mean_interval([float(g[i]) for g in flows if g is not None])
        found.append((number, own, predicted))
    return found


# Model, place of the direction among those kept, and what `ratios` says of it.
Row = tuple[str, int, tuple[int, Estimate, Estimate | None]]


def _grid(
    rows: Mapping[str, Sequence[tuple[int, Estimate, Estimate | None]]], found: Mapping[str, Sequence[Curves]], n: int
) -> Grid:
    def share(row: Row) -> str:
        model, i, _ = row
        return f"{np.mean([float(c.spectrum.values[i] / c.spectrum.values[0]) for c in found[model]]):.4f}"

    def end(row: Row, who: str) -> str:
        model, i, _ = row
        return f"{np.mean([float(getattr(c, who)[-1, i]) for c in found[model]]):.3f}"

    def told(measured: Estimate) -> str:
        said = "behind" if measured.high < 1 else "ahead" if measured.low > 1 else "not told apart"
        return said if measured.n > 1 else "one seed"

    columns: dict[str, Callable[[Row], str]] = {
        "model": lambda row: row[0],
        "direction": lambda row: str(row[2][0]),
        "eigenvalue / first": share,
        "student / teacher": lambda row: written(row[2][1], 3),
        "predicted": lambda row: "-" if (e := row[2][2]) is None else written(e, 3),
        **each({"teacher's end": "teacher", "student's end": "student"}, end),
        "student is": lambda row: told(row[2][1]),
    }
    cells = [(model, i, ratio) for model, row in rows.items() for i, ratio in enumerate(row, start=1)]
    note = (
        "Student's over teacher's progress along a direction, means over the progress along the first that both pass; "
        "[95% t "
        "interval over seeds, which are overlapping subsets of one data set]. Progress: share of the way to the "
        "least-squares solution, or to where the teacher of "
        "cross-entropy ends. Predicted by gradient flow, for squared errors alone."
    )
    return grid(f"At equal progress along the first direction (n = {n} seeds)", cells, columns, note)


def _plain(c: Curves) -> dict[str, Any]:
    predicted = {} if c.predicted is None else {"predicted": [p.tolist() for p in c.predicted]}
    return {
        "eigenvalues": c.spectrum.values.tolist(),
        "teacher": c.teacher.tolist(),
        "student": c.student.tolist(),
        **predicted,
    }


def _chart(model: str, c: Curves) -> str:
    """Return progress along lower directions against that along the first, one panel per direction; predictions dashed."""
    kinds = {"teacher": (c.teacher, "measured"), "student": (c.student, "measured")}
    if c.predicted is not None:
        kinds |= {"teacher ": (c.predicted[0], "predicted"), "student ": (c.predicted[1], "predicted")}
    rows = [
        {"network": who.strip(), "curve": curve, "step": step, "direction": f"direction {DIRECTIONS[k - 1]}",
         "first": round(float(values[step, 0]), 5), "progress": round(float(values[step, k]), 5)}
        for who, (values, curve) in kinds.items()
        for k in range(1, values.shape[1])
        for step in range(len(values))
    ]  # fmt: skip
    drawn = lines(
        channel("first:Q", "progress along direction 1"), channel("progress:Q", "progress along this one"), look={},
        color=channel("network:N", None), strokeDash=channel("curve:N", None), order="step:Q",
    )  # fmt: skip
    facet = channel("direction:N", model, sort=[f"direction {k}" for k in DIRECTIONS])
    return spec(chart(rows, drawn, size=(200, 180), facet=facet, columns=3, apart=["y"]))
