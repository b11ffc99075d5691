"""Whether a network is still at chance, told from its held-out accuracy alone."""

from __future__ import annotations

import torch
from scipy.special import bdtr, bdtrc

from goodteacher.base.types import Labels

LEVEL = 0.05
FIRST_EPOCH = 3


def is_at_chance(correct: int, examples: int, chance: float) -> bool:
    r"""Say whether a network is at chance as surely as its held-out examples can tell.

    .. math:: P(X \ge k \mid n, c) > 0.05 \quad \text{and} \quad P(X \le k \mid n, \tfrac{1 + c}{2}) \le 0.05

    with X binomial: what is observed is no surprise for a network at chance (the exact one-sided test), and would be one for a
    network half-way between chance and perfection. The first alone is not enough: a few examples never reject chance, whoever
    answered them, and where nearly all are of one class chance is close to perfection.

    Args:
        correct: k, answers that were right.
        examples: n.
        chance: c, share of the largest class.

    Returns:
        Whether both hold; never for a network that answers all examples right.

    Example:
        >>> is_at_chance(20, 200, 0.1), is_at_chance(5, 9, 1 / 3), is_at_chance(20, 20, 1.0)
        (True, False, False)
    """
    if_it_had_learnt = float(bdtr(correct, examples, (1 + chance) / 2))
    return not has_passed_chance(correct, examples, chance) and if_it_had_learnt <= LEVEL


def has_passed_chance(correct: int, examples: int, chance: float) -> bool:
    r"""Say whether held-out answers reject chance: :math:`P(X \ge k \mid n, c) \le 0.05` with X binomial.

    Args:
        correct: k, answers that were right.
        examples: n.
        chance: c, share of the largest class.

    Example:
        >>> has_passed_chance(30, 200, 0.1), has_passed_chance(25, 200, 0.1)
        (True, False)
    """
    return correct > 0 and float(bdtrc(correct - 1, examples, chance)) <= LEVEL


def withdrawal(name: str, epoch: int, accuracy: float, labels: Labels) -> str | None:
    """Return what takes back an alarm of a network that has learnt after all, or None while it has not.

    Args:
        name: of the network.
        epoch: after which it was looked at.
        accuracy: on validation.
        labels: ``(N,)`` of validation.
    """
    chance = _chance(labels)
    if not has_passed_chance(round(accuracy * len(labels)), len(labels), chance):
        return None
    return (
        f"{name} has learnt after all: validation accuracy {accuracy:.1%} after {epoch} epochs, "
        f"chance is {chance:.1%}; its alarm is withdrawn"
    )


def _chance(labels: Labels) -> float:
    return float(torch.bincount(labels).max()) / len(labels)


def stall_alarm(name: str, epoch: int, accuracy: float, labels: Labels, advice: str = "") -> str | None:
    """Return an alarm for a network that is still at chance, or None.

    Args:
        name: of the network.
        epoch: after which it was looked at.
        accuracy: on validation.
        labels: ``(N,)`` of validation.
        advice: of its loss.

    Returns:
        One sentence with accuracy, chance and advice; none in the first two epochs.
    """
    if epoch < FIRST_EPOCH:
        return None
    chance = _chance(labels)
    if not is_at_chance(round(accuracy * len(labels)), len(labels), chance):
        return None
    return (
        f"{name} has learnt nothing: validation accuracy {accuracy:.1%} after {epoch} epochs, "
        f"chance is {chance:.1%}; {advice or 'raise lr or train longer'}"
    )
