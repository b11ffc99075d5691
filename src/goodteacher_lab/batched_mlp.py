"""The arithmetic of many MLPs at once: layers of a flat matrix of weights, their answers, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

StackLoss = Literal["kl", "brier_sum", "brier_mean"]
STACK_LOSSES: tuple[StackLoss, ...] = ("kl", "brier_sum", "brier_mean")
Layers = Sequence[tuple[Tensor, Tensor]]
EVALUATION_ROWS = 512


def logit_gradient(logits: Tensor, targets: Tensor, loss: StackLoss) -> Tensor:
    r"""Return the gradient of the batch mean of a loss with respect to the logits, p = softmax(z), q the target.

    .. math:: \mathrm{KL}(q \Vert p): \frac{p - q}{B}, \qquad
              \|p - q\|^2: \frac{2}{B}\, p \odot (d - \langle p, d \rangle), \quad d = p - q

    Args:
        logits: ``(..., B, C)``.
        targets: ``(..., B, C)``, rows that sum to 1.
        loss: ``kl`` (cross-entropy, up to a constant), ``brier_sum`` over classes, or ``brier_mean``, that divided by C.

    Returns:
        ``(..., B, C)``.

    Source: METHODS.md, gradients of the Brier loss.
    """
    p = torch.softmax(logits, dim=-1)
    difference = p - targets
    batch, classes = logits.shape[-2:]
    if loss == "kl":
        return difference.div_(batch)
    scale = 2 / batch if loss == "brier_sum" else 2 / (batch * classes)
    return p.mul(difference.sub_((p * difference).sum(dim=-1, keepdim=True))).mul_(scale)


def layers_of(flat: Tensor, shapes: Sequence[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
    """Return views of each layer's weights and biases.

    Args:
        flat: ``(S, P)``, one row per network, in the order of its parameters.
        shapes: outputs and inputs of each layer.

    Returns:
        Weights ``(S, out, in)`` and biases ``(S, 1, out)``, a pair a layer.

    Example:
        >>> [(tuple(w.shape), tuple(b.shape)) for w, b in layers_of(torch.zeros(5, 23), [(4, 3), (1, 4)])]
        [((5, 4, 3), (5, 1, 4)), ((5, 1, 4), (5, 1, 1))]
    """
    layers, start = [], 0
    for out, into in shapes:
        middle, end = start + out * into, start + out * into + out
        layers.append((flat[:, start:middle].unflatten(1, (out, into)), flat[:, None, middle:end]))
        start = end
    return layers


def gradients(layers: Layers, slots: Layers, x: Tensor, targets: Tensor, loss: StackLoss) -> None:
    """Write the gradients of every network's batch loss into their slots.

    Args:
        layers: weights and biases.
        slots: of the same shapes; overwritten.
        x: ``(S, B, D)``.
        targets: ``(S, B, C)``.
        loss: see `logit_gradient`.
    """
    seen = [x]
    for weight, bias in layers[:-1]:
        seen.append(torch.baddbmm(bias, seen[-1], weight.mT).relu_())
    weight, bias = layers[-1]
    back = logit_gradient(torch.baddbmm(bias, seen[-1], weight.mT), targets, loss)
    for k in reversed(range(len(layers))):
        weight_slot, bias_slot = slots[k]
        torch.bmm(back.mT, seen[k], out=weight_slot)
        torch.sum(back, dim=1, keepdim=True, out=bias_slot)
        if k:
            # What a ReLU let through is positive: its sign is the ReLU's derivative.
            back = torch.bmm(back, layers[k][0]).mul_(seen[k].sign())


def forward(layers: Layers, inputs: Tensor) -> Tensor:
    """Return the logits ``(S, N, C)`` of every network on the same inputs ``(N, D)``."""
    parts = []
    for x in inputs.split(EVALUATION_ROWS):
        hidden = x.expand(len(layers[0][0]), *x.shape)
        for weight, bias in layers[:-1]:
            hidden = torch.baddbmm(bias, hidden, weight.mT).relu_()
        parts.append(torch.baddbmm(layers[-1][1], hidden, layers[-1][0].mT))
    return torch.cat(parts, dim=1)
