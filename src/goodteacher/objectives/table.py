"""The table of objectives: name to constructor and source. A literal, so that a name can be searched for."""

from __future__ import annotations

from collections.abc import Iterable

from goodteacher.base.compose import LossRow, Spec, build_parts, join, parse, row_of
from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Loss, Setting
from goodteacher.base.weighted import weighted
from goodteacher.objectives.regularised import MCMI, ConfidencePenalty, Consistency, Lipschitz, SoTeacher, Tolerant
from goodteacher.objectives.scores import Brier, brier_logits, cross_entropy, focal
from goodteacher.objectives.student_friendly import StudentFriendly

LARGER_TARGETS = "use per_class: sum, or target: 30 and true_weight: 15 for hundreds of classes"

OBJECTIVES: dict[str, LossRow] = {
    "cross_entropy": LossRow(weighted(cross_entropy, options=()), "maximum likelihood"),
    "brier": LossRow(Brier, "Brier (1950); Hamidi et al. (2024)"),
    "brier_logits": LossRow(weighted(brier_logits, advice=LARGER_TARGETS), "Hui & Belkin (2021)"),
    "label_smoothing": LossRow(weighted(cross_entropy, term="label_smoothing", smoothing=0.1), "Szegedy et al. (2016)"),
    "confidence_penalty": LossRow(ConfidencePenalty, "Pereyra et al. (2017)"),
    "focal": LossRow(weighted(focal), "Lin et al. (2017)"),
    "soteacher": LossRow(SoTeacher, "Dong, Liu & Shang (2024)"),
    "lipschitz": LossRow(Lipschitz, "Dong, Liu & Shang (2024)", alone=False),
    "consistency": LossRow(Consistency, "Dong, Liu & Shang (2024)", alone=False),
    "tolerant": LossRow(Tolerant, "Yang et al. (2019)"),
    "mcmi": LossRow(MCMI, "Ye et al. (2024)"),
    "sftn": LossRow(StudentFriendly, "Park et al. (2021)"),
}


def check_objective(parts: Iterable[str]) -> None:
    """Raise `ConfigError` unless one of the named parts is a score against labels.

    Args:
        parts: names of the table.

    Example:
        >>> check_objective(["brier", "consistency"])
    """
    names = list(parts)
    if not any(row_of(name, OBJECTIVES, "objective").alone for name in names):
        written = " + ".join(names)
        raise ConfigError(
            f"objective '{written}'",
            rule="is a term and must be added to a score against labels",
            received="no score",
            remedy=f"write 'cross_entropy + {written}'",
        )


def build_objective(spec: Spec, setting: Setting) -> Loss:
    """Return the objective a user named.

    Args:
        spec: ``"brier"``, ``{"brier": {"scale": 10}}`` or a sum.
        setting: classes and examples of the problem.

    Returns:
        The loss.

    Raises:
        ConfigError: for an unknown name or option, or a sum of mere terms.

    Example:
        >>> build_objective({"focal": {"gamma": 1}}, Setting(classes=10))
        Weighted(focal, gamma=1.0)
    """
    parts = parse(spec, OBJECTIVES, "objective")
    check_objective(parts)
    return join(build_parts(parts, OBJECTIVES, setting))
