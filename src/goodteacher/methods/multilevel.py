"""Multi-level logit distillation: examples, batch and classes, at several temperatures, on two views.

Legend: N examples, C classes, T temperature; P^s, P^t are (N, C) softened probabilities of student and teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from goodteacher.base.checks import check_logits
from goodteacher.base.errors import ConfigError, check_range
from goodteacher.base.probability import kl, log_soften, nll
from goodteacher.base.types import Batch, Logits, Loss, Needs, Output, Progress, Terms

TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)


def mlkd(
    student_logits: Logits,
    teacher_logits: Logits,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    consistency: bool = True,
) -> Tensor:
    r"""Divergence to the teacher, and agreement of the Gram matrices over examples and over classes, at several temperatures.

    .. math:: L = \sum_T \left[ \frac{T^2}{N} \sum_n \mathrm{KL}(q_n \Vert p_n)
              + \frac1N \Vert P^s {P^s}^\top - P^t {P^t}^\top \Vert_F^2
              + \frac1C \Vert {P^s}^\top P^s - {P^t}^\top P^t \Vert_F^2 \right]

    Args:
        student_logits: ``(N, C)``, unnormalised; receives the gradient.
        teacher_logits: ``(N, C)``, unnormalised; treated as constant.
        temperatures: each ``T > 0``; their losses are added.
        consistency: whether the two Gram terms are there; without them it is a sum of `kd`.

    Returns:
        Scalar, because the Gram matrices couple the batch; nats times T², plus squared probabilities.

    Raises:
        ShapeError: if the shapes differ, or values are not finite.
        ConfigError: if a temperature is not positive, or there is none.

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> mlkd(z, z)
        tensor(0.)

    Source: Jin, Wang & Lin (2023), section 3; T² and the Gram terms at every temperature are their code's.

    Differs: released code multiplies each term, already a scalar, by a mask of the less confident half, in effect by about ½,
    and on the strong view reads the plain logits at T = 2 and 6. Both look like slips and are left out here.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    _check_temperatures(temperatures)
    return torch.stack([_level(student_logits, teacher_logits.detach(), t, consistency) for t in temperatures]).sum()


def _check_temperatures(temperatures: Sequence[float]) -> None:
    if not temperatures:
        raise ConfigError("temperatures", rule="must name at least one", received="none")
    for temperature in temperatures:
        check_range("temperatures", temperature, low=0.0, open_low=True)


def _level(student_logits: Logits, teacher_logits: Logits, temperature: float, consistency: bool) -> Tensor:
    log_p, log_q = log_soften(student_logits, temperature), log_soften(teacher_logits, temperature)
    loss = temperature**2 * kl(log_q, log_p).mean()
    if consistency:
        p, q = log_p.exp(), log_q.exp()
        loss = loss + (p @ p.T - q @ q.T).square().sum() / p.shape[0]
        loss = loss + (p.T @ p - q.T @ q).square().sum() / p.shape[1]
    return loss


@final
class MLKD(Loss):
    """Multi-level distillation of the plain and a strongly augmented view; see `mlkd`.

    Two views cost two forward and backward passes a step, and the published runs train twice as long: compare at equal cost.

    Args:
        alpha: weight of all distillation terms.
        label: weight of cross-entropy to the label on the strong view; on the plain view it is the method's gamma.
        temperatures: whose losses are added.
    """

    needs = Needs(views=frozenset({"strong"}), uses_teacher=True, weighs_classes=True)

    def __init__(
        self, *, alpha: float = 1.0, label: float = 1.0, temperatures: tuple[float, ...] = TEMPERATURES
    ) -> None:
        super().__init__()
        check_range("alpha", alpha, low=0.0)
        check_range("label", label, low=0.0)
        _check_temperatures(temperatures)
        self.alpha, self.label, self.temperatures = alpha, label, temperatures

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the terms ``mlkd``, ``mlkd_strong`` and ``cross_entropy_strong``."""
        assert teacher is not None, "the plan refuses mlkd without a teacher"
        own, theirs = network.views["strong"].logits, teacher.views["strong"].logits
        plain = mlkd(network.logits, teacher.logits, temperatures=self.temperatures)
        # Released code computes the Gram terms of the strong view, but never adds them.
        strong = mlkd(own, theirs, temperatures=self.temperatures, consistency=False)
        return {
            "mlkd": self.alpha * plain,
            "mlkd_strong": self.alpha * strong,
            "cross_entropy_strong": self.label * batch.weighed_mean(nll(log_soften(own), batch.labels)),
        }
