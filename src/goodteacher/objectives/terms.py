"""Terms beside a teacher's score: certainty in bounds, small weights, steady predictions, second classes kept alive.

Legend: N examples of a batch, C classes; p = softmax(z), y label; e epoch from 1 of E.
"""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from torch import Tensor, nn

from goodteacher.base.checks import (
    check_float,
    check_labels,
    check_logits,
    check_same_shape,
    check_simplex,
    values_are_trusted,
)
from goodteacher.base.errors import ConfigError, ShapeError, check_choice, check_range
from goodteacher.base.probability import (
    entropy,
    kl,
    log_probabilities,
    log_soften,
    reduce,
    soften,
    squared_distance,
    widen,
)
from goodteacher.base.types import Labels, Logits, Probabilities, Reduction

Schedule = Literal["linear", "cosine", "cycle", "step"]
SCHEDULES: tuple[Schedule, ...] = ("linear", "cosine", "cycle", "step")
# The epoch from which the schedule `step` is on, in recipes of 240.
STEP_EPOCH = 50
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def lipschitz_penalty(model: nn.Module) -> Tensor:
    r"""Sum over layers of a size of their weights, a cheap stand-in for how steep a network is.

    .. math:: R = \sum_{\text{convolutions}} \sum |W| + \sum_{\text{batch norms}} \max_i \frac{|\gamma_i|}{\sqrt{v_i + \epsilon}}
              + \sum_{\text{linear}} \max_j \sum_i |W_{ij}|

    Args:
        model: the network in training; its weights and γ receive the gradient. v, the running variance, is constant. Biases
            and all other layers count nothing, and so does a batch norm without running statistics.

    Returns:
        Scalar, float32 or wider. The convolutions are most of it: with the usual weight it is an ℓ1 penalty on their entries.

    Raises:
        ShapeError: if a weight is not finite.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
        >>> lipschitz_penalty(layer).item()
        4.0

    Source: Dong, Liu & Shang (2024), their released code: entries are summed, and layers too, where theory would take operator
        norms and their product.
    """
    sizes = []
    for module in model.modules():
        if isinstance(module, CONVOLUTIONS):
            check_float(weight=module.weight)
            sizes.append(widen(module.weight).abs().sum())
        elif isinstance(module, nn.Linear):
            check_float(weight=module.weight)
            sizes.append(widen(module.weight).abs().sum(dim=0).amax())
        elif isinstance(module, BATCH_NORMS) and module.running_var is not None:
            scale = module.weight if module.weight is not None else torch.ones_like(module.running_var)
            sizes.append((widen(scale).abs() / (widen(module.running_var.detach()) + module.eps).sqrt()).amax())
    return torch.stack([size.to(sizes[0].dtype) for size in sizes]).sum() if sizes else torch.zeros(())


def schedule_weight(kind: Schedule, epoch: int, epochs: int, peak: float) -> float:
    r"""Weight of a term that grows over training.

    .. math:: w_{\text{linear}} = \lambda \tfrac{e}{E}, \;
              w_{\text{cosine}} = \lambda \cos((1 - \tfrac{e}{E}) \tfrac{\pi}{2}),
              \quad w_{\text{cycle}} = \lambda \sqrt{1 - (1 - \tfrac{e}{E})^2}, \quad w_{\text{step}} = \lambda [e \ge 50]

    Args:
        kind: one of `SCHEDULES`.
        epoch: e, from 1.
        epochs: E.
        peak: λ, reached in the last epoch.

    Returns:
        The weight; 0 in the first epoch, whatever the kind.

    Raises:
        ConfigError: for an unknown kind, an epoch outside training, or ``step`` in a training too short for it.

    Example:
        >>> [schedule_weight("linear", e, 4, 1.0) for e in (1, 2, 3, 4)]
        [0.0, 0.5, 0.75, 1.0]

    Source: Dong, Liu & Shang (2024), their released code.
    """
    check_choice("schedule", kind, SCHEDULES)
    check_range("epoch", epoch, low=1, high=epochs)
    if kind == "step" and epochs < STEP_EPOCH:
        raise ConfigError(
            "schedule 'step'",
            rule=f"begins in epoch {STEP_EPOCH}",
            received=f"a training of {epochs} epochs",
            remedy="use linear, cosine or cycle",
        )
    if epoch == 1:
        return 0.0
    left = 1 - epoch / epochs
    if kind == "step":
        return peak if epoch >= STEP_EPOCH else 0.0
    if kind == "linear":
        return peak * epoch / epochs
    return peak * (math.cos(left * math.pi / 2) if kind == "cosine" else math.sqrt(1 - left**2))


def negative_entropy(logits: Logits, *, reduction: Reduction = "mean") -> Tensor:
    r"""Negative entropy of the softmax; minimising it keeps predictions from becoming certain.

    .. math:: -H(p_n) = \sum_c p_{nc} \log p_{nc}

    Args:
        logits: ``(N, C)``; receives the gradient.
        reduction: over the batch.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats, in [-log C, 0].

    Raises:
        ShapeError: for shapes, types or values that do not fit.

    Example:
        >>> negative_entropy(torch.zeros(1, 2))
        tensor(-0.6931)

    Source: Pereyra et al. (2017), section 3.
    """
    check_logits(logits=logits)
    return reduce(-entropy(log_soften(logits)), reduction)


def consistency(logits: Logits, averages: Probabilities, *, reduction: Reduction = "mean") -> Tensor:
    r"""Squared distance of the predictions to their averages over past epochs.

    .. math:: \ell_n = \sum_c (p_{nc} - \bar P_{nc})^2

    Args:
        logits: ``(N, C)``, unnormalised; receives the gradient.
        averages: P̄, ``(N, C)``; treated as constant.
        reduction: over the batch; classes are always summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; in [0, 2] where rows of P̄ are distributions.

    Raises:
        ShapeError: if shapes differ, or values are not finite.

    Example:
        >>> consistency(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        tensor(0.5000)

    Source: Dong, Liu & Shang (2024); Laine & Aila (2017) for the average over epochs.
    """
    check_logits(logits=logits)
    check_float(averages=averages)
    check_same_shape(logits=logits, averages=averages)
    p = soften(logits)
    return reduce(squared_distance(p, averages.detach().to(p.dtype)), reduction)


@final
class ConsistencyTable(nn.Module):
    r"""Running average of every training example's predictions, and the distance of new ones to it.

    .. math:: \bar P \leftarrow (1 - \tau_k) \bar P + \tau_k\, p, \quad \tau_1 = 1, \;
              \tau_k = \tfrac{1}{k + 1} \text{ for } k \ge 2

    k counts an example's own visits, which is the epoch where each is seen once in it. After k of them
    :math:`\bar P = (2 p_1 + p_2 + \dots + p_k) / (k + 1)`: the first counts twice.

    Args:
        examples: size of the training split.
        classes: C.

    Example:
        >>> table = ConsistencyTable(examples=1, classes=2)
        >>> z = torch.zeros(1, 2, requires_grad=True)
        >>> [table(z, torch.tensor([0])).item() for _ in range(2)]  # the first time there is nothing to compare with
        [0.0, 0.0]

    Source: Dong, Liu & Shang (2024), their released code.

    Differs: released code counts epochs, so that an example left out of the first would be compared with a row of zeros.
    """

    averages: Tensor
    visits: Tensor

    def __init__(self, examples: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("averages", torch.zeros(examples, classes))
        self.register_buffer("visits", torch.zeros(examples, dtype=torch.int64))

    def memory_bytes(self) -> int:
        """Return the size of the table."""
        return self.averages.numel() * self.averages.element_size() + self.visits.numel() * self.visits.element_size()

    def forward(self, logits: Logits, indices: Tensor) -> Tensor:
        """Return the batch's mean `consistency`, and afterwards, in training mode, take the predictions into the average.

        Args:
            logits: ``(N, C)``; receives the gradient.
            indices: ``(N,)`` int64, rows of the training split.

        Returns:
            Scalar; an example never seen before counts 0.

        Raises:
            ShapeError: if logits or indices do not fit the table.
        """
        self._check(logits, indices)
        each = consistency(logits, self.averages[indices], reduction="none")
        loss = torch.where(self.visits[indices] > 0, each, torch.zeros_like(each)).mean()
        if self.training:
            self.update(logits, indices)
        return loss

    @torch.no_grad()
    def update(self, logits: Logits, indices: Tensor) -> None:
        """Take the predictions of ``logits`` at ``indices`` into the average."""
        visits = self.visits[indices] + 1
        share = torch.where(visits == 1, 1.0, 1.0 / (visits + 1))[:, None].to(self.averages.dtype)
        p = soften(logits.detach()).to(self.averages.dtype)
        self.averages.index_copy_(0, indices, torch.lerp(self.averages[indices], p, share))
        self.visits.index_copy_(0, indices, visits)

    def _check(self, logits: Logits, indices: Tensor) -> None:
        check_logits(logits=logits)
        examples, classes = self.averages.shape
        if tuple(indices.shape) != (len(logits),) or logits.shape[1] != classes:
            raise ShapeError(
                "logits and indices",
                rule=f"must have shapes (N, {classes}) and (N,)",
                received=f"{tuple(logits.shape)} and {tuple(indices.shape)}",
            )
        if not values_are_trusted() and not (int(indices.min()) >= 0 and int(indices.max()) < examples):
            received = f"values from {int(indices.min())} to {int(indices.max())}"
            raise ShapeError("indices", rule=f"must be rows of a table of {examples} examples", received=received)


def top_score_difference(logits: Logits, *, top: int = 5, reduction: Reduction = "mean") -> Tensor:
    r"""Lead of the first class over the mean of the next few; minimising it lets them have a share.

    .. math:: \ell_n = p_{n(1)} - \frac{1}{K - 1} \sum_{k=2}^{K} p_{n(k)}, \quad p_{n(1)} \ge p_{n(2)} \ge \dots

    Args:
        logits: ``(N, C)``, unnormalised; receives the gradient.
        top: K ≥ 2, classes looked at; C where there are fewer.
        reduction: over the batch.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; in [0, 1].

    Raises:
        ShapeError: for shapes, types or values that do not fit.
        ConfigError: if K is less than 2.

    Example:
        >>> top_score_difference(torch.tensor([[0.6, 0.3, 0.1]]).log(), top=3)
        tensor(0.4000)

    Source: Yang et al. (2019), the top score difference of a tolerant teacher.
    """
    check_logits(logits=logits)
    check_range("top", top, low=2)
    first = soften(logits).topk(min(top, logits.shape[1]), dim=1).values
    return reduce(first[:, 0] - first[:, 1:].mean(dim=1), reduction)


def conditional_information(
    logits: Logits, labels: Labels, centres: Probabilities, *, reduction: Reduction = "mean"
) -> Tensor:
    r"""Divergence of the predictions from the mean prediction of their class.

    .. math:: \ell_n = \sum_c p_{nc} \log \frac{p_{nc}}{Q_{y_n c}}

    With :math:`Q_y = E[p \mid y]` its mean is the conditional mutual information of input and prediction given the label.

    Args:
        logits: ``(N, C)``, unnormalised; receives the gradient.
        labels: ``(N,)`` int64 in [0, C).
        centres: Q, ``(C, C)``, one distribution per class; treated as constant.
        reduction: over the batch.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats, ≥ 0.

    Raises:
        ShapeError: if shapes do not fit, values are not finite, or a centre is no distribution.

    Example:
        >>> conditional_information(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
        tensor(0.)

    Source: Ye et al. (2024); Yang et al. (2023) for the quantity.
    """
    check_logits(logits=logits)
    classes = logits.shape[1]
    check_labels(labels, examples=logits.shape[0], classes=classes)
    if tuple(centres.shape) != (classes, classes):
        raise ShapeError("centres", rule=f"must have shape ({classes}, {classes})", received=tuple(centres.shape))
    check_float(centres=centres)
    centres = centres.detach()
    check_simplex(max(1e-3, 2 * torch.finfo(centres.dtype).eps), centres=centres)
    log_p = log_soften(logits)
    return reduce(kl(log_p, log_probabilities(centres.to(log_p.dtype))[labels]), reduction)
