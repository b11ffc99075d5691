"""From saved answers to a candidate with all the evidence there is about it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from goodteacher.diagnose.ranking import Candidate, Evidence
from goodteacher.study.answers import Answers
from goodteacher.study.evidence import out_of_fold


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
    folds = [found for a in answers if (found := out_of_fold(a)) is not None]
    probes = [a.runs[0].extra("probes") or {} if len(a.runs) == 1 else {} for a in answers]
    lipschitz = [{k: v for k, v in p.items() if k != "views"} for p in probes]
    evidence = Evidence(
        views=tuple(
            a.map(p["views"].flatten(0, 1)).view_as(p["views"])
            for a, p in zip(answers, probes, strict=True)
            if "views" in p
        ),
        lipschitz=tuple(item for item in lipschitz if item),
        out_of_fold=tuple((a.map(z), y) for a, (z, y) in zip(answers, folds, strict=False)),
        in_sample=_in_sample(answers, targets),
        truth=targets.get("validation.truth"),
        votes=targets.get("validation.votes"),
        unmapped=tuple(a.plain("validation") for a in answers) if answers[0].teaching.target_map != PLAIN else (),
    )
    logits = tuple(a.mapped("validation") for a in answers)
    return Candidate(name, logits, targets["validation.labels"], tuple(seeds), evidence)


PLAIN: dict[str, dict[str, object]] = {"identity": {}}


def _in_sample(answers: list[Answers], targets: Mapping[str, Tensor]) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return logits on training inputs with votes that know nothing of the label trained on, where there are any."""
    votes = targets.get("train.votes")
    if votes is None:
        return ()
    found = []
    for a in answers:
        train = a.runs[0].extra("train") if len(a.runs) == 1 else None
        if train is not None:
            found.append((a.map(train["logits"], targets["train.labels"]), votes))
    return tuple(found)
