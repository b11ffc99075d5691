"""Networks of other houses. CI's second stage has timm, torchvision and transformers; nothing is downloaded."""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch

import goodteacher as gt
from goodteacher.api import run_study
from goodteacher.base.custom import is_hub, is_own
from goodteacher.base.errors import ConfigError
from goodteacher.models import hub
from goodteacher.models.hub import hub_spec
from goodteacher.models.table import build_model
from goodteacher.models.taps import TappedModel
from goodteacher.report.listing import listing
from goodteacher.study.build import draft
from goodteacher.study.spec import HUB_RECIPE, parse_study

BARE = {"pretrained": False}
RECIPE = {"epochs": 1, "batch_size": 10, "precision": "fp32", "augment": "none"}


def has(*packages):
    return pytest.mark.skipif(
        any(importlib.util.find_spec(p) is None for p in packages),
        reason=f"needs {', '.join(packages)}; CI's second stage",
    )


# Name, size it is tried at, stages and head found, embedding's length.
NETWORKS = [
    pytest.param("timm:resnet18", 64, ("layer1", "layer2", "layer3", "layer4"), "fc", 512, marks=has("timm")),
    pytest.param("timm:mobilenetv3_small_050", 64, None, "classifier", 1024, marks=has("timm")),
    pytest.param("timm:tf_efficientnet_lite0", 64, None, "classifier", 1280, marks=has("timm")),
    pytest.param("timm:vit_tiny_patch16_224", 64, None, "head", 192, marks=has("timm")),
    pytest.param(
        "torchvision:resnet18", 64, ("layer1", "layer2", "layer3", "layer4"), "fc", 512, marks=has("torchvision")
    ),
    pytest.param("torchvision:mobilenet_v3_small", 64, None, "classifier.3", 1024, marks=has("torchvision")),
    pytest.param("torchvision:vit_b_16", 64, None, "heads.head", 768, marks=has("torchvision")),
]


def test_a_house_is_no_module_of_a_users_own():
    assert is_hub("timm:resnet18") and not is_own("timm:resnet18") and is_own("my:net") and not is_hub("timm:")


@pytest.mark.parametrize(("name", "size", "stages", "head", "width"), NETWORKS)
def test_a_network_of_another_house_answers_the_classes_and_is_read(name, size, stages, head, width):
    network = build_model(name, classes=7, input_shape=(3, size, size), **BARE)
    assert network.training and network.taps.head == head
    assert stages is None or network.taps.stages == stages
    network.eval()
    with torch.no_grad():
        output = TappedModel(network)(torch.randn(2, 3, size, size), frozenset({"stages", "embedding"}))
    assert output.logits.shape == (2, 7) and output.embedding.shape == (2, width)
    assert 2 <= len(output.stages) <= 4 and all(m.dim() == 4 and m.shape[2] == m.shape[3] for m in output.stages)


@pytest.mark.parametrize(
    ("name", "shape", "mean"),
    [
        pytest.param("timm:resnet18", (3, 224, 224), 0.485, marks=has("timm")),
        pytest.param("timm:tf_efficientnet_lite0", (3, 224, 224), 0.5, marks=has("timm")),
        pytest.param("torchvision:resnet18", (3, 224, 224), 0.485, marks=has("torchvision")),
        pytest.param("torchvision:inception_v3", (3, 299, 299), 0.485, marks=has("torchvision")),
    ],
)
def test_a_network_sees_what_its_house_says(name, shape, mean):
    spec = hub_spec(name)
    assert spec.shape == shape and spec.mean[0] == pytest.approx(mean)


@has("timm")
def test_a_draft_downloads_nothing_and_names_are_checked(monkeypatch):
    timm = importlib.import_module("timm")
    made = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *a, **k: made(*a, **k) if not k["pretrained"] else pytest.fail("download")
    )
    assert draft({"timm:resnet18": {"pretrained": True}}, 5, (3, 64, 64)).classes == 5
    with pytest.raises(ConfigError, match=r"timm:resnet19': must be known to timm; did you mean 'resnet1"):
        build_model("timm:resnet19", classes=5, input_shape=(3, 64, 64), **BARE)


@has("timm")
def test_weights_that_cannot_be_had_are_a_sentence_with_the_way_out(monkeypatch):
    timm = importlib.import_module("timm")

    def offline(*given, **options):
        raise OSError("We couldn't connect to 'https://huggingface.co'\nmore")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match=r"must load, got OSError: We couldn't connect .*; .*pretrained: false"):
        build_model("timm:resnet18", classes=5, input_shape=(3, 64, 64))


def test_a_house_that_is_not_installed_says_how(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(hub.importlib, "import_module", missing)
    hub_spec.cache_clear()
    for name, said in (
        ("timm:x", "pip install timm"),
        ("torchvision:x", "pip install torchvision"),
        ("hf:x", "transformers"),
    ):
        with pytest.raises(ConfigError, match=rf"must be installed and import, got No module.*{said}"):
            hub_spec(name)


@has("timm")
def test_from_a_vision_transformer_to_a_small_convolutional_student_each_at_its_size(tmp_path):
    study = {
        "name": "hub", "problem": {"name": "digits"}, "seeds": 1, "recipe": RECIPE,
        "teachers": {"vit": {"model": {"timm:vit_tiny_patch16_224": BARE}, "inputs": {"size": 32}}},
        "students": {"at": {"model": {"timm:resnet10t": BARE}, "method": "rkd + kd", "inputs": {"size": 48}}},
    }  # fmt: skip
    done = run_study(study, gt.load("digits", subset=3), out=tmp_path)
    assert done.summary.failed == {}
    store = gt.Store(tmp_path)
    student = store.run(done.plan.cells[0].run)
    teacher = store.run(student.spec.teaching.runs[0])
    assert teacher.input_spec.shape == (3, 32, 32) and student.input_spec.shape == (3, 48, 48)
    assert teacher.input_spec.mean[0] == 0.5 and student.spec.model == {"timm:resnet10t": {"pretrained": False}}
    assert {key: student.spec.recipe[key] for key in HUB_RECIPE} == HUB_RECIPE
    pixels = gt.load("digits", subset=3).test.inputs.rows(torch.arange(3)).numpy()
    torch.testing.assert_close(student.predict(pixels), student.outputs("test")[:3].softmax(1), rtol=1e-3, atol=1e-4)


@has("timm")
def test_taps_given_in_the_study_are_read_and_belong_to_the_run(tmp_path):
    model = {"timm:resnet18": {**BARE, "taps": {"stages": ["layer2", "layer4"], "head": "fc"}}}
    study = {
        "name": "taps", "problem": {"name": "digits"}, "seeds": 1, "recipe": RECIPE,
        "teachers": {"t": {"model": {"resnet8": {"widths": [8, 8, 8, 8]}}}},
        "students": {"at": {"model": model, "method": "at", "inputs": {"size": 32}}},
    }  # fmt: skip
    done = run_study(study, gt.load("digits", subset=2), out=tmp_path)
    run = gt.Store(tmp_path).run(done.plan.cells[0].run)
    assert run.model.taps.stages == ("layer2", "layer4")
    grid = listing("taps", "timm:resnet18")
    assert [row[0] for row in grid.rows if "stage" in row[3]] == ["layer1", "layer2", "layer3", "layer4"]


@has("transformers")
def test_a_network_of_hugging_face_by_path(tmp_path):
    transformers = importlib.import_module("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=3)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    name = f"hf:{tmp_path / 'vit'}"
    assert hub_spec(name).shape == (3, 32, 32)
    network = build_model(name, classes=5, input_shape=(3, 32, 32)).eval()
    with torch.no_grad():
        output = TappedModel(network)(torch.randn(2, 3, 32, 32), frozenset({"embedding", "stages"}))
    assert output.logits.shape == (2, 5) and output.embedding.shape == (2, 16)
    assert [tuple(m.shape[1:]) for m in output.stages] == [(16, 4, 4)] * len(output.stages) and output.stages
    again = build_model(name, classes=5, input_shape=(3, 32, 32)).eval()
    shared = {k: v for k, v in again.state_dict().items() if "classifier" not in k}
    assert all(
        torch.equal(network.state_dict()[k], v) for k, v in shared.items()
    )  # the published weights, but for the head


def test_a_recipe_that_the_study_gives_stands():
    from goodteacher.study.spec import arm_recipe

    study = parse_study({"problem": "digits", "recipe": {"lr": 0.3}, "students": {"s": {"model": "mlp"}}})
    recipe = arm_recipe(study, {"warmup": 0.2}, "x", {"timm:resnet18": {}})
    assert (recipe.lr, recipe.warmup, recipe.optimizer) == (0.3, 0.2, "adamw")
    assert arm_recipe(study, {}, "x", "resnet8").optimizer == "sgd"
