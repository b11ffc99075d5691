"""A preparation in the loop: trained like any learner, and afterwards a frozen teacher with something added."""

from __future__ import annotations

from dataclasses import replace

import torch

from goodteacher.base.input_spec import InputSpec
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Tap, Terms
from goodteacher.methods.preparation import Prepared
from goodteacher.models.adapt import seen_by
from goodteacher.train.precision import Precision, autocast, lay_out


class PreparationLoss(Loss):
    """The prepared network's own loss, on the view it asks for.

    Args:
        prepared: a frozen teacher with the addition that trains.
    """

    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        self._prepared = (
            prepared,
        )  # in a tuple, so that the network in training does not become a part of its own loss
        self.needs = Needs(views=prepared.views, output=False)

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the terms of the addition."""
        (prepared,) = self._prepared
        (inputs,) = [batch.views[v] for v in prepared.views] or [batch.inputs]
        return prepared.loss(inputs, batch.labels)


class PreparedTeacher:
    """A prepared teacher, frozen.

    Args:
        prepared: with its addition trained.
        precision: of the forward pass.
        spec: what it expects to see; None for what batches are made for.
    """

    def __init__(self, prepared: Prepared, precision: Precision = "fp32", spec: InputSpec | None = None) -> None:
        lay_out(prepared).eval().requires_grad_(False)
        self.prepared, self.precision, self.spec = prepared, precision, spec

    def __call__(self, batch: Batch, taps: frozenset[Tap]) -> Output:
        """Return the teacher's output with the addition under ``extra``, for the batch and for each view."""
        self.prepared.eval()
        batch = seen_by(batch, self.spec)
        with torch.no_grad(), autocast(batch.inputs.device, self.precision):
            views = {name: self.prepared.outputs(inputs, frozenset()) for name, inputs in batch.views.items()}
            return replace(self.prepared.outputs(batch.inputs, taps), views=views)
