"""What became of one student: how it follows its teacher, how it deviates, and where it beats it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from goodteacher.base.checks import check_labels
from goodteacher.base.errors import ConfigError
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.base.stats import Estimate, holm, mean_interval
from goodteacher.base.types import Batch, FrozenTeacher, Labels, Logits
from goodteacher.diagnose.agreement import Fidelity, fidelity, top1_agreement
from goodteacher.diagnose.calibration import confidence_gaps, expected_calibration_error
from goodteacher.diagnose.deviation import LEAST, VERSIONS, Deviation, deviation, deviations
from goodteacher.study.answers import Answers
from goodteacher.study.run import Run
from goodteacher.study.store import Store
from goodteacher.study.teaching import Teaching
from goodteacher.train.frozen import answer_all

BANDS = 5


@dataclass(frozen=True)
class Part:
    """Answers of a teacher and its student to the same examples.

    Attributes:
        name: ``train``, ``augmented train``, ``validation`` or ``test``.
        teacher: ``(N, C)`` logits as they are handed over, after the target map.
        student: ``(N, C)`` logits.
        labels: ``(N,)``.
    """

    name: str
    teacher: Logits
    student: Logits
    labels: Labels


@dataclass(frozen=True)
class Contest:
    """Who is right, example by example.

    Attributes:
        both: examples that both get right.
        teacher_only: that the teacher alone gets right.
        student_only: that the student alone gets right.
        neither: that nobody does.
        difference: student's accuracy minus teacher's, paired by example.
        p: exact two-sided p of "the two kinds of disagreement are equally likely" (McNemar); 1 where there are none.
    """

    both: int
    teacher_only: int
    student_only: int
    neither: int
    difference: Estimate
    p: float


@dataclass(frozen=True)
class Group:
    """A contest on some of the examples.

    Attributes:
        name: of a class, or of a band of the teacher's confidence.
        confidence: mean top probability of the teacher.
        teacher: its accuracy.
        student: its accuracy.
        agreement: share for which both name the same class.
        contest: who is right.
        holm: p of the contest, corrected for all groups of its kind.
    """

    name: str
    confidence: float
    teacher: float
    student: float
    agreement: float
    contest: Contest
    holm: float


@dataclass(frozen=True)
class Explanation:
    """Everything about a student and its teacher on one split.

    Attributes:
        part: what it is of.
        fidelity: agreement and divergence.
        deviations: version (``log_odds``, ``margin``), then which examples, to the deviation; empty for few examples.
        exchanged: the deviation of the teacher from the student, log odds; None for few examples.
        scores: ``teacher`` and ``student`` to accuracy, nll, brier, ece, and the ece's over- and underconfident parts.
        contest: who is right.
        bands: the same by fifths of the teacher's confidence, lowest first.
        classes: the same class by class.
    """

    part: Part
    fidelity: Fidelity
    deviations: Mapping[str, Mapping[str, Deviation]]
    exchanged: Deviation | None
    scores: Mapping[str, Mapping[str, float]]
    contest: Contest
    bands: tuple[Group, ...]
    classes: tuple[Group, ...]


def contest(teacher: Logits, student: Logits, labels: Labels) -> Contest:
    r"""Return who is right, example by example.

    .. math:: p = \Pr\left(|B - n/2| \ge |b - n/2|\right), \quad B \sim \mathrm{Bin}(n, 1/2)

    with b examples that the student alone gets right, of n that one of the two does.

    Args:
        teacher: ``(N, C)``.
        student: ``(N, C)``.
        labels: ``(N,)``.

    Returns:
        Counts, the paired difference of accuracies with a t interval over examples, and p.

    Source: McNemar (1947), in its exact form.
    """
    check_labels(labels, examples=teacher.shape[0], classes=teacher.shape[1])
    t, s = teacher.argmax(dim=1) == labels, student.argmax(dim=1) == labels
    only = int((t & ~s).sum()), int((s & ~t).sum())
    p = float(binomtest(only[1], sum(only)).pvalue) if sum(only) else 1.0
    difference = mean_interval((s.double() - t.double()).tolist())
    return Contest(int((t & s).sum()), *only, int((~t & ~s).sum()), difference, p)


def scores_of(logits: Logits, labels: Labels) -> dict[str, float]:
    """Return accuracy, proper scores and calibration errors at T = 1."""
    log_p = log_soften(logits.double())
    p = log_p.exp()
    over, under = confidence_gaps(p, labels)
    return {
        "accuracy": float((logits.argmax(dim=1) == labels).double().mean()),
        "nll": float(nll(log_p, labels).mean()),
        "brier": float(brier_score(p, labels).mean()),
        "ece": expected_calibration_error(p, labels),
        "overconfident": over,
        "underconfident": under,
    }


def explain(part: Part, class_names: Sequence[str]) -> Explanation:
    """Return everything about a student and its teacher on one split.

    Args:
        part: their answers.
        class_names: C names.

    Returns:
        The explanation; all intervals are over examples, of these two networks.

    Raises:
        ShapeError: if shapes differ.
    """
    teacher, student, labels = part.teacher, part.student, part.labels
    found: dict[str, Mapping[str, Deviation]] = {}
    enough = len(labels) >= LEAST
    if enough:
        found = {str(version): deviations(teacher, student, labels, version=version) for version in VERSIONS}
    confidence = log_soften(teacher.double()).amax(dim=1).exp()
    bands = confidence.argsort(stable=True).tensor_split(min(BANDS, len(labels)))
    named = [(f"fifth {i} of the teacher's confidence", rows) for i, rows in enumerate(bands, start=1)]
    classes = [(name, (labels == c).nonzero().squeeze(1)) for c, name in enumerate(class_names)]
    return Explanation(
        part,
        fidelity(teacher, student),
        found,
        deviation(student, teacher) if enough else None,
        {"teacher": scores_of(teacher, labels), "student": scores_of(student, labels)},
        contest(teacher, student, labels),
        _groups(part, confidence, named),
        _groups(part, confidence, classes),
    )


def _groups(part: Part, confidence: Tensor, named: Sequence[tuple[str, Tensor]]) -> tuple[Group, ...]:
    present = [(name, rows) for name, rows in named if len(rows)]
    contests = [contest(part.teacher[r], part.student[r], part.labels[r]) for _, r in present]
    found = []
    for (name, rows), c, p in zip(present, contests, holm([c.p for c in contests]), strict=True):
        n = len(rows)
        same = float(top1_agreement(part.teacher[rows], part.student[rows]).mean())
        sure = float(confidence[rows].mean())
        found.append(Group(name, sure, (c.both + c.teacher_only) / n, (c.both + c.student_only) / n, same, c, p))
    return tuple(found)


def teaching_of(run: Run) -> Teaching:
    """Return who taught a run.

    Raises:
        ConfigError: if nobody did.
    """
    kind, teaching = run.spec.kind, run.spec.teaching
    if kind != "student" or teaching is None:
        raise ConfigError(
            f"run {run.id}",
            rule="must be a student that was taught, to be explained by its teacher",
            received=f"a {kind} without one" if teaching is None else f"a {kind}",
            remedy="see goodteacher list runs",
        )
    return teaching


def saved_parts(run: Run) -> list[Part]:
    """Return the answers of a student and its teacher on validation and test, from what is saved; no data are needed.

    Raises:
        ConfigError: if the run was not taught.
        StoreError: if outputs are missing.
    """
    answers = Answers(teaching_of(run), Store(run.root), run.targets, run.spec.problem)
    return [
        Part(split, answers.mapped(split).float(), run.outputs(split), run.targets[f"{split}.labels"])
        for split in ("validation", "test")
    ]


def answered(name: str, student: FrozenTeacher, teacher: FrozenTeacher, batches: Iterable[Batch]) -> Part:
    """Return the answers of a frozen student and of its teacher to batches.

    Args:
        name: of the part.
        student: the network, frozen.
        teacher: with the views that it needs in the batches.
        batches: where both are.

    Returns:
        Logits on the CPU, in the order of the batches.
    """
    rows = []
    for batch in batches:
        answers = answer_all([(teacher, frozenset()), (student, frozenset())], batch)
        logits = (answers[id(who)].logits.float().cpu() for who in (teacher, student))
        rows.append((*logits, batch.labels.cpu()))
    teacher_logits, student_logits, labels = (torch.cat(column) for column in zip(*rows, strict=True))
    return Part(name, teacher_logits, student_logits, labels)


def _deviates(seen: Deviation, exchanged: Deviation | None) -> str:
    """Say which confidences are exaggerated, in what share, and how much of it the teacher shows against the student."""
    sides = (
        (seen.underfits_low, "less sure", "least", "underfit"),
        (seen.overfits_high, "surer", "most", "overfit"),
    )
    shares = []
    for holds, word, where, share in sides:
        if holds:
            back = "" if exchanged is None else f", {getattr(exchanged, share).mean:.0%} with the roles exchanged"
            shares.append(
                f"{word} on {getattr(seen, share).mean:.0%} of the third where its teacher is {where} sure{back}"
            )
    return f"it {seen.words} ({'; '.join(shares)})" if shares else seen.words


def conclusion_of(explanations: Sequence[Explanation]) -> str:
    """Return in words what the explanations of a run say, the last of them in full."""
    said = []
    for e in explanations:
        seen = e.deviations.get("log_odds", {}).get("all")
        if seen is not None:
            share = f"{e.fidelity.agreement.mean:.1%} of {seen.points} examples"
            said.append(
                f"On {e.part.name} the student agrees with its teacher on {share}; {_deviates(seen, e.exchanged)}."
            )
    last = explanations[-1]
    c = last.contest
    told = "told apart" if c.p < 0.05 else "not told apart"
    said.append(
        f"On {last.part.name} it is right on {c.student_only} examples where its teacher is wrong and wrong on "
        f"{c.teacher_only} where its teacher is right: {100 * c.difference.mean:+.2f} points (McNemar p = {c.p:.3g}, {told})."
    )
    shown = [g for g in last.classes if g.holm < 0.05]
    for word, side in (("better", 1), ("worse", -1)):
        names = [g.name for g in shown if np.sign(g.contest.difference.mean) == side]
        if names:
            said.append(f"It is {word} than its teacher on {', '.join(names)} (Holm over classes).")
    return " ".join(said)
