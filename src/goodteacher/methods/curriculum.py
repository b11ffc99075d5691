"""Curriculum temperature: a temperature that learns to make the student's task harder.

Legend: N examples, C classes, T temperature; q and p softened probabilities of teacher and student.
"""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from torch import Tensor, nn

from goodteacher.base.checks import check_float, check_logits, values_are_trusted
from goodteacher.base.errors import ShapeError, check_choice, check_range
from goodteacher.base.probability import kl, log_soften, reduce, widen
from goodteacher.base.types import Batch, Logits, Loss, Needs, Output, Progress, Reduction, Setting, Terms

HIDDEN = 128


def ctkd(
    student_logits: Logits,
    teacher_logits: Logits,
    temperature: Tensor,
    *,
    reversal: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Softened divergence whose temperature is pushed uphill while the student goes downhill.

    .. math:: \ell_n = T_n^2 \sum_c q_{nc} \log \frac{q_{nc}}{p_{nc}},
              \quad q = \mathrm{softmax}(z^t / T), \; p = \mathrm{softmax}(z^s / T);
              \quad T \text{ receives } -\lambda\, \partial \ell / \partial T

    Args:
        student_logits: ``(N, C)``, unnormalised; receives the gradient.
        teacher_logits: ``(N, C)``, unnormalised; treated as constant.
        temperature: T > 0, one number or ``(N,)``; receives the reversed gradient, factor T² included.
        reversal: λ ≥ 0; 0 stops the temperature.
        reduction: over the batch; classes are always summed.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats times T². With a constant temperature it is `kd`.

    Raises:
        ShapeError: if the shapes do not fit, or values are not finite.
        ConfigError: if a temperature is not positive, or λ is negative.

    Example:
        >>> t = torch.tensor(2.0, requires_grad=True)
        >>> loss = ctkd(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]]), t)
        >>> loss.backward(); bool(t.grad < 0)  # a step downhill makes T, and with it the loss, larger
        True

    Source: Li et al. (2023), section 3.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_float(temperature=temperature)
    examples = student_logits.shape[0]
    if temperature.numel() not in (1, examples):
        rule = f"must have shape () or ({examples},)"
        raise ShapeError("temperature", rule=rule, received=f"shape {tuple(temperature.shape)}")
    if not values_are_trusted():
        check_range("temperature", float(temperature.detach().min()), low=0.0, open_low=True)
    check_range("reversal", reversal, low=0.0)
    fixed = widen(temperature).detach().reshape(-1, 1)
    t = fixed + reversal * (fixed - widen(temperature).reshape(-1, 1))  # the value of T with the slope -λ
    divergence = kl(log_soften(teacher_logits.detach(), t), log_soften(student_logits, t))
    return reduce(t.squeeze(1).square() * divergence, reduction)


@final
class CTKD(Loss):
    r"""Distillation at a learned temperature; see `ctkd`.

    .. math:: T = T_0 + R\, \sigma(\theta), \quad \lambda(e) = \tfrac12 (1 - \cos(\pi \min(e / E, 1)))

    Its parameters train with the student's, under the same optimiser; the reversal grows over the first epochs.

    Args:
        setting: supplies C.
        alpha: weight of the divergence.
        form: ``global`` learns one θ; ``instance`` a θ for each example, from the logits of both networks (taken as constant)
            through a layer of 128 units.
        lowest: T₀ > 0.
        span: R > 0.
        ramp: E, epochs until the full reversal; 0 for the full reversal at once.

    Raises:
        ConfigError: for an option out of range.

    Example:
        >>> method = CTKD(Setting(classes=10))
        >>> z = torch.zeros(4, 10)
        >>> method.temperature(z, z)
        tensor(15.6212, grad_fn=<AddBackward0>)

    Source: Li et al. (2023), section 3; constants of their code, where θ starts at 1.

    Differs: the released code holds the global form only; the size of the instance-wise network is a choice made here.
    """

    needs = Needs(uses_teacher=True)

    def __init__(
        self,
        setting: Setting,
        *,
        alpha: float = 0.9,
        form: Literal["global", "instance"] = "global",
        lowest: float = 1.0,
        span: float = 20.0,
        ramp: int = 10,
    ) -> None:
        super().__init__()
        check_range("alpha", alpha, low=0.0)
        check_choice("form", form, ("global", "instance"))
        check_range("lowest", lowest, low=0.0, open_low=True)
        check_range("span", span, low=0.0, open_low=True)
        check_range("ramp", ramp, low=0.0)
        self.alpha, self.form, self.lowest, self.span, self.ramp = alpha, form, lowest, span, ramp
        if form == "global":
            self.theta = nn.Parameter(torch.tensor(1.0))
        else:
            self.first, self.last = nn.Linear(2 * setting.classes, HIDDEN), nn.Linear(HIDDEN, 1)
            nn.init.zeros_(self.last.weight)  # every example starts at the temperature of the global form
            nn.init.ones_(self.last.bias)

    def temperature(self, student_logits: Logits, teacher_logits: Logits) -> Tensor:
        """Return T, a scalar or ``(N,)``, in (T₀, T₀ + R)."""
        if self.form == "global":
            theta: Tensor = self.theta
        else:
            both = torch.cat([student_logits, teacher_logits], dim=1).detach()
            theta = self.last(self.first(both.to(self.last.weight.dtype)).relu()).squeeze(1)
        return self.lowest + self.span * theta.sigmoid()

    def reversal(self, progress: Progress) -> float:
        """Return λ of this epoch, in (0, 1]."""
        done = min(progress.epoch / self.ramp, 1.0) if self.ramp else 1.0
        return 0.5 * (1 - math.cos(math.pi * done))

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``ctkd``."""
        assert teacher is not None, "the plan refuses ctkd without a teacher"
        temperature = self.temperature(network.logits, teacher.logits)
        loss = ctkd(network.logits, teacher.logits, temperature, reversal=self.reversal(progress))
        return {"ctkd": self.alpha * loss}
