"""From saved answers to a candidate with all the evidence there is about it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from goodteacher.base.probability import log_probabilities
from goodteacher.base.types import Logits
from goodteacher.diagnose.ranking import Candidate, Evidence
from goodteacher.study.answers import Answers
from goodteacher.study.outputs import out_of_fold


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
