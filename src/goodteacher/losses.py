"""Every loss as a function (or a module where it has parameters or memory), usable in anybody's own loop."""

from __future__ import annotations

from goodteacher.distill.attention import at
from goodteacher.distill.boundary import ab
from goodteacher.distill.congruence import CC, cc, cc_kernel
from goodteacher.distill.contrastive import CRD, crd_in_batch
from goodteacher.distill.curriculum import CTKD, ctkd
from goodteacher.distill.features import VID, fitnet, ft, nst
from goodteacher.distill.filtered import filter_kd
from goodteacher.distill.flow import fsp, kdsvd
from goodteacher.distill.logits import dkd, kd, standardise
from goodteacher.distill.matching import dist, ttm, wttm
from goodteacher.distill.multilevel import mlkd
from goodteacher.distill.overhaul import ofd
from goodteacher.distill.perturbed import ptloss
from goodteacher.distill.relations import pkt, rkd, rkd_angle, rkd_distance, sp
from goodteacher.distill.reuse import simkd, srrl
from goodteacher.distill.review import hcl
from goodteacher.distill.selfsupervised import hsakd
from goodteacher.teachers.penalties import negative_entropy
from goodteacher.teachers.scores import brier, brier_logits, cross_entropy, focal

__all__ = [
    "CC",
    "CRD",
    "CTKD",
    "VID",
    "ab",
    "at",
    "brier",
    "brier_logits",
    "cc",
    "cc_kernel",
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
    "ttm",
    "wttm",
]
