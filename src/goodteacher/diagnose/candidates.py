"""From saved answers to a candidate with all the evidence there is about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError
from goodteacher.base.probability import log_probabilities
from goodteacher.base.types import Logits
from goodteacher.data.problem import Problem
from goodteacher.diagnose.ranking import Candidate, Evidence
from goodteacher.maps.table import parse_map, written_out
from goodteacher.study.answers import Answers
from goodteacher.study.names import check_given
from goodteacher.study.outputs import out_of_fold
from goodteacher.study.planned import Given
from goodteacher.study.run import Run
from goodteacher.study.seen import check_unseen
from goodteacher.study.spec import Named
from goodteacher.study.store import Store
from goodteacher.study.teaching import Teaching
from goodteacher.train.infer import predict


def candidate_of(name: str, seeds: Mapping[int, Answers], targets: Mapping[str, Tensor]) -> Candidate:
    """Return a candidate teacher.

    Args:
        name: for people.
        seeds: to the answers of the teacher of that seed.
        targets: labels, and where known truth and votes, of the problem's splits.

    Returns:
        The candidate, judged by what it hands over after its target map.
    """
    answers = list(seeds.values())
    is_mapped = any(list(a.teaching.target_map) != ["identity"] for a in answers)
    votes, truth = targets.get("train.votes"), targets.get("train.truth")
    handed = [_handed_over(a, targets) for a in answers]
    evidence = Evidence(
        views=tuple(_views(a) for a in answers),
        lipschitz=tuple(_lipschitz(a) for a in answers),
        out_of_fold=tuple(_out_of_fold(a) for a in answers),
        in_sample=tuple(None if votes is None or z is None else (z, votes) for z in handed),
        taught=tuple(None if truth is None or z is None else (z, truth) for z in handed),
        truth=targets.get("validation.truth"),
        votes=targets.get("validation.votes"),
        unmapped=tuple(a.plain("validation") for a in answers) if is_mapped else (),
    )
    logits = tuple(a.mapped("validation") for a in answers)
    return Candidate(name, logits, targets["validation.labels"], tuple(seeds), evidence)


def _probes(answers: Answers) -> dict[str, Tensor]:
    """Return what was measured around the inputs of the one network behind a teacher; nothing for several."""
    return (answers.runs[0].extra("probes") or {}) if answers.teaching.how == "network" else {}


def _views(answers: Answers) -> Tensor | None:
    views = _probes(answers).get("views")
    return None if views is None else answers.map(views.flatten(0, 1)).view_as(views)


def _lipschitz(answers: Answers) -> dict[str, Tensor] | None:
    """Return the estimates of the network itself, before any map."""
    return {kind: values for kind, values in _probes(answers).items() if kind != "views"} or None


def _out_of_fold(answers: Answers) -> tuple[Logits, Tensor] | None:
    found = out_of_fold(answers)
    return None if found is None else (answers.map(found[0]), found[1])


def _handed_over(answers: Answers, targets: Mapping[str, Tensor]) -> Logits | None:
    """Return ``(examples, C)`` logits that a student is taught on training inputs without augmentation, where they are saved."""
    how, labels = answers.teaching.how, targets.get("train.labels")
    if how == "folds":
        found = out_of_fold(answers)
        return None if found is None else answers.map(found[0], labels)
    if how == "filter":
        table = answers.runs[0].extra("table")
        return None if table is None else answers.map(log_probabilities(table["probabilities"]), labels)
    train = answers.runs[0].extra("train") if how == "network" else None
    own = answers.runs[0].targets.get("train.labels")
    if train is None or labels is None or own is None or not torch.equal(labels, own):
        return None  # nothing saved, or a teacher of other training examples, such as a part of these
    return answers.map(train["logits"], labels)


def candidates(
    groups: Mapping[str, Sequence[Run]],
    problem: Problem | None = None,
    *,
    maps: Sequence[Named] = (),
    device: str = "cpu",
) -> list[Candidate]:
    """Return candidates from runs, each as it is and with each of some target maps; see `goodteacher.rank`."""
    return [
        _candidate(name if spec is None else f"{name}, {_map_name(spec)}", runs, spec, problem, device)
        for name, runs in groups.items()
        for spec in (None, *maps)
    ]


def _map_name(spec: Named) -> str:
    return spec if isinstance(spec, str) else next(iter(spec))


def _candidate(name: str, runs: Sequence[Run], spec: Named | None, problem: Problem | None, device: str) -> Candidate:
    """Return a candidate from saved outputs, or from outputs computed now where they are of another problem."""
    target_map = written_out(spec)
    if problem is None or all(r.spec.problem == problem.fingerprint for r in runs):
        seeds: dict[int, Answers] = {}
        for run in runs:
            seed = run.spec.seed if run.spec.seed not in seeds else len(seeds)
            seeds[seed] = _saved(run, target_map)
        return candidate_of(name, seeds, runs[0].targets)
    for run in runs:
        check_given(Given(run.spec, run.facts), run.id, problem.facts, "rank")
        check_unseen(run, problem)
    if parse_map(target_map).views:
        raise ConfigError(
            "map", rule="that averages views needs the outputs saved with a run", received=next(iter(target_map))
        )
    fitted = [_saved(r, target_map).map for r in runs]
    logits = [predict(r.model.to(device), problem, "validation", device=device, spec=r.input_spec) for r in runs]
    mapped = tuple(m(z) for m, z in zip(fitted, logits, strict=True))
    part = problem.validation
    evidence = Evidence(truth=part.truth, votes=part.votes, unmapped=tuple(logits) if spec is not None else ())
    return Candidate(name, mapped, part.labels, (), evidence)


def _saved(run: Run, target_map: dict[str, Any]) -> Answers:
    """Return a run's answers on its own problem, under a target map."""
    return Answers(
        Teaching("network", (run.id,), target_map=target_map), Store(run.root), run.targets, run.spec.problem
    )


def candidate_name(run: Run) -> str:
    """Return a short name of a run for a ranking."""
    loss = " + ".join(run.spec.loss)
    keep = "" if run.spec.keep == "last" else f", {run.spec.keep}"
    return f"{run.spec.model_name} {loss}{keep} [{run.id[:8]}]"
