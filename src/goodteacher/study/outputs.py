"""What is saved of a finished teacher beside its held-out logits, so that it can be judged without its network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from goodteacher.data.folds import assign_folds
from goodteacher.data.problem import Problem
from goodteacher.maps.table import parse_map
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


def teacher_evidence(
    spec: RunSpec,
    model: nn.Module,
    problem: Problem,
    *,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
    table: Tensor | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Return what else a finished run saves, by file name.

    Args:
        spec: the run's.
        model: with the kept weights.
        problem: the whole, whatever fold the run was trained without.
        precision: of forward passes.
        device: where the model is.
        table: averages of its predictions in training, ``(examples, C)``.

    Returns:
        For a teacher ``probes``: logits of augmented validation views, where inputs can be augmented, and local Lipschitz
        estimates. ``fold``: logits of the fold it never saw, with its rows. ``train``: logits of the training inputs where
        their truth or further votes are known. ``table``: averages of its predictions in training.
    """
    found: dict[str, dict[str, Tensor]] = {}
    judged = problem.train.truth is not None or problem.train.votes is not None
    if spec.kind == "teacher":
        found["probes"] = dict(local_lipschitz(model, problem, "validation", limit=PERTURBED, device=device))
        views = view_logits(model, problem, "validation", views=VIEWS, limit=VIEWED, precision=precision, device=device)
        if views is not None:
            found["probes"]["views"] = views
    if spec.fold is not None or (spec.kind == "teacher" and judged):
        logits = predict(model, problem, "train", precision=precision, device=device)
        if spec.fold is not None:
            rows = (assign_folds(problem.train.labels, spec.fold[1], spec.seed) == spec.fold[0]).nonzero().flatten()
            found["fold"] = {"rows": rows, "logits": logits[rows], "labels": problem.train.labels[rows]}
        else:
            found["train"] = {"logits": logits}
    if table is not None:
        found["table"] = {"probabilities": table.cpu()}
    return found


def save_views(plan: Plan, problem: Problem, store: Store, device: str) -> None:
    """Save the augmented views of finished teachers whose target map averages over them, where they are not there yet."""
    for teaching in plan.teachers.values():
        views = parse_map(teaching.target_map).views
        for run_id in teaching.runs if views else ():
            if store.has(run_id):
                _save_views(store.run(run_id), views, problem, device)


def _save_views(run: Run, views: int, problem: Problem, device: str) -> None:
    path = run.path / "outputs" / f"views{views}.safetensors"
    if path.exists():
        return
    model = lay_out(run.model.to(device))
    stacks: dict[str, Tensor] = {}
    for split in ("validation", "test"):
        part = problem.split(split)
        stack = view_logits(
            model, problem, split, views=views, limit=len(part), precision=run.result.precision, device=device
        )
        if stack is None:
            stack = torch.stack([predict(model, problem, split, device=device)] * views)
        stacks[split] = stack
    save_tensors(path, stacks)


def out_of_fold(answers: Answers) -> tuple[Tensor, Tensor] | None:
    """Return cross-fitted logits of the whole training split in its order, with labels, where a teacher has folds."""
    if answers.teaching.how != "folds":
        return None
    parts = [part for run in answers.runs if (part := run.extra("fold")) is not None]
    rows = torch.cat([part["rows"] for part in parts]).argsort()
    return torch.cat([part["logits"] for part in parts])[rows], torch.cat([part["labels"] for part in parts])[rows]
