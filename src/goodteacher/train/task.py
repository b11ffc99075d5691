"""One network with its loss as one module: its forward is one training step, and that is what is compiled and distributed."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from goodteacher.base.checks import trusted_values
from goodteacher.base.input_spec import InputSpec
from goodteacher.base.types import Batch, Loss, Output, Progress, Terms
from goodteacher.models.adapt import seen_by
from goodteacher.models.taps import TappedModel, Taps
from goodteacher.train.averages import PredictionAverages
from goodteacher.train.mixing import mixed_terms
from goodteacher.train.precision import Precision, autocast
from goodteacher.train.rounding import Rounded


class Task(nn.Module):
    """A network with its loss.

    It owns what lies between a batch and the terms of a step: the network's view of the batch, taps, precision, the two labels of
    mixed inputs, and the loss's own parameters, which train with the network's.

    Args:
        network: trained.
        loss: objective or method.
        taps: where the network is read; by default `guess_taps`.
        precision: of the forward pass.
        spec: what the network expects to see; None for what batches are made for.
        class_weights: ``(C,)`` of the scores against labels, or None.
        rounds: whether the network computes with weights and inputs of 8 bits in a step, see `Rounded`.
        predictions: averages of the network's answers to plain batches, where somebody wants them.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        *,
        taps: Taps | None = None,
        precision: Precision = "fp32",
        spec: InputSpec | None = None,
        class_weights: Tensor | None = None,
        rounds: bool = False,
        predictions: PredictionAverages | None = None,
    ) -> None:
        super().__init__()
        self.rounds = rounds
        self.network, self.loss = network, loss
        self.precision, self.spec, self.predictions = precision, spec, predictions
        self.class_weights = class_weights
        self.tapped = TappedModel(network, taps)

    def forward(self, batch: Batch, teacher: Output | None, progress: Progress) -> Terms:
        """Return the named, weighted scalars of one step, whose sum is minimised.

        Args:
            batch: as the loader made it.
            teacher: what the frozen teacher answered, or None.
            progress: where in training.

        Returns:
            Terms, with gradient.
        """
        batch = seen_by(batch, self.spec)
        if self.class_weights is not None:
            batch = replace(batch, class_weights=self.class_weights)
        with autocast(batch.inputs.device, self.precision), Rounded() if self.rounds else nullcontext():
            output = self._output(batch)
        # In the stage of initialisation the classifier does not train yet: its answers are no predictions.
        if self.predictions is not None and not progress.initial:
            self.predictions.update(output.logits, batch.indices)
        # The loop looks at every loss itself and names the part that broke.
        with trusted_values():
            return mixed_terms(self.loss, output, teacher, batch, progress)

    def _output(self, batch: Batch) -> Output:
        needs = self.loss.needs
        output = self.tapped(batch.inputs, needs.network) if needs.output else Output(batch.inputs.new_zeros(0))
        if not needs.views:
            return output
        views = {name: self.tapped(batch.views[name], needs.network) for name in sorted(needs.views)}
        return replace(output, views=views)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the network's forward pass in place, with the taps that the loss needs read inside of it.

        Args:
            args: as those of `torch.compile`.
            options: as those of `torch.compile`.
        """
        self.tapped.compile(self.loss.needs.network, *args, **options)

    def distribute(self, **options: Any) -> nn.Module:
        """Return the task as one replica of several, whose gradients are averaged over the default process group.

        A loss may leave parameters out of a step (a stage of initialisation trains no classifier), so those are looked for.

        Args:
            options: of `torch.nn.parallel.DistributedDataParallel`.

        Returns:
            A module that is called like the task.
        """
        return DistributedDataParallel(self, find_unused_parameters=True, **options)
