"""What is saved of a finished teacher beside its held-out logits, so that it can be judged without its network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from goodteacher.base.input_spec import InputSpec
from goodteacher.data.folds import assign_folds
from goodteacher.data.loader import plain_batches
from goodteacher.data.problem import Problem, SplitName
from goodteacher.maps.table import parse_map
from goodteacher.models.adapt import seen_by
from goodteacher.models.taps import TappedModel
from goodteacher.study.answers import Answers
from goodteacher.study.planned import Plan
from goodteacher.study.run import Run
from goodteacher.study.runspec import RunSpec
from goodteacher.study.store import Store
from goodteacher.train.checkpoint import save_tensors
from goodteacher.train.infer import predict
from goodteacher.train.precision import Precision, lay_out
from goodteacher.train.probe import local_lipschitz, view_logits

# Augmented views of the examples that consistency is measured on (METHODS: k = 8).
VIEWS = 8
VIEWED = 500
PERTURBED = 32
# Inputs kept with a run to recognise its rebuilt network by.
CHECKED = 4


def further_outputs(
    spec: RunSpec,
    model: nn.Module,
    problem: Problem,
    *,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
    table: Tensor | None = None,
    inputs: InputSpec | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Return what else a finished run saves, by file name.

    Args:
        spec: the run's.
        model: with the kept weights.
        problem: the whole, whatever fold the run was trained without.
        precision: of forward passes.
        device: where the model is.
        table: averages of its predictions in training, ``(examples, C)``.
        inputs: what the network expects to see; None for what the problem makes.

    Returns:
        ``fold``: logits of the fold it never saw, with its rows. ``train``: logits of the training inputs where
        their truth or further votes are known. ``table``: averages of its predictions in training. ``check``: a few inputs as
        the network sees them with its logits, by which a rebuilt network is recognised.
    """
    found: dict[str, dict[str, Tensor]] = {}
    check = _check(model, problem, inputs, device)
    if check is not None:
        found["check"] = check
    judged = problem.train.truth is not None or problem.train.votes is not None
    if spec.fold is not None or (spec.kind == "teacher" and judged):
        logits = predict(model, problem, "train", precision=precision, device=device, spec=inputs)
        if spec.fold is not None:
            rows = (assign_folds(problem.train.labels, spec.fold[1], spec.seed) == spec.fold[0]).nonzero().flatten()
            found["fold"] = {"rows": rows, "logits": logits[rows], "labels": problem.train.labels[rows]}
        else:
            found["train"] = {"logits": logits}
    if table is not None:
        found["table"] = {"probabilities": table.cpu()}
    return found


@torch.no_grad()
def _check(
    model: nn.Module, problem: Problem, spec: InputSpec | None, device: torch.device | str
) -> dict[str, Tensor] | None:
    """Return a few inputs as a network sees them with its logits in fp32, or None for one that answers differently each time."""
    few = next(plain_batches(problem, "validation", batch_size=CHECKED, device=device))
    seen = seen_by(few, spec).inputs
    tapped, was_training = TappedModel(model), model.training
    model.eval()
    logits, again = (tapped(seen).logits.float() for _ in range(2))
    model.train(was_training)
    return {"inputs": seen.cpu(), "logits": logits.cpu()} if torch.equal(logits, again) else None


def save_probes(run: Run, problem: Problem, device: str = "cpu") -> None:
    """Measure a network around its validation inputs, unless that is done: it may take longer than training did.

    What is saved as ``probes``: logits of augmented views, where inputs can be augmented, and local Lipschitz estimates.

    Args:
        run: finished, on this problem.
        problem: its data.
        device: to compute on.
    """
    if run.extra("probes") is not None:
        return
    model, spec = lay_out(run.model.to(device)), run.input_spec
    found = dict(local_lipschitz(model, problem, "validation", limit=PERTURBED, device=device, spec=spec))
    views = view_logits(
        model, problem, "validation", views=VIEWS, limit=VIEWED, precision=run.result.precision, device=device, spec=spec,
    )  # fmt: skip
    if views is not None:
        found["views"] = views
    save_tensors(run.path / "outputs" / "probes.safetensors", found)


def save_held_out(plan: Plan, problem: Problem, store: Store, device: str) -> None:
    """Save what finished teachers answer on a plan's held-out examples, where that is not there yet.

    A run trained on another problem has outputs of that problem alone; where a target map averages over augmented views, those
    are needed too; and probes where the study asks for them.
    """
    for teaching in plan.teachers.values():
        views = parse_map(teaching.target_map).views
        for run_id in teaching.runs:
            if store.has(run_id):
                run = store.run(run_id)
                _save_outputs(run, problem, plan.facts.fingerprint, device)
                if views:
                    _save_views(run, views, problem, plan.facts.fingerprint, device)
                if plan.study.probes and run.spec.problem == plan.facts.fingerprint:
                    save_probes(run, problem, device)


def _save_outputs(run: Run, problem: Problem, fingerprint: str, device: str) -> None:
    path = run.outputs_file("kept", fingerprint)
    if path.exists():
        return
    model, precision = lay_out(run.model.to(device)), run.result.precision
    held_out: tuple[SplitName, ...] = ("validation", "test")
    save_tensors(
        path,
        {s: predict(model, problem, s, precision=precision, device=device, spec=run.input_spec) for s in held_out},
    )


def _save_views(run: Run, views: int, problem: Problem, fingerprint: str, device: str) -> None:
    path = run.outputs_file(f"views{views}", fingerprint)
    if path.exists():
        return
    model = lay_out(run.model.to(device))
    stacks: dict[str, Tensor] = {}
    for split in ("validation", "test"):
        part = problem.split(split)
        stack = view_logits(
            model, problem, split, views=views, limit=len(part), precision=run.result.precision, device=device,
            spec=run.input_spec,
        )  # fmt: skip
        if stack is None:
            stack = torch.stack([predict(model, problem, split, device=device, spec=run.input_spec)] * views)
        stacks[split] = stack
    save_tensors(path, stacks)


def out_of_fold(answers: Answers) -> tuple[Tensor, Tensor] | None:
    """Return cross-fitted logits of the whole training split in its order, with labels, where a teacher has folds."""
    if answers.teaching.how != "folds":
        return None
    parts = [part for run in answers.runs if (part := run.extra("fold")) is not None]
    rows = torch.cat([part["rows"] for part in parts]).argsort()
    return torch.cat([part["logits"] for part in parts])[rows], torch.cat([part["labels"] for part in parts])[rows]
