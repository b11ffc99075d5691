"""Parameters of what methods train beside the student, against the figures of the reference implementations, C = 100."""

from __future__ import annotations

import functools

import pytest
import torch

from goodteacher.base.types import Setting
from goodteacher.methods.congruence import CC
from goodteacher.methods.contrastive import CRDMethod
from goodteacher.methods.features import FitNet, VIDMethod
from goodteacher.methods.review import ReviewKD
from goodteacher.models.table import build_model
from goodteacher.models.taps import tap_shapes

COUNTS = {
    # teacher, student: CRD and CC, VID, FitNet at layer 2, ReviewKD
    ("resnet56", "resnet20"): (16_640, 16_240, 1_120, 114_278),
    ("resnet110", "resnet20"): (16_640, 16_240, 1_120, 114_278),
    ("resnet110", "resnet32"): (16_640, 16_240, 1_120, 114_278),
    ("resnet32x4", "resnet8x4"): (65_792, 258_496, 16_768, 1_808_774),
    ("wrn_40_2", "wrn_16_2"): (33_024, 64_736, 4_288, 453_830),
    ("wrn_40_2", "wrn_40_1"): (24_832, 53_984, 2_240, 216_006),
    ("vgg13", "vgg8"): (131_328, 1_820_032, 66_304, 9_847_560),
    ("resnet50", "mobilenetv2"): (426_240, 11_533_056, 132_608, 27_933_192),
    ("resnet50", "vgg8"): (327_936, 12_881_664, 2_098_688, 28_140_040),
    ("resnet32x4", "shufflenetv1"): (155_904, 495_040, 983_424, 4_607_366),
    ("resnet32x4", "shufflenetv2"): (164_096, 328_384, 475_520, 4_195_718),
    ("wrn_40_2", "shufflenetv1"): (139_520, 204_512, 491_712, 2_984_646),
    ("vgg13", "mobilenetv2"): (229_632, 1_325_952, 4_864, 9_640_712),
}


@functools.cache
def shapes(name):
    with torch.device("meta"):
        network = build_model(name, classes=100, input_shape=(3, 32, 32))
        return tap_shapes(network, torch.zeros(1, 3, 32, 32))[1]


@pytest.mark.parametrize(("teacher", "student"), COUNTS)
def test_helpers_have_as_many_parameters_as_published(teacher, student):
    setting = Setting(100, 300, shapes(student), shapes(teacher), labels=torch.arange(300) % 100)
    with torch.device("meta"):
        got = [
            sum(p.numel() for p in method(setting).parameters())
            for method in (CRDMethod, CC, VIDMethod, FitNet, ReviewKD)
        ]
    crd, *others = COUNTS[teacher, student]
    assert got == [crd, crd, *others]
