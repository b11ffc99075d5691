"""Every loss as a function (or a module where it has parameters or memory), usable in anybody's own loop."""

from __future__ import annotations

from goodteacher.distill.congruence import CC, cc, cc_kernel
from goodteacher.distill.curriculum import CTKD, ctkd
from goodteacher.distill.filtered import filter_kd
from goodteacher.distill.logits import dkd, kd, standardise
from goodteacher.distill.matching import dist, ttm, wttm
from goodteacher.distill.multilevel import mlkd
from goodteacher.distill.perturbed import ptloss
from goodteacher.distill.relations import pkt, rkd, rkd_angle, rkd_distance, sp
from goodteacher.teachers.penalties import negative_entropy
from goodteacher.teachers.scores import brier, brier_logits, cross_entropy, focal

__all__ = [
    "CC",
    "CTKD",
    "brier",
    "brier_logits",
    "cc",
    "cc_kernel",
    "cross_entropy",
    "ctkd",
    "dist",
    "dkd",
    "filter_kd",
    "focal",
    "kd",
    "mlkd",
    "negative_entropy",
    "pkt",
    "ptloss",
    "rkd",
    "rkd_angle",
    "rkd_distance",
    "sp",
    "standardise",
    "ttm",
    "wttm",
]
