"""Averages over training: of a network's weights, and of its predictions for each training example.

Legend: N examples, C classes, θ weights, q rows of a table of predictions, p predictions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from goodteacher.base.errors import ConfigError, TrainingError
from goodteacher.base.probability import soften
from goodteacher.base.types import Logits


def ema_decay(decay: float, step: int) -> float:
    """Return the decay of an exponential average at a 0-based step, ramped up from 1/10.

    Args:
        decay: in (0, 1), reached in the end.
        step: updates before this one.

    Returns:
        The share of the average that stays. An average of few steps must not remember the random start.

    Example:
        >>> ema_decay(0.99, 0), ema_decay(0.99, 10_000)
        (0.1, 0.99)
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def move_towards(mean: nn.Module, network: nn.Module, share: float) -> None:
    r"""Move an average of weights towards a network in place.

    .. math:: \bar\theta \leftarrow \bar\theta + s (\theta - \bar\theta)

    Args:
        mean: the average; whole numbers in its state are copied from the network.
        network: of the same architecture.
        share: s in (0, 1]; 1 copies.
    """
    for average, value in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
        if average.is_floating_point():
            average.lerp_(value, share)
        else:
            average.copy_(value)


@torch.no_grad()
def estimate_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Estimate the running statistics of batch normalisation anew, as the mean over batches by their sizes.

    Normalisation alone is in training mode meanwhile: a layer sees what the layers before it answer in evaluation but for
    their batch statistics, and dropout draws nothing.

    Args:
        model: changed in place and left in the modes it came in; without batch normalisation nothing is done.
        batches: inputs ``(N, ...)`` of one pass over the training split.

    Source: Izmailov et al. (2018), section 3.2.
    """
    modes = {module: module.training for module in model.modules()}
    # A frozen part stays in evaluation when its owner is put into training, and its statistics are left alone.
    norms = [
        m for m in model.train().modules() if isinstance(m, _BatchNorm) and m.running_mean is not None and m.training
    ]
    momenta = {norm: norm.momentum for norm in norms}
    model.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
    seen = 0
    for inputs in batches if norms else ():
        seen += len(inputs)
        for norm in norms:
            norm.momentum = len(inputs) / seen
        model(inputs)
    for norm, momentum in momenta.items():
        norm.momentum = momentum
    for module, mode in modes.items():
        module.training = mode


class Average:
    """An average of a network's weights over training, kept instead of them.

    Args:
        network: whose weights are averaged; copied.
        ema: decay an update of an exponential average over steps, or None.
        swa: share of training from which on the weights at ends of epochs are averaged, all alike, or None; from the first
            epoch end that is not before it, whose weights are the first of the average.

    Source: Izmailov et al. (2018), algorithm 1, for ``swa``.
    """

    def __init__(self, network: nn.Module, *, ema: float | None = None, swa: float | None = None) -> None:
        self.model = copy.deepcopy(network).requires_grad_(False)
        self.ema, self.swa, self.count = ema, swa, 0

    @property
    def has_begun(self) -> bool:
        """Whether there is anything in the average."""
        return self.count > 0

    def after_step(self, network: nn.Module, step: int) -> None:
        """Take the weights after a 0-based step into an exponential average."""
        if self.ema is not None:
            move_towards(self.model, network, 1 - ema_decay(self.ema, step))
            self.count += 1

    def after_epoch(self, network: nn.Module, done: float) -> None:
        """Take the weights after an epoch into an average of epochs, if the share of training done is large enough."""
        if self.swa is not None and done >= self.swa:
            self.count += 1
            move_towards(self.model, network, 1 / self.count)

    def state(self) -> dict[str, Any]:
        """Return the state."""
        return {"model": self.model.state_dict(), "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.model.load_state_dict(state["model"])
        self.count = state["count"]


class PredictionAverages:
    r"""A running average of the predictions for each training example.

    .. math:: q_n \leftarrow (1 - \alpha) q_n + \alpha p_n

    A row starts with the example's first prediction.

    Args:
        examples: size of the training split.
        alpha: α in (0, 1], share of the newest.
        device: of the table.

    Raises:
        ConfigError: if the size is not known.

    Source: Ren, Guo & Sutherland (2022), Filter-KD, with α = 0.05.
    """

    def __init__(self, examples: int, alpha: float, device: torch.device | str = "cpu") -> None:
        if examples < 1:
            raise ConfigError(
                "filter_table",
                rule="needs the number of training examples",
                received=examples,
                remedy="pass examples to the learner",
            )
        self.examples, self.alpha, self.device = examples, alpha, torch.device(device)
        # A row of zeros has not been seen: predictions add up to 1.
        self.rows: Tensor | None = None

    @torch.no_grad()
    def update(self, logits: Logits, indices: Tensor) -> None:
        """Take the predictions of ``(N, C)`` logits at ``(N,)`` rows of the training split into their averages."""
        p = soften(logits).float()
        if self.rows is None:
            self.rows = torch.zeros(self.examples, p.shape[1], device=self.device)
        before = self.rows[indices]
        seen = before.any(dim=1, keepdim=True)
        self.rows.index_copy_(0, indices, torch.where(seen, torch.lerp(before, p, self.alpha), p))

    def table(self) -> Tensor:
        """Return the averages.

        Returns:
            ``(examples, C)`` float32, rows on the simplex.

        Raises:
            TrainingError: if an example has never been seen; a loader leaves out a last batch of one.
        """
        unseen = self.examples if self.rows is None else int((~self.rows.any(dim=1)).sum())
        if self.rows is None or unseen:
            raise TrainingError(
                "filter_table",
                rule="needs a prediction for every training example",
                received=f"none for {unseen} of {self.examples}",
                remedy="train for more epochs, or choose another batch_size: a last batch of one is left out",
            )
        return self.rows

    def state(self) -> dict[str, Any]:
        """Return the state."""
        return {"rows": self.rows}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.rows = None if state["rows"] is None else state["rows"].to(self.device, copy=True)
