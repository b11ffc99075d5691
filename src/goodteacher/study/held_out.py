"""A run's answers on held-out test examples: its own problem's, from what is saved, or another problem's, computed now."""

from __future__ import annotations

import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError
from goodteacher.data.facts import Facts
from goodteacher.data.problem import Problem
from goodteacher.study.names import check_given
from goodteacher.study.planned import Given
from goodteacher.study.run import Run
from goodteacher.study.seen import training_rows
from goodteacher.train.infer import predict


def held_out(
    run: Run, problem: Problem | None = None, *, device: str = "cpu"
) -> tuple[Tensor, Tensor, Facts, list[str]]:
    """Return a run's logits on a test split with the labels.

    Args:
        run: finished.
        problem: whose test split is meant; by default the run's own, which needs no data.
        device: to compute on.

    Returns:
        Logits ``(N, C)``, labels ``(N,)``, the facts of the problem, and what must be said beside the scores. Examples that the
        run was trained on are left out.

    Raises:
        ConfigError: if the run does not fit the problem.
    """
    if problem is None or problem.fingerprint == run.spec.problem:
        return run.outputs("test"), run.targets["test.labels"], run.facts, []
    check_given(Given(run.spec, run.facts), run.id, problem.facts, "evaluate")
    logits = predict(run.model.to(device), problem, "test", device=device, spec=run.input_spec)
    labels, said = problem.test.labels, []
    trained = training_rows(run)
    if trained is None:
        said.append("Which examples the run was trained on is not written down: these scores may not be held-out.")
        return logits, labels, problem.facts, said
    seen = torch.isin(problem.hashes["test"], trained)
    if bool(seen.all()):
        raise ConfigError(
            f"run {run.id}", rule="must be scored on examples it was not trained on", received="none are left"
        )
    if bool(seen.any()):
        logits, labels = logits[~seen], labels[~seen]
        said.append(f"{int(seen.sum())} of {len(seen)} test examples are left out: the run was trained on them.")
    return logits, labels, problem.facts, said
