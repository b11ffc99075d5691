from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.types import Setting
from goodteacher.methods.overhaul import OFD, expected_negative, norm_before_activation, ofd
from goodteacher.models.table import build_model
from rows_features import PAIRS, pair, teaches


@pytest.mark.parametrize("names", PAIRS)
def test_teaches(names):
    two = pair(*names)
    teaches(two, OFD(two.setting), {"ofd"})


@pytest.mark.parametrize("names", [("resnet8", "shufflenetv1"), ("resnet8", "shufflenetv2"), ("mlp", "mlp")])
def test_teachers_without_batch_normalisation_before_the_activation_are_refused(names):
    with pytest.raises(ConfigError, match=r"batch normalisation|maps"):
        OFD(pair(*names).setting)


def test_a_table_is_no_teacher():
    setting = pair("resnet8", "resnet14").setting
    with pytest.raises(ConfigError, match="network"):
        OFD(Setting(4, 0, setting.network_shapes, setting.teacher_shapes))


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("resnet14", ["stage1.1.bn2", "stage2.1.bn2", "stage3.1.bn2"]),
        ("resnet50", ["stage1.2.bn3", "stage2.3.bn3", "stage3.5.bn3", "stage4.2.bn3"]),
        ("wrn_16_1", ["stage2.0.bn1", "stage3.0.bn1", "bn1"]),
        ("vgg13", ["stage1.block.4", "stage2.block.4", "stage3.block.4", "stage4.block.4"]),
        ("mobilenetv2", ["stage1.1.1.branch.7", "stage2.0.2.branch.7", "stage3.1.2.branch.7", "stage4.1.0.branch.7"]),
    ],
)
def test_the_normalisation_is_the_one_the_literature_reads(model, names):
    with torch.device("meta"):
        network = build_model(model, classes=4, input_shape=(3, 32, 32))
    for site, name in zip(network.taps.pre_activations, names, strict=True):
        expected = network.get_submodule(name)
        assert norm_before_activation(network, site, expected.num_features) is expected


@pytest.mark.parametrize(("beta", "gamma"), [(0.0, 1.0), (0.7, 0.5), (-1.2, 2.0), (-3.0, 0.4), (1.0, -0.8)])
def test_the_margin_is_the_mean_of_the_negative_part(beta, gamma):
    x = torch.linspace(-30, 0, 300_001, dtype=torch.float64)
    weight = torch.exp(-((x - beta) ** 2) / (2 * gamma**2))
    mean = float((x * weight).sum() / weight.sum())
    got = expected_negative(torch.tensor([beta]), torch.tensor([gamma]))
    assert float(got) == pytest.approx(mean, rel=1e-3)


def test_rare_negatives_and_a_dead_scale_have_margins_too():
    got = expected_negative(torch.tensor([4.0, -2.0, 2.0, 0.0]), torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(got, torch.tensor([-3.0, -2.0, 0.0, 0.0]))


def test_margins_are_kept_with_the_method():
    method = OFD(pair("resnet8", "resnet14").setting)
    assert {"margin0", "margin1", "margin2"} <= set(method.state_dict())
    assert all(float(method.get_buffer(f"margin{i}").max()) < 0 for i in range(3))


def test_a_margin_of_another_width_is_refused():
    x = torch.zeros(1, 2, 3, 3)
    with pytest.raises(ShapeError, match="margin"):
        ofd(x, x, torch.zeros(3))
