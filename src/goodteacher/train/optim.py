"""Optimiser and learning rate; the rate is a pure function of the share of training done."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable

import torch
from torch import nn

from goodteacher.base.errors import ConfigError
from goodteacher.train.recipe import Recipe, cycle_ends


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of a 0-based step.

    Args:
        recipe: lr, schedule, milestones, decay, cycles and warmup; swa and swa_lr, which end the schedule.
        step: 0-based.
        steps: of the whole training, ``recipe.epochs`` epochs.

    Returns:
        The rate, reached exactly: cosine starts at ``lr`` and would be zero one step after the last.

    Example:
        >>> [round(learning_rate(Recipe(lr=1.0, schedule="multistep", milestones=(0.5,)), s, 4), 2) for s in range(4)]
        [1.0, 1.0, 0.1, 0.1]
    """
    done = step / steps
    if recipe.swa is not None and recipe.swa_lr is not None and done >= recipe.swa:
        return recipe.swa_lr
    if done < recipe.warmup:
        return recipe.lr * (step + 1) / math.ceil(recipe.warmup * steps)
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "cyclic":
        return cyclic_rate(recipe, step, steps)
    if recipe.schedule == "multistep":
        # The drop comes with the first step after the milestone: from epoch 151 for 150 of 240, as RepDistiller has it.
        return recipe.lr * recipe.decay ** sum(done >= m for m in recipe.milestones)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (done - recipe.warmup) / (1 - recipe.warmup)))


def cyclic_rate(recipe: Recipe, step: int, steps: int) -> float:
    r"""Return the rate of a 0-based step in cycles of cosine to zero, without warm-up.

    .. math:: \eta_s = \frac{\eta_0}{2} \Big(1 + \cos \frac{\pi (s - a)}{b - a}\Big), \quad a \le s < b

    Args:
        recipe: lr, cycles and epochs.
        step: s.
        steps: of the whole training.

    Returns:
        The rate, with a and b the steps at which the cycle begins and ends.

    Source: Huang et al. (2017), equation 2, which has cycles of :math:`b - a = \lceil N / M \rceil` of N steps.

    Differs: cycles take whole epochs, so that a checkpoint at the end of an epoch is one at the end of a cycle. Where M does
    not divide the epochs, the last is shorter, and falls to zero within its own length.
    """
    bounds = [0, *(epoch * steps // recipe.epochs for epoch in cycle_ends(recipe.epochs, recipe.cycles))]
    place = bisect.bisect_right(bounds, step)
    start, end = bounds[place - 1], bounds[place]
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - start) / (end - start)))


def build_optimizer(recipe: Recipe, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """Return the optimiser over all parameters of the given modules.

    Args:
        recipe: optimizer, lr, momentum, nesterov, weight_decay.
        modules: the network, and a method's own modules, which train at the same rate.

    Returns:
        SGD or AdamW. AdamW leaves vectors (biases, normalisation) undecayed; SGD decays all, as published recipes do.

    Raises:
        ConfigError: if nothing is left to train.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigError(
            "a network in training",
            rule="must have a parameter that is not frozen",
            received="none, nor has its loss any",
            remedy="call requires_grad_(True) on what is to be trained",
        )
    if recipe.optimizer == "adamw":
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.lr, fused=True)
    return torch.optim.SGD(
        parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
