"""A study's results from its saved outputs: teachers ranked, students compared, predictors judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from goodteacher.base.probability import log_soften
from goodteacher.base.stats import Estimate, holm, mean_interval, paired_difference, spearman, t_test_p
from goodteacher.diagnose.calibration import expected_calibration_error
from goodteacher.diagnose.candidates import candidate_of
from goodteacher.diagnose.distance import distance_to_truth, distance_to_votes
from goodteacher.diagnose.evaluation import class_scores
from goodteacher.diagnose.ranking import PREDICTORS, Candidate, Ranked, rank_candidates
from goodteacher.diagnose.scorecard import DIRECTION
from goodteacher.study.answers import Answers
from goodteacher.study.footprint import Footprint, footprint
from goodteacher.study.run import Run
from goodteacher.study.seen import problem_rows, seen_examples
from goodteacher.study.store import load_study
from goodteacher.study.teaching import Teaching
from goodteacher.train.checkpoint import load_tensors
from goodteacher.train.infer import quick_scores


@dataclass(frozen=True)
class StudentRow:
    """A student arm under a teacher arm, over seeds.

    Attributes:
        student: arm.
        teacher: arm, or None for the student alone.
        accuracy: on test.
        values: test accuracy per seed.
        to_baseline: paired difference to the same student under the baseline teacher; None for the baseline itself.
        to_alone: paired difference to the student alone, where the study has it.
        holm: p of ``to_baseline`` corrected for all of the study's comparisons to the baseline.
        extra: other test scores by name, means over seeds.
        holm_alone: p of ``to_alone`` corrected for all comparisons to students alone.
    """

    student: str
    teacher: str | None
    accuracy: Estimate
    values: tuple[float, ...]
    to_baseline: Estimate | None
    to_alone: Estimate | None
    holm: float
    extra: dict[str, float]
    holm_alone: float = float("nan")


class Results:
    """What a study's folder says.

    Args:
        folder: of the study; runs that are not finished are left out, and counted in ``missing``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store, self.plan = load_study(folder)
        self.study, self.facts = self.plan.study, self.plan.facts
        problem = self.store.root / "problems" / self.facts.fingerprint
        self.targets: dict[str, Tensor] = load_tensors(problem / "targets.safetensors")
        self.missing = [run for run in self.planned if not self.store.has(run)]
        self._runs: dict[str, Run] = {}

    @property
    def planned(self) -> list[str]:
        """Ids of the runs behind teachers and students."""
        taught = [run for who in self.plan.teachers.values() for run in who.runs]
        return list(dict.fromkeys([*taught, *(cell.run for cell in self.plan.cells)]))

    def run(self, run: str) -> Run:
        """Return a run, read once."""
        if run not in self._runs:
            self._runs[run] = self.store.run(run)
        return self._runs[run]

    @property
    def baseline(self) -> str | None:
        """The teacher arm that others are compared to: the study's first."""
        return next(iter(self.study.teachers), None)

    @cached_property
    def answers(self) -> dict[tuple[str, int], Answers]:
        """(teacher arm, seed) to its answers on held-out examples, where its runs are finished; tables among them."""
        found = {}
        for (arm, seed), teaching in self.plan.teachers.items():
            if not set(teaching.runs) & set(self.missing):
                found[arm, seed] = Answers(teaching, self.store, self.targets, self.facts.fingerprint)
        return found

    @cached_property
    def teachings(self) -> dict[str, dict[int, Teaching]]:
        """Teacher arm to seed to who teaches, where networks do and are finished."""
        arms: dict[str, dict[int, Teaching]] = {}
        for (arm, seed), answers in self.answers.items():
            who = answers.teaching
            # A run given by its id teaches every seed, but is one network: it counts once.
            if who.runs and who not in arms.setdefault(arm, {}).values():
                arms[arm][seed] = who
        return {arm: arms[arm] for arm in self.study.teachers if arms.get(arm)}

    def teacher_logits(self, arm: str, seed: int, split: str) -> Tensor:
        """Return what a teacher arm hands over on a split, after its target map, as logits ``(N, C)``."""
        return self.answers[arm, seed].mapped(split)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Teacher arms with all the evidence there is about them on validation; none that was trained on examples of it."""
        return [
            candidate_of(arm, {seed: self.answers[arm, seed] for seed in sorted(seeds)}, self.targets)
            for arm, seeds in self.teachings.items()
            if not any(self._has_seen_validation(run) for who in seeds.values() for run in who.runs)
        ]

    def _has_seen_validation(self, run_id: str) -> bool:
        """Whether a run from another problem was trained on validation examples of this one."""
        run, rows = self.run(run_id), problem_rows(self.store.root, self.facts.fingerprint)
        if rows is None or run.spec.problem == self.facts.fingerprint:
            return False
        found = seen_examples(run, rows)
        return found is not None and found["validation"] > 0

    @cached_property
    def ranked(self) -> list[Ranked]:
        """Teacher arms by the default predictor, best first, from validation alone."""
        return rank_candidates(self.candidates) if self.candidates else []

    def teacher_test_accuracy(self, arm: str) -> Estimate:
        """Return a teacher arm's test accuracy over seeds."""
        labels = self.targets["test.labels"]
        plain = [self.answers[arm, seed].plain("test") for seed in self.teachings[arm]]
        return mean_interval([quick_scores(logits, labels)["accuracy"] for logits in plain])

    def teaching_temperatures(self) -> list[float]:
        """Return the temperatures at which students of this study are taught."""
        found = {1.0}
        for cell in self.plan.cells:
            if cell.run not in self.missing:
                loss = self.run(cell.run).spec.loss
                found |= {float(options["temperature"]) for options in loss.values() if "temperature" in options}
        return sorted(found)

    def distances(self, arm: str) -> dict[str, float]:
        """Return a teacher arm's mean distance to the truth, or to human votes, on test, at each temperature used."""
        known = next((k for k in ("truth", "votes") if f"test.{k}" in self.targets), None)
        if known is None:
            return {}
        reference = self.targets[f"test.{known}"]
        measure = distance_to_truth if known == "truth" else distance_to_votes
        found = {}
        for temperature in self.teaching_temperatures():
            rows = [
                measure(self.teacher_logits(arm, s, "test"), reference, temperature=temperature)
                for s in self.teachings[arm]
            ]
            for name in ("mse", "kl"):
                found[f"{name}@T={temperature:g}"] = float(np.mean([float(r[name].mean()) for r in rows]))
        return found

    @cached_property
    def cost_runs(self) -> dict[str, str]:
        """Name of each arm of one network to a finished run that costs as much to run; arms of one network share it."""
        arms = {f"teacher {arm}": who.network for (arm, _), who in self.plan.teachers.items()}
        arms |= {cell.student: cell.run for cell in self.plan.cells}
        first: dict[str, str] = {}
        found = {}
        for arm, run in arms.items():
            if run is not None and self.store.has(run):
                spec = self.run(run).spec
                found[arm] = first.setdefault(f"{spec.model} {spec.inputs} {sorted(spec.loss)}", run)
        return found

    @cached_property
    def footprints(self) -> dict[str, Footprint]:
        """Name of each arm to what its network costs to run, where that was measured."""
        costs = {arm: footprint(self.run(run)) for arm, run in self.cost_runs.items()}
        return {arm: cost for arm, cost in costs.items() if cost is not None}

    @cached_property
    def is_unbalanced(self) -> bool:
        """Whether one class has three times as many test examples as another: accuracy says little about the rare one then."""
        counts = torch.bincount(self.targets["test.labels"], minlength=self.facts.classes)
        return int(counts.max()) > 3 * int(counts.min())

    @cached_property
    def student_values(self) -> dict[tuple[str, str | None], dict[int, dict[str, float]]]:
        """(student arm, teacher arm) to seed to test scores, of finished runs."""
        labels = self.targets["test.labels"]
        cells: dict[tuple[str, str | None], dict[int, dict[str, float]]] = {}
        for cell in self.plan.cells:
            if cell.run in self.missing:
                continue
            logits = self.run(cell.run).outputs("test")
            scores = quick_scores(logits, labels)
            scores |= class_scores(logits, labels)
            scores["ece"] = expected_calibration_error(log_soften(logits.double()).exp(), labels)
            if "test.truth" in self.targets:
                scores["mse to truth"] = float(distance_to_truth(logits, self.targets["test.truth"])["mse"].mean())
            cells.setdefault((cell.student, cell.teacher), {})[cell.seed] = scores
        return cells

    @cached_property
    def students(self) -> list[StudentRow]:
        """Student arms under each teacher arm, with paired comparisons to the baseline teacher and to the student alone."""
        values = self.student_values
        models = {name: repr(arm.model) for name, arm in self.study.students.items()}
        alone = {models[student]: student for student, teacher in values if teacher is None}
        rows, baseline_p, alone_p = [], [], []
        for (student, teacher), seeds in values.items():
            others = [
                values.get((student, self.baseline)) if teacher not in (None, self.baseline) else None,
                values.get((alone.get(models[student], ""), None)) if teacher is not None else None,
            ]
            (to_baseline, p), (to_alone, q) = (_compare(seeds, other) for other in others)
            baseline_p.append(p)
            alone_p.append(q)
            accuracy = tuple(seeds[s]["accuracy"] for s in sorted(seeds))
            names = next(iter(seeds.values()))
            extra = {n: float(np.mean([v[n] for v in seeds.values()])) for n in names if n != "accuracy"}
            rows.append((student, teacher, mean_interval(accuracy), accuracy, to_baseline, to_alone, extra))
        corrected = zip(rows, holm(baseline_p), holm(alone_p), strict=True)
        return [StudentRow(*row[:6], holm=p, holm_alone=q, extra=row[6]) for row, p, q in corrected]

    @cached_property
    def points(self) -> pd.DataFrame:
        """One row per teacher arm and student arm: each predictor (mean over seeds) and the students' test accuracy."""
        rows = []
        scores = {r.name: r.scores for r in self.ranked}
        for row in self.students:
            if row.teacher in scores:
                rows.append(
                    {
                        "student": row.student,
                        "teacher": row.teacher,
                        **scores[row.teacher],
                        "student_accuracy": row.accuracy.mean,
                        "low": row.accuracy.low,
                        "high": row.accuracy.high,
                    }
                )
        return pd.DataFrame(rows)

    @cached_property
    def predictors(self) -> dict[str, Estimate]:
        """Rank correlation of each predictor with student accuracy over teacher arms; positive means it predicts."""
        points = self.points
        if not points.empty:  # against its own mean, a student of one teacher tells nothing
            points = points[points.groupby("student")["teacher"].transform("nunique") > 1]
        if points.empty:
            return {}
        # Students of different kinds differ in level: each is compared with its own mean.
        level = points["student_accuracy"] - points.groupby("student")["student_accuracy"].transform("mean")
        level = level.round(12)  # what is tied on paper stays tied
        found = {}
        for name in PREDICTORS:
            # With too few examples per class, some quantities are known of no teacher.
            if name in points:
                values = (DIRECTION[name] * points[name]).tolist()
                found[name] = spearman(values, level.tolist(), groups=[self.training_of(t) for t in points["teacher"]])
        return found

    def training_of(self, arm: str) -> str:
        """Return what a teacher arm was trained by: arms that differ in map or checkpoint alone come from one training."""
        return self.study.teachers[arm].model_dump_json(exclude={"keep", "map"})

    def reliability_logits(self, arm: str) -> tuple[Tensor, Tensor]:
        """Return a teacher arm's validation logits of all seeds, joined, with their labels."""
        logits = torch.cat([self.teacher_logits(arm, s, "validation") for s in self.teachings[arm]])
        return logits, self.targets["validation.labels"].repeat(len(self.teachings[arm]))

    @cached_property
    def best(self) -> Run | None:
        """The run to take away: the student most often right on validation, then by Brier score; the best teacher without any."""
        students = [cell.run for cell in self.plan.cells]
        found = [self.run(run) for run in dict.fromkeys(students) if run not in self.missing]
        if not found and self.ranked:
            found = [self.run(run) for who in self.teachings[self.ranked[0].name].values() for run in who.runs]
        labels = self.targets["validation.labels"]
        scores = {run.id: quick_scores(run.outputs("validation"), labels) for run in found}
        return min(found, key=lambda run: (-scores[run.id]["accuracy"], scores[run.id]["brier"]), default=None)

    def alarms(self) -> list[str]:
        """Return what was shouted while training, of all runs of the study."""
        done = [run for run in self.planned if run not in self.missing]
        return [alarm for run in done for alarm in self.run(run).result.alarms]


def _compare(
    own: Mapping[int, Mapping[str, float]], other: Mapping[int, Mapping[str, float]] | None
) -> tuple[Estimate | None, float]:
    """Return the paired difference over common seeds with the p of its t test; nothing and NaN where there are none."""
    common = sorted(set(own) & set(other or {}))
    if not common or other is None:
        return None, float("nan")
    pairs = [own[s]["accuracy"] for s in common], [other[s]["accuracy"] for s in common]
    return paired_difference(*pairs), t_test_p([a - b for a, b in zip(*pairs, strict=True)])
