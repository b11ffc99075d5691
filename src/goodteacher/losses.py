"""Every loss as a function (or a module where it has parameters or memory), usable in anybody's own loop."""

from __future__ import annotations

from goodteacher.methods.attention import at
from goodteacher.methods.boundary import ab
from goodteacher.methods.congruence import CC, cc, cc_kernel
from goodteacher.methods.contrastive import CRD, crd_in_batch
from goodteacher.methods.curriculum import CTKD, ctkd
from goodteacher.methods.features import VID, fitnet, ft, nst
from goodteacher.methods.filtered import filter_kd
from goodteacher.methods.flow import fsp, kdsvd
from goodteacher.methods.logits import dkd, kd, standardise
from goodteacher.methods.matching import dist, ttm, wttm
from goodteacher.methods.multilevel import mlkd
from goodteacher.methods.overhaul import ofd
from goodteacher.methods.perturbed import ptloss
from goodteacher.methods.relations import pkt, rkd, rkd_angle, rkd_distance, sp
from goodteacher.methods.reuse import simkd, srrl
from goodteacher.methods.review import hcl
from goodteacher.methods.selfsupervised import hsakd
from goodteacher.methods.semisupervised import labelled_cross_entropy
from goodteacher.objectives.scores import brier, brier_logits, cross_entropy, focal
from goodteacher.objectives.student_friendly import branch_divergence
from goodteacher.objectives.terms import (
    ConsistencyTable,
    conditional_information,
    consistency,
    lipschitz_penalty,
    negative_entropy,
    top_score_difference,
)

__all__ = [
    "CC",
    "CRD",
    "CTKD",
    "VID",
    "ConsistencyTable",
    "ab",
    "at",
    "branch_divergence",
    "brier",
    "brier_logits",
    "cc",
    "cc_kernel",
    "conditional_information",
    "consistency",
    "crd_in_batch",
    "cross_entropy",
    "ctkd",
    "dist",
    "dkd",
    "filter_kd",
    "fitnet",
    "focal",
    "fsp",
    "ft",
    "hcl",
    "hsakd",
    "kd",
    "kdsvd",
    "labelled_cross_entropy",
    "lipschitz_penalty",
    "mlkd",
    "negative_entropy",
    "nst",
    "ofd",
    "pkt",
    "ptloss",
    "rkd",
    "rkd_angle",
    "rkd_distance",
    "simkd",
    "sp",
    "srrl",
    "standardise",
    "top_score_difference",
    "ttm",
    "wttm",
]
