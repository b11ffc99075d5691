from __future__ import annotations

import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError
from goodteacher.methods.preparation import PREPARATIONS
from goodteacher.methods.selfsupervised import HSAKD, RotationHeads
from goodteacher.models.table import MODELS, build_model
from goodteacher.models.taps import TappedModel, Taps, tap_shapes
from rows_features import PAIRS, pair, teaches

COUNTS = {
    "resnet20": 762_992,
    "resnet56": 2_206_064,
    "resnet8x4": 3_557_296,
    "resnet32x4": 18_907_056,
    "wrn_16_2": 1_928_304,
    "wrn_40_1": 1_484_432,
    "wrn_40_2": 5_769_328,
    "vgg13": 37_049_664,
    "resnet50": 76_976_704,
    "mobilenetv2": 4_671_496,
    "shufflenetv1": 3_118_740,
    "shufflenetv2": 4_519_988,
}


def heads_on(device, name, *, classes=100, n=1):
    with torch.device(device):
        network = build_model(name, classes=classes, input_shape=(3, 32, 32)).eval()
        x = torch.zeros(n, 3, 32, 32)
        return network, RotationHeads(network, tap_shapes(network, x)[1], classes), x


@pytest.mark.parametrize("name", COUNTS)
def test_heads_have_as_many_parameters_as_the_published_ones(name):
    network, heads, x = heads_on("meta", name)
    assert sum(p.numel() for p in heads.parameters()) == COUNTS[name]
    answers = heads.eval()(TappedModel(network)(x, heads.taps))
    assert len(answers) == (4 if name in {"vgg13", "resnet50", "mobilenetv2"} else 3)
    assert all(z.shape == (1, 400) for z in answers)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in MODELS if n != "mlp"])
def test_every_model_with_stages_can_have_heads(name):
    network, heads, x = heads_on("meta", name, n=2)
    answers = heads(TappedModel(network)(x, heads.taps))
    assert all(z.shape == (2, 400) for z in answers)


@pytest.mark.parametrize("names", [*PAIRS, ("vgg8", "resnet8")])
def test_teaches(names):
    two = pair(*names)
    prepared = PREPARATIONS["rotation_heads"].build(two.setting.teacher, two.setting)
    method = HSAKD(two.setting)
    teaches(two, method, {"hsakd_heads", "hsakd_logits"}, prepared=prepared)
    with pytest.raises(ConfigError, match="rotation_heads"):
        two.terms(method)


def test_only_a_vgg_reads_its_stem():
    assert HSAKD(pair("vgg8", "resnet8").setting).needs.network == {"stem", "stages"}
    assert HSAKD(pair("resnet8", "vgg8").setting).needs.network == {"stages"}
    assert HSAKD.needs.network == {"stages"}


def test_heads_are_drawn_anew_and_belong_to_nobody_else():
    two = pair("resnet8", "resnet14")
    method = HSAKD(two.setting)
    student = two.setting.network
    copied, original = method.heads[0][0], student.stage2
    for a, b in zip(copied.parameters(), original.parameters(), strict=True):
        assert a is not b and a.shape == b.shape
    assert not torch.equal(copied[0].conv1.weight, original[0].conv1.weight)
    assert not {id(p) for p in method.parameters()} & {id(p) for p in student.parameters()}
    extra = method.heads[2][0][0]
    assert extra.conv1.stride == (1, 1) and isinstance(extra.shortcut, nn.Identity)


def test_rotated_logits_weigh_alpha_and_heads_beta():
    two = pair("resnet8", "resnet14")
    prepared = PREPARATIONS["rotation_heads"].build(two.setting.teacher, two.setting)
    method = HSAKD(two.setting, alpha=0.0, beta=0.0).eval()
    assert all(float(t.detach()) == 0.0 for t in two.terms(method, prepared=prepared).values())
    with pytest.raises(ConfigError, match="temperature"):
        HSAKD(two.setting, temperature=0.0)


class OddBlock(nn.Module):
    """A block whose constructor does not say what its arguments mean."""

    def __init__(self, a, b, step):
        super().__init__()
        self.conv = nn.Conv2d(a, b, 3, step, 1)

    def forward(self, x):
        return self.conv(x)


class OddNetwork(nn.Module):
    taps = Taps(stages=("stage1", "stage2"), head="fc")

    def __init__(self):
        super().__init__()
        self.stage1, self.stage2 = OddBlock(3, 4, 1), OddBlock(4, 6, 2)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.pool(self.stage2(self.stage1(x))).flatten(1))


def test_networks_without_stages_or_with_odd_blocks_are_refused():
    with pytest.raises(ConfigError, match="chain of stages"):
        HSAKD(pair("mlp", "mlp").setting)
    network = OddNetwork()
    with pytest.raises(ConfigError, match="width_in, width, stride"):
        RotationHeads(network, tap_shapes(network, torch.zeros(2, 3, 8, 8))[1], 2)
