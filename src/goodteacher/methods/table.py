"""The table of methods. A literal, so that a name can be searched for.

Every method is γ times cross-entropy to the label plus its own terms. Standing alone, `kd` takes γ = 0.1 and α = 0.9; as a
part of a sum (``crd + kd``) both are 1, as in the benchmark of Tian et al. (2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from goodteacher.base.compose import LossRow, Spec, build_parts, join, parse
from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Loss, Needs, Setting
from goodteacher.base.weighted import weighted
from goodteacher.methods.attention import at
from goodteacher.methods.boundary import AB
from goodteacher.methods.congruence import CC
from goodteacher.methods.contrastive import CRDMethod
from goodteacher.methods.curriculum import CTKD
from goodteacher.methods.features import FT, FitNet, VIDMethod, nst
from goodteacher.methods.filtered import filter_kd
from goodteacher.methods.flow import FSP, KDSVD
from goodteacher.methods.labels import HardLabels
from goodteacher.methods.logits import DKD, LogitStandardization, kd
from goodteacher.methods.matching import dist_intra, ttm, wttm
from goodteacher.methods.multilevel import MLKD
from goodteacher.methods.overhaul import OFD
from goodteacher.methods.perturbed import UNPERTURBED, ptloss
from goodteacher.methods.relations import pkt, rkd, sp
from goodteacher.methods.reuse import SRRL, SimKD
from goodteacher.methods.review import ReviewKD
from goodteacher.methods.selfsupervised import HSAKD
from goodteacher.methods.semisupervised import Labelled


@dataclass(frozen=True)
class MethodRow(LossRow):
    """A row of the table of methods.

    Attributes:
        gamma: weight of cross-entropy to the label when the method stands alone.
    """

    gamma: float = 1.0


METHODS: dict[str, MethodRow] = {
    "none": MethodRow(HardLabels, "the student alone", gamma=0.0),
    "kd": MethodRow(weighted(kd, alpha=0.9), "Hinton, Vinyals & Dean (2015)", joined={"alpha": 1.0}, gamma=0.1),
    "dkd": MethodRow(DKD, "Zhao et al. (2022)"),
    "logit_standardization": MethodRow(LogitStandardization, "Sun et al. (2024)", gamma=0.1),
    "dist": MethodRow(weighted(dist_intra, term="dist"), "Huang et al. (2022)"),
    "ttm": MethodRow(weighted(ttm, alpha=45.0), "Zheng & Yang (2024)"),
    "wttm": MethodRow(weighted(wttm, alpha=4.0), "Zheng & Yang (2024)"),
    "mlkd": MethodRow(MLKD, "Jin, Wang & Lin (2023)", retired={"strong_consistency": False}),
    "ctkd": MethodRow(CTKD, "Li et al. (2023)", joined={"alpha": 1.0}, gamma=0.1),
    "ptloss": MethodRow(weighted(ptloss, alpha=1.0, coefficients=UNPERTURBED), "Zhang et al. (2023)", gamma=0.0),
    "filter": MethodRow(weighted(filter_kd, term="filter", alpha=1.0), "Ren, Guo & Sutherland (2022)", gamma=0.0),
    "pkt": MethodRow(weighted(pkt, beta=30000.0), "Passalis & Tefas (2018)", retired={"rescale": False}),
    "sp": MethodRow(weighted(sp, beta=3000.0), "Tung & Mori (2019)"),
    "cc": MethodRow(CC, "Peng et al. (2019)"),
    "rkd": MethodRow(weighted(rkd, beta=1.0), "Park et al. (2019)"),
    "fitnet": MethodRow(FitNet, "Romero et al. (2015)"),
    "at": MethodRow(weighted(at, every_stage=True, beta=1000.0), "Zagoruyko & Komodakis (2017)"),
    "nst": MethodRow(weighted(nst, every_stage=True, beta=50.0), "Huang & Wang (2017)"),
    "vid": MethodRow(VIDMethod, "Ahn et al. (2019)"),
    "ft": MethodRow(FT, "Kim, Park & Kwak (2018)"),
    "ab": MethodRow(AB, "Heo et al. (2019a)"),
    "fsp": MethodRow(FSP, "Yim et al. (2017)"),
    "kdsvd": MethodRow(KDSVD, "Lee, Kim & Song (2018)"),
    "ofd": MethodRow(OFD, "Heo et al. (2019b)"),
    "crd": MethodRow(CRDMethod, "Tian, Krishnan & Isola (2020)"),
    "srrl": MethodRow(SRRL, "Yang et al. (2021b)"),
    "simkd": MethodRow(SimKD, "Chen et al. (2022)", gamma=0.0, deploys=True),
    "reviewkd": MethodRow(ReviewKD, "Chen et al. (2021)"),
    "hsakd": MethodRow(HSAKD, "Yang et al. (2021a)"),
    "labelled": MethodRow(Labelled, "Chen et al. (2020)", gamma=0.0),
}


def build_method(spec: Spec, setting: Setting) -> Loss:
    """Return the method a user named, with its share of the label's cross-entropy.

    Args:
        spec: ``"kd"``, ``"crd + kd"``, or a mapping from names to options; each part also takes ``gamma``.
        setting: classes, examples and tapped shapes.

    Returns:
        The loss.

    Raises:
        ConfigError: for an unknown name or option, parts that disagree on γ, or ``none`` in a sum.

    Example:
        >>> build_method("kd", Setting(classes=10)).needs.uses_teacher
        True
    """
    parts, gamma = parse_method(spec)
    if list(parts) == ["none"]:
        return HardLabels(gamma)
    losses = build_parts(parts, METHODS, setting)
    return join([HardLabels(gamma), *losses] if gamma > 0 else losses)


def parse_method(spec: Spec) -> tuple[dict[str, dict[str, Any]], float]:
    """Return a method's parts with their options, and γ."""
    written: dict[str, dict[str, Any]] = {}
    gammas = set()
    if isinstance(spec, str):
        parts = parse(spec, METHODS, "method")
    else:
        for name, options in spec.items():
            written[name] = dict(options or {})
            if "gamma" in written[name] and name != "none":
                gammas.add(float(written[name].pop("gamma")))
        parts = parse(written, METHODS, "method")
    if "none" in parts and len(parts) > 1:
        raise ConfigError("method 'none'", rule="is the student alone", received=f"a sum of {len(parts)} methods")
    if len(gammas) > 1:
        raise ConfigError("gamma", rule="is one weight for the whole sum", received=f"{sorted(gammas)}")
    alone = next(iter(parts))
    default = 1.0  # of a sum, and of a user's own
    if len(parts) == 1 and alone in METHODS:
        default = parts[alone].get("gamma", 1.0) if alone == "none" else METHODS[alone].gamma
    return parts, gammas.pop() if gammas else default


def needs_teacher(spec: Spec) -> bool:
    """Say whether a method has any use for a teacher."""
    return list(parse_method(spec)[0]) != ["none"]


def describe_needs(needs: Needs) -> str:
    """Return a method's needs in words, for ``goodteacher list methods``."""
    words: list[str] = sorted(needs.network | needs.teacher)
    words += [f"view {view}" for view in sorted(needs.views)] + (["one row per example"] if needs.examples else [])
    words += [f"prepares {name}" for name in sorted(needs.preparation)]
    words += [f"{needs.initial_epochs} epochs before"] if needs.initial_epochs else []
    return ", ".join(words) or "logits"
