"""The table of objectives: name to constructor and source. A literal, so that a name can be searched for."""

from __future__ import annotations

from goodteacher.base.compose import LossRow, Setting, Spec, build_parts, join, parse
from goodteacher.base.types import Loss
from goodteacher.teachers.objectives import Brier, BrierLogits, ConfidencePenalty, CrossEntropy, Focal, LabelSmoothing

OBJECTIVES: dict[str, LossRow] = {
    "cross_entropy": LossRow(CrossEntropy, "maximum likelihood"),
    "brier": LossRow(Brier, "Brier (1950); Hamidi et al. (2024)"),
    "brier_logits": LossRow(BrierLogits, "Hui & Belkin (2021)"),
    "label_smoothing": LossRow(LabelSmoothing, "Szegedy et al. (2016)"),
    "confidence_penalty": LossRow(ConfidencePenalty, "Pereyra et al. (2017)"),
    "focal": LossRow(Focal, "Lin et al. (2017)"),
}


def build_objective(spec: Spec, setting: Setting) -> Loss:
    """Return the objective a user named.

    Args:
        spec: ``"brier"``, ``{"brier": {"scale": 10}}`` or a sum.
        setting: classes and examples of the problem.

    Returns:
        The loss.

    Raises:
        ConfigError: for an unknown name or option.

    Example:
        >>> build_objective({"focal": {"gamma": 1}}, Setting(classes=10))
        Focal(gamma=1.0)
    """
    return join(build_parts(parse(spec, OBJECTIVES, "objective"), OBJECTIVES, setting))
