"""Objectives of teachers made for students: a score against labels with terms of `terms` beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import torch
from torch import Tensor, nn

from goodteacher.base.errors import ConfigError, check_choice, check_range
from goodteacher.base.probability import soften
from goodteacher.base.seeds import seeded
from goodteacher.base.types import Batch, Loss, Needs, Output, Progress, Setting, Terms
from goodteacher.objectives import scores
from goodteacher.objectives.terms import (
    SCHEDULES,
    ConsistencyTable,
    Schedule,
    conditional_information,
    lipschitz_penalty,
    negative_entropy,
    schedule_weight,
    top_score_difference,
)


@final
class ConfidencePenalty(Loss):
    """Cross-entropy minus β times the entropy of the prediction; see `negative_entropy`.

    Args:
        beta: weight of the entropy.
    """

    needs = Needs(weighs_classes=True)

    def __init__(self, *, beta: float = 0.1) -> None:
        super().__init__()
        check_range("beta", beta, low=0.0)
        self.beta = beta

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the terms ``cross_entropy`` and ``negative_entropy``."""
        return {
            "cross_entropy": batch.weighed_mean(scores.cross_entropy(network.logits, batch.labels, reduction="none")),
            "negative_entropy": self.beta * negative_entropy(network.logits),
        }


@final
class Lipschitz(Loss):
    """Size of the network's weights; a term, to be added to a score; see `lipschitz_penalty`.

    Args:
        setting: supplies the network in training.
        weight: λ.
    """

    def __init__(self, setting: Setting, *, weight: float = 1e-5) -> None:
        super().__init__()
        check_range("weight", weight, low=0.0)
        self.weight = weight
        self.setting = setting  # and not the network, which would become a part of this module

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``lipschitz``.

        Raises:
            ConfigError: if the setting holds no network.
        """
        if self.setting.network is None:
            raise ConfigError(
                "objective 'lipschitz'",
                rule="reads the weights of the network in training",
                received="a setting without one",
                remedy="pass Setting(network=model)",
            )
        return {"lipschitz": self.weight * lipschitz_penalty(self.setting.network)}


@final
class Consistency(Loss):
    """Distance of predictions to their average over past epochs; a term, to be added to a score; see `ConsistencyTable`.

    Args:
        setting: supplies the number of training examples and C.
        weight: λ at the end of training.
        schedule: how the weight grows; see `schedule_weight`.
    """

    needs = Needs(examples=True)

    def __init__(self, setting: Setting, *, weight: float = 1.0, schedule: Schedule = "linear") -> None:
        super().__init__()
        check_range("weight", weight, low=0.0)
        check_choice("schedule", schedule, SCHEDULES)
        self.weight, self.schedule = weight, schedule
        self.table = ConsistencyTable(setting.examples, setting.classes)

    def memory_bytes(self) -> int:
        """Return the size of the table."""
        return self.table.memory_bytes()

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``consistency``; in training mode the table learns the predictions."""
        weight = schedule_weight(self.schedule, progress.epoch, progress.epochs, self.weight)
        return {"consistency": weight * self.table(network.logits, batch.indices)}


@final
class SoTeacher(Loss):
    """Cross-entropy with small weights and steady predictions; see `Lipschitz` and `Consistency`.

    Args:
        setting: supplies the network in training, the number of training examples and C.
        lipschitz: weight of `lipschitz_penalty`.
        consistency: weight of the distance to past predictions at the end of training.
        schedule: how that weight grows.

    Source: Dong, Liu & Shang (2024).
    """

    needs = Needs(examples=True, weighs_classes=True)

    def __init__(
        self, setting: Setting, *, lipschitz: float = 1e-5, consistency: float = 1.0, schedule: Schedule = "linear"
    ) -> None:
        super().__init__()
        check_range("lipschitz", lipschitz, low=0.0)
        check_range("consistency", consistency, low=0.0)
        self.lipschitz = Lipschitz(setting, weight=lipschitz)
        self.consistency = Consistency(setting, weight=consistency, schedule=schedule)

    def memory_bytes(self) -> int:
        """Return the size of the table."""
        return self.consistency.memory_bytes()

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the terms ``cross_entropy``, ``lipschitz`` and ``consistency``."""
        return {
            "cross_entropy": batch.weighed_mean(scores.cross_entropy(network.logits, batch.labels, reduction="none")),
            **self.lipschitz(network, teacher, batch, progress),
            **self.consistency(network, teacher, batch, progress),
        }


@final
class Tolerant(Loss):
    """Cross-entropy with a limit on the first class's lead over the next few; see `top_score_difference`.

    Args:
        eta: η in [0, 1], share of cross-entropy; the lead has 1 − η.
        top: K ≥ 2, classes looked at.
    """

    needs = Needs(weighs_classes=True)

    def __init__(self, *, eta: float = 0.6, top: int = 5) -> None:
        super().__init__()
        check_range("eta", eta, low=0.0, high=1.0)
        check_range("top", top, low=2)
        self.eta, self.top = eta, top

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the terms ``cross_entropy`` and ``top_score_difference``."""
        return {
            "cross_entropy": self.eta
            * batch.weighed_mean(scores.cross_entropy(network.logits, batch.labels, reduction="none")),
            "top_score_difference": (1 - self.eta) * top_score_difference(network.logits, top=self.top),
        }


@final
class MCMI(Loss):
    """Cross-entropy with the conditional mutual information of input and prediction; see `conditional_information`.

    Made to fine-tune a converged teacher, whose class centres `prepare` takes before the first step and which then stay.

    Args:
        setting: supplies C.
        weight: λ. Negative *maximises* the information, which is the method; positive minimises it, as a later comparison did
            by mistake; 0 is fine-tuning by cross-entropy.

    Source: Ye et al. (2024).
    """

    needs = Needs(prepares=True, weighs_classes=True)
    centres: Tensor

    def __init__(self, setting: Setting, *, weight: float = -0.25) -> None:
        super().__init__()
        check_range("weight", weight)
        self.weight = weight
        self.register_buffer("centres", torch.zeros(setting.classes, setting.classes))
        self._is_prepared = False

    @torch.no_grad()
    def prepare(self, network: nn.Module, batches: Iterable[Batch]) -> None:
        """Take the mean prediction of each class as its centre.

        The network runs in training mode, on batch statistics, as it will in the steps that follow; its running statistics and
        modes are put back after.

        Args:
            network: that is to be fine-tuned, as it is before.
            batches: one pass over the training split, augmented as in training.
        """
        modes = {module: module.training for module in network.modules()}
        buffers = {name: value.clone() for name, value in network.named_buffers()}
        sums = torch.zeros_like(self.centres, dtype=torch.float32)
        network.train()
        try:
            with seeded(0, "class centres"):
                for batch in batches:
                    p = soften(network(batch.inputs)).float()
                    sums.index_add_(0, batch.labels.to(sums.device), p.to(sums.device))
        finally:
            for name, value in network.named_buffers():
                value.copy_(buffers[name])
            for module, mode in modes.items():
                module.training = mode
        total = sums.sum(dim=1, keepdim=True)
        even = torch.full_like(sums, 1 / len(sums))
        self.centres.copy_(torch.where(total > 0, sums / total.clamp_min(1e-12), even))
        self._is_prepared = True

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the terms ``cross_entropy`` and ``conditional_information``.

        Raises:
            ConfigError: if there are no centres yet.
        """
        self._is_prepared = self._is_prepared or bool(self.centres.any())  # loaded with the state
        if not self._is_prepared:
            raise ConfigError(
                "objective 'mcmi'",
                rule="needs the mean prediction of each class",
                received="none",
                remedy="call prepare(network, batches) once before training",
            )
        return {
            "cross_entropy": batch.weighed_mean(scores.cross_entropy(network.logits, batch.labels, reduction="none")),
            "conditional_information": self.weight
            * conditional_information(network.logits, batch.labels, self.centres),
        }
