"""The whole table of expected counts: parameters, multiply-accumulates, layers, buffers and feature shapes."""

import functools

import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError
from goodteacher.models.resnet_large import ResNet
from goodteacher.models.table import MODELS, build_model
from goodteacher.models.taps import TappedModel
from references_models import macs, parameters

# name: parameters at C = 100, 10, 2; MACs at C = 100; convolutions; BNs; buffer elements; maps channels@height; pooled
COUNTS = """
resnet8 83892 78042 77522 12507392 9 9 681 16@32,16@32,32@16,64@8 64
resnet14 181108 175258 174738 26663168 15 15 1135 16@32,16@32,32@16,64@8 64
resnet20 278324 272474 271954 40818944 21 21 1589 16@32,16@32,32@16,64@8 64
resnet32 472756 466906 466386 69130496 33 33 2497 16@32,16@32,32@16,64@8 64
resnet44 667188 661338 660818 97442048 45 45 3405 16@32,16@32,32@16,64@8 64
resnet56 861620 855770 855250 125753600 57 57 4313 16@32,16@32,32@16,64@8 64
resnet110 1736564 1730714 1730194 253155584 111 111 8399 16@32,16@32,32@16,64@8 64
resnet8x4 1233540 1210410 1208354 177071104 10 10 2762 32@32,64@32,128@16,256@8 256
resnet32x4 7433860 7410730 7408674 1083040768 34 34 9954 32@32,64@32,128@16,256@8 256
wrn_16_1 180916 175066 174546 26663168 15 13 941 16@32,16@32,32@16,64@8 64
wrn_16_2 703284 691674 690642 101118464 16 13 1837 16@32,32@32,64@16,128@8 128
wrn_40_1 569780 563930 563410 83286272 39 37 2757 16@32,16@32,32@16,64@8 64
wrn_40_2 2255156 2243546 2242514 327610880 40 37 5445 16@32,32@32,64@16,128@8 128
vgg8 3965028 3918858 3914754 96192512 5 5 2949 64@32,128@16,256@8,512@4,512@4 512
vgg11 9277284 9231114 9227010 209438720 8 8 5512 64@32,128@16,256@8,512@4,512@4 512
vgg13 9462180 9416010 9411906 284936192 10 10 5898 64@32,128@16,256@8,512@4,512@4 512
vgg16 14774436 14728266 14724162 398182400 13 13 8461 64@32,128@16,256@8,512@4,512@4 512
vgg19 20086692 20040522 20036418 511428608 16 16 11024 64@32,128@16,256@8,512@4,512@4 512
resnet18 11220132 11173962 11169858 555468800 20 20 9620 64@32,64@32,128@16,256@8,512@4 512
resnet34 21328292 21282122 21278018 1159448576 36 36 17060 64@32,64@32,128@16,256@8,512@4 512
resnet50 23705252 23520842 23504450 1298014208 53 53 53173 64@32,256@32,512@16,1024@8,2048@4 2048
mobilenetv2 812836 697546 687298 6523648 53 53 18421 16@16,12@16,16@8,48@4,160@2 1280
mobilenetv2_0.1 197248 81958 71710 601944 53 53 5633 3@16,2@16,3@8,9@4,32@2 1280
shufflenetv1 949258 862768 855080 38691456 49 49 23785 24@32,240@16,480@8,960@4 960
shufflenetv2 1355528 1263278 1255078 44504448 56 56 16236 24@32,116@16,232@8,464@4 1024
"""
ROWS = {line.split()[0]: line.split()[1:] for line in COUNTS.strip().splitlines()}
IMAGENET = {
    # parameters at C = 1000, MACs at 224x224, maps
    "resnet18_imagenet": (11689512, 1814073344, "64@112,64@56,128@28,256@14,512@7"),
    "resnet34_imagenet": (21797672, 3663761408, "64@112,64@56,128@28,256@14,512@7"),
    "resnet50_imagenet": (25557032, 4089184256, "64@112,256@56,512@28,1024@14,2048@7"),
    "mobilenetv1": (4231976, 568740352, "32@112,128@56,256@28,512@14,1024@7"),
}
ALL_TAPS = frozenset({"stem", "stages", "pre_activations", "embedding"})


@functools.cache
def on_meta(name: str, classes: int, size: int = 32, **options: object) -> nn.Module:
    """Shapes without numbers: the largest models are counted in milliseconds."""
    with torch.device("meta"):
        return build_model(name, classes=classes, input_shape=(3, size, size), **options).eval()


def blank(size: int) -> torch.Tensor:
    return torch.empty(1, 3, size, size, device="meta")


def shapes(maps: tuple[torch.Tensor, ...]) -> str:
    assert all(m.shape[2] == m.shape[3] for m in maps)
    return ",".join(f"{m.shape[1]}@{m.shape[2]}" for m in maps)


def test_every_row_is_counted() -> None:
    assert set(ROWS) | set(IMAGENET) | {"mlp"} == set(MODELS)


@pytest.mark.parametrize("name", ROWS)
def test_parameters(name: str) -> None:
    assert [parameters(on_meta(name, c)) for c in (100, 10, 2)] == [int(n) for n in ROWS[name][:3]]


@pytest.mark.parametrize("name", ROWS)
def test_layers_macs_and_maps(name: str) -> None:
    model, row = on_meta(name, 100), ROWS[name]
    modules = list(model.modules())
    assert macs(model, blank(32)) == int(row[3])
    assert sum(isinstance(m, nn.Conv2d) for m in modules) == int(row[4])
    assert sum(isinstance(m, nn.BatchNorm2d) for m in modules) == int(row[5])
    assert sum(b.numel() for b in model.buffers()) == int(row[6])
    out = TappedModel(model)(blank(32), ALL_TAPS)
    assert shapes((out.stem, *out.stages)) == row[7]
    assert shapes(out.pre_activations) == shapes(out.stages)
    assert out.embedding.shape == (1, int(row[8]))
    assert out.logits.shape == (1, 100)


@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_forms(name: str) -> None:
    count, operations, maps = IMAGENET[name]
    model = on_meta(name, 1000, 224)
    assert parameters(model) == count
    assert macs(model, blank(224)) == operations
    out = TappedModel(model)(blank(224), ALL_TAPS)
    assert shapes((out.stem, *out.stages)) == maps
    assert shapes(out.pre_activations) == shapes(out.stages)


@pytest.mark.parametrize(
    ("depth", "count", "operations", "buffers"),
    [(101, 42697380, 2510168064, 105448), (152, 58341028, 3722321920, 151579)],
)
def test_deep_resnets(depth: int, count: int, operations: int, buffers: int) -> None:
    with torch.device("meta"):
        model = ResNet(100, depth=depth).eval()
    assert parameters(model) == count
    assert macs(model, blank(32)) == operations
    assert sum(b.numel() for b in model.buffers()) == buffers


def test_hsakd_mobilenet_has_a_stem_of_stride_one() -> None:
    model = on_meta("mobilenetv2", 100, stem_stride=1)
    assert parameters(model) == 812836
    assert macs(model, blank(32)) == 25710592
    assert shapes(TappedModel(model)(blank(32), ALL_TAPS).stages) == "12@32,16@16,48@8,160@4"


@pytest.mark.parametrize("name", [name for name in MODELS if name != "mlp"])
def test_other_sizes_keep_the_parameters(name: str) -> None:
    model = on_meta(name, 7, 64)
    assert parameters(model) == parameters(on_meta(name, 7, 32))
    assert model(blank(64)).shape == (1, 7)


@pytest.mark.parametrize("name", MODELS)
def test_inputs_of_digits(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, classes=10, input_shape=(1, 8, 8)).eval()
    assert model(torch.empty(2, 1, 8, 8, device="meta")).shape == (2, 10)


def test_options_reach_the_constructor() -> None:
    narrow = build_model("mlp", classes=3, input_shape=(5,), widths=[4])
    assert [p.shape for p in narrow.parameters()] == [(4, 5), (4,), (3, 4), (3,)]


def test_unknown_name_is_corrected() -> None:
    with pytest.raises(ConfigError, match="did you mean 'resnet56'"):
        build_model("resnet65", classes=2, input_shape=(3, 32, 32))


@pytest.mark.parametrize(
    ("name", "option"),
    [("resnet8", "depth"), ("wrn_16_1", "widht"), ("vgg8", "channels"), ("mobilenetv2_0.1", "width"), ("mlp", "width")],
)
def test_unknown_and_fixed_options_are_refused(name: str, option: str) -> None:
    with pytest.raises(ConfigError, match=f"'{option}'"):
        build_model(name, classes=2, input_shape=(3, 32, 32), **{option: 1})


def test_vectors_are_for_the_mlp() -> None:
    with pytest.raises(ConfigError, match="takes images"):
        build_model("vgg8", classes=2, input_shape=(30,))
    assert build_model("mlp", classes=2, input_shape=(30,))(torch.zeros(4, 30)).shape == (4, 2)


def test_what_is_wrong_with_a_function_of_the_users_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "odd_nets.py").write_text(
        "def narrow(n): ...\ndef broken(classes): raise ValueError('no such width')\ndef text(classes): return 'net'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, said in (
        ("narrow", r"must be a function of 'classes'.*got \(n\)"),
        ("broken", "must build, got ValueError: no such width; call it yourself first"),
        ("text", "must be a torch.nn.Module, got str"),
    ):
        with pytest.raises(ConfigError, match=f"model 'odd_nets:{name}': {said}"):
            build_model(f"odd_nets:{name}", classes=3, input_shape=(4,))
