"""What a teacher hands over on held-out examples, from the outputs saved with its runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from goodteacher.base.probability import log_probabilities
from goodteacher.base.types import Labels, Logits
from goodteacher.maps.ensembles import fit_weights, mean_of
from goodteacher.maps.table import parse_map
from goodteacher.maps.target_map import TargetMap
from goodteacher.study.run import Run, fitted_map
from goodteacher.study.store import Store
from goodteacher.study.teaching import TABLES, Teaching


class Answers:
    """A teacher's answers on validation and test.

    Args:
        teaching: who teaches.
        store: of its runs.
        targets: ``validation.labels`` and, for a table, ``validation.truth``, ``test.votes``, ... as kept with the problem.
        problem: fingerprint of the problem whose examples are meant.
    """

    def __init__(self, teaching: Teaching, store: Store, targets: Mapping[str, Tensor], problem: str) -> None:
        self.teaching, self.store, self.targets, self.problem = teaching, store, targets, problem

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs behind it."""
        return tuple(self.store.run(run) for run in self.teaching.runs)

    def plain(self, split: str) -> Logits:
        """Return ``(N, C)`` logits of a split before the target map.

        A mean is that of the saved outputs; networks of folds, none of which saw these examples, are averaged as
        probabilities; a filter table, which has no rows here, is represented by its network.
        """
        if self.teaching.how in TABLES:
            rows = self.targets[f"{split}.{self.teaching.how}"].float()
            return log_probabilities(rows / rows.sum(dim=1, keepdim=True))
        return self._joined(torch.stack([run.outputs(split, problem=self.problem) for run in self.runs]))

    def _joined(self, members: Tensor) -> Logits:
        how = self.teaching.how
        if how in ("network", "filter"):
            return members[0]
        return mean_of(members, self.weights, space=self.teaching.space)

    @cached_property
    def weights(self) -> Tensor:
        """Weights of a mean, ``(M,)`` float64 on the simplex."""
        count = len(self.teaching.runs)
        if self.teaching.weights == "equal":
            return torch.full((count,), 1 / count, dtype=torch.float64)
        members = torch.stack([run.outputs("validation", problem=self.problem) for run in self.runs])
        return fit_weights(members, self._labels, space=self.teaching.space)

    @property
    def _labels(self) -> Labels:
        return self.targets["validation.labels"]

    @cached_property
    def map(self) -> TargetMap:
        """The target map, fitted on validation once and kept on disk: beside the run, or among the store's for several."""
        spec = self.teaching.target_map
        if self.teaching.how in TABLES:
            return parse_map(spec).fit(self.plain("validation"), self._labels)
        return fitted_map(self._map_folder, spec, self._fit(spec))

    @property
    def _at_home(self) -> bool:
        """Whether the runs were trained on this problem."""
        return all(run.spec.problem == self.problem for run in self.runs)

    @property
    def _map_folder(self) -> Path:
        if self.teaching.how in ("network", "filter"):
            return self.runs[0].path / "maps" / ("" if self._at_home else f"on-{self.problem}")
        parts: list[Any] = [self.teaching.how, self.teaching.runs, self.teaching.weights]
        text = json.dumps(parts if self._at_home else [*parts, self.problem])
        return self.store.root / "maps" / hashlib.sha256(text.encode()).hexdigest()[:16]

    def _fit(self, spec: Mapping[str, Any]) -> Callable[[], TargetMap]:
        def fit() -> TargetMap:
            unfitted = parse_map(dict(spec))
            stack = self.stack("validation", unfitted.views)
            return unfitted.fit(stack if unfitted.views else stack[0], self._labels)

        return fit

    def stack(self, split: str, views: int) -> Tensor:
        """Return ``(1 + V, N, C)`` logits before the map: of the examples as they are, and of V augmented views."""
        plain = self.plain(split)
        if not views:
            return plain[None]
        seen = torch.stack([run.views(split, views, problem=self.problem) for run in self.runs], dim=1)
        return torch.stack([plain, *(self._joined(members) for members in seen)])

    def mapped(self, split: str) -> Logits:
        """Return ``(N, C)`` logits of a split as a student would be taught them."""
        views = self.map.views
        stack = self.stack(split, views)
        return self.map.of_views(stack) if views else self.map(stack[0])
