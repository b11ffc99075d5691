"""Other toolkits' files: the same answers to 1e-5, and nothing that a file brings along is run."""

import argparse
import builtins
import os
import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from goodteacher.base.errors import ConfigError, DataError
from goodteacher.models.checkpoints import canonical_name, import_weights
from goodteacher.models.table import MODELS, build_model
from goodteacher.models.taps import TappedModel
from goodteacher.models.weight_files import read_state_dict
from references_models import (
    Answer,
    Weights,
    mobilenet_v1,
    mobilenet_v2,
    resnet,
    shuffle_v1,
    shuffle_v2,
    vgg,
    wide_resnet,
)

MAPS = frozenset({"stem", "stages", "pre_activations", "embedding"})
SMALL, WIDE, LARGE = [16, 16, 32, 64], [32, 64, 128, 256], [64, 64, 128, 256, 512]
Reference = Callable[..., Answer]
# name there, ours, reference, input size
FAMILIES: list[tuple[str, str, Reference, int]] = [
    ("resnet8x4", "resnet8x4", partial(resnet, blocks=[1] * 3, widths=WIDE, style="cifar"), 32),
    ("resnet20", "resnet20", partial(resnet, blocks=[3] * 3, widths=SMALL, style="cifar"), 32),
    ("wrn_16_2", "wrn_16_2", partial(wide_resnet, depth=16, k=2), 32),
    ("wrn_40_1", "wrn_40_1", partial(wide_resnet, depth=40, k=1), 32),
    ("vgg8", "vgg8", partial(vgg, counts=[1] * 5), 32),
    ("vgg13_bn", "vgg13", partial(vgg, counts=[2] * 5), 64),
    ("MobileNetV2", "mobilenetv2", partial(mobilenet_v2, width=0.5, stem_stride=2), 32),
    ("ShuffleV1", "shufflenetv1", shuffle_v1, 32),
    ("ShuffleV2", "shufflenetv2", shuffle_v2, 32),
    ("ResNet18", "resnet18", partial(resnet, blocks=[2] * 4, widths=LARGE, style="v2"), 32),
    ("ResNet50", "resnet50", partial(resnet, blocks=[3, 4, 6, 3], widths=LARGE, style="v2", factor=4), 32),
    ("resnet18_imagenet", "resnet18_imagenet", partial(resnet, blocks=[2] * 4, widths=LARGE, style="imagenet"), 64),
    ("MobileNetV1", "mobilenetv1", mobilenet_v1, 64),
]


def build(name: str, classes: int = 5) -> nn.Module:
    return build_model(name, classes=classes, input_shape=(3, 32, 32)).eval()


def foreign_state(**options: object) -> dict[str, Tensor]:
    weights = Weights(**options)
    resnet(
        weights, torch.zeros(1, 3, 8, 8, dtype=torch.float64), blocks=[1] * 3, widths=SMALL, style="cifar", classes=5
    )
    return weights.state


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(("theirs", "ours", "reference", "size"), FAMILIES, ids=[row[0] for row in FAMILIES])
def test_the_same_answers(tmp_path: Path, theirs: str, ours: str, reference: Reference, size: int) -> None:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = Weights(seed=2)
    expected = reference(weights, images, classes=5)
    path = tmp_path / "ckpt_epoch_240.pth"
    torch.save({"opt": argparse.Namespace(lr=0.05, model=theirs), "epoch": 240, "model": weights.state}, path)

    assert canonical_name(theirs) == ours
    model = build(ours)
    import_weights(model, theirs, read_state_dict(path))
    found = TappedModel(model.double())(images, MAPS)

    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    close(found.logits, expected.logits)
    close(found.embedding, expected.pooled)
    close(found.stem, expected.stem)
    assert len(found.stages) == len(expected.stages)
    for mine, other in zip(found.stages, expected.stages, strict=True):
        close(mine, other)
    for mine, other in zip(found.pre_activations, expected.pre_activations, strict=True):
        close(mine, other)


def test_the_reference_is_not_constant() -> None:
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    answer = FAMILIES[0][2](Weights(), images, classes=5)
    assert answer.logits.std() > 1e-2
    assert not torch.allclose(answer.logits[0], answer.logits[1], atol=1e-3)


# --- reading files --------------------------------------------------------------------------------


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in expected)


class Options(dict[str, object]):
    """A configuration of another toolkit: a dict with attributes."""


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"opt": argparse.Namespace(lr=0.05)},
        {"best_acc": np.float32(0.7), "history": np.arange(3)},
        {"opt": Options(lr=0.05), "path": Path("save"), "kind": slice(1, 2)},
        {"optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}},
    ],
    ids=["nothing", "namespace", "numpy", "objects", "optimizer"],
)
def test_whatever_lies_beside_the_weights(tmp_path: Path, beside: dict[str, object], zipped: bool) -> None:
    state, path = foreign_state(), tmp_path / "model.pth"
    torch.save({**beside, "model": state}, path, _use_new_zipfile_serialization=zipped)
    assert same(read_state_dict(path), state)


@pytest.mark.parametrize("key", ["model", "state_dict", "net", "model_state_dict", "student"])
def test_where_toolkits_keep_the_weights(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: {"fc.weight": torch.ones(2)}}, tmp_path / "a.pth")
    assert same(read_state_dict(tmp_path / "a.pth"), {"fc.weight": torch.ones(2)})


def test_bare_states_and_safetensors(tmp_path: Path) -> None:
    model = build("resnet8")
    torch.save(model.state_dict(), tmp_path / "a.pt")
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    assert same(read_state_dict(tmp_path / "a.pt"), model.state_dict())
    assert same(read_state_dict(str(tmp_path / "a.safetensors")), model.state_dict())


def test_parameters_come_without_gradients(tmp_path: Path) -> None:
    torch.save({"model": {"w": nn.Parameter(torch.ones(2))}}, tmp_path / "a.pth")
    assert not read_state_dict(tmp_path / "a.pth")["w"].requires_grad


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "'epoch'"),
        ({}, "nothing"),
        ([torch.ones(2)], "no keys"),
        ({"model": {"w": 1.0}}, "state dict"),
        (nn.Linear(2, 2), "not the model"),
    ],
    ids=["no weights", "empty", "list", "numbers", "whole model"],
)
def test_files_without_weights(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(DataError, match=message):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_damaged_and_missing_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_state_dict(tmp_path / name)
    (tmp_path / name).write_bytes(b"\x80\x02 no weights here")
    with pytest.raises(DataError, match="read safely"):
        read_state_dict(tmp_path / name)
    torch.save({"w": torch.ones(2)}, tmp_path / "whole.pth")
    (tmp_path / name).write_bytes((tmp_path / "whole.pth").read_bytes()[:-200])
    with pytest.raises(DataError, match="read safely"):
        read_state_dict(tmp_path / name)


# --- hostile files --------------------------------------------------------------------------------


class Attack:
    """Unpickles as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_foreign_calls_are_not_made(tmp_path: Path, zipped: bool) -> None:
    trace, path, state = tmp_path / "trace", tmp_path / "a.pth", {"w": torch.ones(2)}
    attack = Attack(builtins.exec, f"open({str(trace)!r}, 'w').close()")
    torch.save({"opt": attack, "model": state}, path, _use_new_zipfile_serialization=zipped)
    assert same(read_state_dict(path), state)
    assert not trace.exists()
    # The same file is dangerous to a reader that trusts it: otherwise the lines above would show nothing.
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_foreign_calls_in_place_of_weights_are_not_made(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "a.pth"
    torch.save({"model": {"w": Attack(builtins.exec, f"open({str(trace)!r}, 'w').close()")}}, path)
    with pytest.raises(DataError, match="state dict"):
        read_state_dict(path)
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_system_calls_are_refused(tmp_path: Path, zipped: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "a.pth"
    attack = Attack(os.system, f"touch {trace}")
    torch.save({"opt": attack, "model": {"w": torch.ones(2)}}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"posix\.system"):
        read_state_dict(path)
    assert not trace.exists()


def test_a_plain_pickle_is_refused_unrun(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "a.pth"
    path.write_bytes(pickle.dumps(Attack(builtins.exec, f"open({str(trace)!r}, 'w').close()"), protocol=4))
    with pytest.raises(DataError, match="read safely"):
        read_state_dict(path)
    assert not trace.exists()


def test_foreign_modules_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_toolkit.py").write_text("class Options:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import their_toolkit

    torch.save({"opt": their_toolkit.Options(), "model": {"w": torch.ones(2)}}, tmp_path / "a.pth")
    monkeypatch.delitem(sys.modules, "their_toolkit")
    assert same(read_state_dict(tmp_path / "a.pth"), {"w": torch.ones(2)})
    assert "their_toolkit" not in sys.modules


def test_torch_keeps_no_memory_of_what_was_let_through(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save({"opt": argparse.Namespace(lr=1), "model": {"w": torch.ones(2)}}, tmp_path / "a.pth")
    read_state_dict(tmp_path / "a.pth")
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)


# --- importing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "student.", "module.student."])
def test_wrappers_are_seen_through(prefix: str) -> None:
    state = foreign_state()
    wrapped = {prefix + key: value for key, value in state.items()}
    if "student" in prefix:
        wrapped[prefix.replace("student", "teacher") + "fc.weight"] = torch.zeros(1)
    plain, seen = build("resnet8"), build("resnet8")
    import_weights(plain, "resnet8", state)
    import_weights(seen, "resnet8", wrapped)
    assert same(seen.state_dict(), plain.state_dict())
    assert torch.equal(plain.stage2[0].shortcut[0].weight, state["layer2.0.downsample.0.weight"])


def test_step_counters_may_be_missing() -> None:
    model = build("resnet8")
    import_weights(model, "resnet8", foreign_state(counters=False))
    assert int(model.bn1.num_batches_tracked) == 0
    import_weights(model, "resnet8", foreign_state(counters=True))
    assert int(model.bn1.num_batches_tracked) == 7


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2", "mlp"])
def test_our_own_weights_come_back(name: str) -> None:
    torch.manual_seed(0)
    source, target = build(name), build(name)
    import_weights(target, name, source.state_dict())
    assert same(target.state_dict(), source.state_dict())


def test_other_class_numbers_change_nothing() -> None:
    model = build("resnet8", classes=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(DataError, match=r"'resnet8'.*2 of another shape \(fc.weight \(5, 64\) for \(3, 64\)"):
        import_weights(model, "resnet8", foreign_state())
    assert same(model.state_dict(), before)


def test_the_wrong_model_names_the_first_few_keys() -> None:
    with pytest.raises(DataError, match=r"unknown \(conv1.weight, .*, \.\.\.\); \d+ missing \(") as caught:
        import_weights(build("vgg8"), "vgg8", foreign_state())
    assert len(str(caught.value)) < 500


def test_one_missing_key_is_enough() -> None:
    state = foreign_state()
    del state["layer3.0.bn2.bias"]
    with pytest.raises(DataError, match=r"1 missing \(stage3.0.bn2.bias\)"):
        import_weights(build("resnet8"), "resnet8", state)


def test_names() -> None:
    assert canonical_name("mobile_half") == "mobilenetv2"
    assert all(canonical_name(name) == name for name in MODELS)
    with pytest.raises(ConfigError, match="did you mean 'ShuffleV2'"):
        canonical_name("ShuffleV3")
