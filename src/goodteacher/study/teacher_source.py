"""Frozen teachers from what a run says of who teaches it: a network, several, networks for folds, a table; a map around any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from goodteacher.base.types import FrozenTeacher
from goodteacher.data.folds import assign_folds
from goodteacher.data.problem import Problem
from goodteacher.methods.preparation import Prepared
from goodteacher.study.answers import Answers
from goodteacher.study.build import Measured, measure
from goodteacher.study.prepare import PreparedTeacher
from goodteacher.study.run import Run
from goodteacher.study.store import Store
from goodteacher.study.teaching import TABLES, Teaching
from goodteacher.train.frozen import EnsembleTeacher, FoldTeacher, MappedTeacher, NetworkTeacher, TableTeacher


@dataclass
class TeacherSource:
    """Makes the frozen teachers of a cohort.

    Learners with the same teacher get the same object, so that it runs once per batch for all of them.

    Attributes:
        problem: whose tables may teach, the whole of it, whatever fold somebody trains without.
        fingerprint: of the problem.
        store: of finished runs.
        device: of the networks.
    """

    problem: Problem
    fingerprint: str
    store: Store
    device: torch.device
    _made: dict[Any, FrozenTeacher] = field(default_factory=dict, init=False)
    _measured: dict[str, Measured] = field(default_factory=dict, init=False)

    def teacher(self, teaching: Teaching) -> FrozenTeacher:
        """Return who teaches, with its target map."""
        base_key = ("base", teaching.how, teaching.runs, teaching.weights)
        if base_key not in self._made:
            self._made[base_key] = self._base(teaching)
        base = self._made[base_key]
        if list(teaching.target_map) == ["identity"]:
            return base
        key = (base_key, repr(teaching.target_map))
        if key not in self._made:
            self._made[key] = MappedTeacher(base, self._answers(teaching).map)
        return self._made[key]

    def network(self, teaching: Teaching | None) -> Measured | None:
        """Return the network whose features a student may read, measured once, or None for a table or several networks."""
        if teaching is None or teaching.network is None:
            return None
        base = self.teacher(Teaching("network", teaching.runs))
        network = base.prepared.teacher if isinstance(base, PreparedTeacher) else None
        network = base.model if isinstance(base, NetworkTeacher) else network
        assert network is not None, "one run's network teaches"
        if teaching.network not in self._measured:
            run = self.store.run(teaching.network)
            self._measured[teaching.network] = measure(network, run.spec.input_shape(run.facts))
        return self._measured[teaching.network]

    def _base(self, teaching: Teaching) -> FrozenTeacher:
        if teaching.how in TABLES:
            rows = self.problem.train.truth if teaching.how == "truth" else self.problem.train.votes
            assert rows is not None, "the plan checks that the table exists"
            return TableTeacher(rows / rows.sum(dim=1, keepdim=True), self.device)
        if teaching.how == "filter":
            table = self.store.run(teaching.runs[0]).extra("table")
            assert table is not None, "the plan gives the run a filter table"
            return TableTeacher(table["probabilities"], self.device)
        if teaching.how == "network":
            return self._one_network(self.store.run(teaching.runs[0]))
        members = tuple(self.teacher(Teaching("network", (run,))) for run in teaching.runs)
        if teaching.how == "folds":
            seed = self.store.run(teaching.runs[0]).spec.seed
            return FoldTeacher(members, assign_folds(self.problem.train.labels, len(members), seed), self.device)
        return EnsembleTeacher(members, tuple(self._answers(teaching).weights.tolist()), teaching.space)

    def _one_network(self, run: Run) -> FrozenTeacher:
        model = run.model.to(self.device)
        # A run of this problem sees batches as they are made; an earlier version's did not say so.
        spec = None if run.spec.problem == self.fingerprint and run.spec.inputs is None else run.input_spec
        if isinstance(model, Prepared):
            return PreparedTeacher(model, run.result.precision, spec)
        return NetworkTeacher(model, precision=run.result.precision, spec=spec)

    def _answers(self, teaching: Teaching) -> Answers:
        return Answers(teaching, self.store, self._targets(), self.fingerprint)

    def _targets(self) -> dict[str, Tensor]:
        part = self.problem.validation
        found = {"labels": part.labels, "truth": part.truth, "votes": part.votes}
        return {f"validation.{name}": value for name, value in found.items() if value is not None}
