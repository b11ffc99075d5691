from __future__ import annotations

import copy

import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.types import Setting
from goodteacher.methods.reuse import SRRL, SimKD, srrl
from goodteacher.methods.table import METHODS
from goodteacher.models.taps import TappedModel
from rows_features import PAIRS, pair, teaches


@pytest.mark.parametrize("names", PAIRS)
def test_teach(names):
    for method, name in ((SRRL, "srrl"), (SimKD, "simkd")):
        two = pair(*names)
        teaches(two, method(two.setting), {name})


def test_srrl_also_teaches_networks_without_maps():
    two = pair("mlp", "mlp")
    teaches(two, SRRL(two.setting), {"srrl"})


def test_the_second_part_of_srrl_is_the_distance_of_logits():
    two = pair("resnet8", "resnet14")
    method = SRRL(two.setting, alpha=0.0)
    student, teacher = two.outputs(method)
    hidden = method.connector(student.embedding)
    logits = two.setting.teacher.fc(hidden)
    expected = (logits - teacher.logits).square().mean()
    got = srrl(hidden, teacher.embedding, method.classifier, alpha=0.0)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ShapeError, match="classifier"):
        srrl(hidden, teacher.embedding, method.classifier[:, :3])


@pytest.mark.parametrize("teacher", ["resnet14", "wrn_16_1", "vgg8", "shufflenetv2", "mobilenetv2_0.1"])
def test_a_perfect_projection_gives_the_teachers_logits(teacher):
    two = pair("resnet8", teacher)
    two.setting.teacher.eval()
    method = SimKD(two.setting)
    _, taught = two.outputs(method)
    torch.testing.assert_close(method.classifier(method.finish(taught.stages[-1])), taught.logits)
    got = method.projector(torch.randn(4, *two.setting.network_shapes["stages"][-1]))
    assert got.shape[1] == method.finish(taught.stages[-1]).shape[1]


def test_the_deployed_network_is_student_projector_and_the_teachers_head():
    two = pair("shufflenetv1", "wrn_16_1")
    method = SimKD(two.setting)
    deployed = method.deployed(two.setting.network).eval()
    x = two.batch.inputs
    with torch.no_grad():
        last = TappedModel(two.setting.network)(x, frozenset({"stages"})).stages[-1]
        expected = two.setting.teacher.fc(method.projector(last).mean((2, 3)))
        torch.testing.assert_close(deployed(x), expected)
        torch.testing.assert_close(TappedModel(deployed)(x, frozenset({"embedding", "stages"})).logits, expected)
        torch.testing.assert_close(copy.deepcopy(deployed)(x), expected)
    again = SimKD(two.setting).deployed(copy.deepcopy(two.setting.network)).eval()
    again.load_state_dict(deployed.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again(x), expected)


def test_the_teachers_parts_stay_as_they_are():
    two = pair("resnet8", "wrn_16_1")
    method = SimKD(two.setting).train()
    assert not any(m.training for part in (method.finish, method.classifier) for m in part.modules())
    before = copy.deepcopy([method.finish.state_dict(), method.classifier.state_dict()])
    two.terms(method)["simkd"].backward()
    torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=1.0).step()
    after = [method.finish.state_dict(), method.classifier.state_dict()]
    assert all(torch.equal(a[k], b[k]) for a, b in zip(before, after, strict=True) for k in a)
    assert not any(p.requires_grad for p in method.classifier.parameters())
    assert all(p.requires_grad for p in method.projector.parameters())


def test_simkd_leaves_labels_out():
    assert METHODS["simkd"].gamma == 0.0


def test_settings_without_a_teacher_and_factors_of_nothing_are_refused():
    setting = pair("resnet8", "resnet14").setting
    with pytest.raises(ConfigError, match="network"):
        SimKD(Setting(4, 0, setting.network_shapes, setting.teacher_shapes))
    with pytest.raises(ConfigError, match="factor"):
        SimKD(setting, factor=0)
