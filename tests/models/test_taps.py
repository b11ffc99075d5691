from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from goodteacher.base.errors import ConfigError
from goodteacher.models.resnet import CifarResNet
from goodteacher.models.taps import TappedModel, Taps, describe_taps, guess_taps

EVERYTHING = frozenset({"stem", "stages", "pre_activations", "embedding"})


class Foreign(nn.Module):
    """A network that knows nothing of taps: names of its own, a map that is pooled late, a head inside a container."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(1, 2, 1)
        self.body = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.Tanh())
        self.tail = nn.ModuleDict({"norm": nn.LayerNorm(4), "logits": nn.Linear(4, 2)})
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail["logits"](self.tail["norm"](self.body(self.entry(x)).mean((2, 3))))


FOREIGN_TAPS = Taps(
    stem="entry", stages=("body.1", "body"), pre_activations=("body.1:input", "body.3:input"), head="tail.logits"
)


@pytest.fixture
def foreign() -> Foreign:
    torch.manual_seed(0)
    return Foreign()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_a_foreign_network_is_read_by_module_name(foreign: Foreign, images: Tensor) -> None:
    out = TappedModel(foreign, FOREIGN_TAPS)(images, EVERYTHING)
    stem = foreign.entry(images)
    first = foreign.body[0](stem)
    second = foreign.body[2](first.relu())
    assert torch.equal(out.stem, stem)
    assert torch.equal(out.pre_activations[0], first)
    assert torch.equal(out.stages[0], first.relu())
    assert torch.equal(out.pre_activations[1], second)
    assert torch.equal(out.stages[1], second.tanh())
    assert torch.equal(out.embedding, foreign.tail["norm"](second.tanh().mean((2, 3))))
    assert torch.equal(out.logits, foreign(images))


def test_only_what_is_wanted_is_read(foreign: Foreign, images: Tensor) -> None:
    out = TappedModel(foreign, FOREIGN_TAPS)(images, frozenset({"stages"}))
    assert len(out.stages) == 2
    assert (out.stem, out.embedding, out.pre_activations) == (None, None, ())
    bare = TappedModel(foreign, FOREIGN_TAPS)(images)
    assert (bare.stem, bare.embedding, bare.stages) == (None, None, ())


def test_stages_keep_their_order_and_may_repeat(foreign: Foreign, images: Tensor) -> None:
    taps = Taps(stages=("body", "entry", "body"), pre_activations=("entry",))
    out = TappedModel(foreign, taps)(images, frozenset({"stages", "pre_activations"}))
    assert [s.shape[1] for s in out.stages] == [4, 2, 4]
    assert torch.equal(out.pre_activations[0], out.stages[1])


@pytest.mark.parametrize("wanted", ["stem", "stages", "pre_activations", "embedding"])
def test_gradients_flow_through_every_tap(foreign: Foreign, images: Tensor, wanted: str) -> None:
    out = TappedModel(foreign, FOREIGN_TAPS)(images, frozenset({wanted}))
    value = getattr(out, wanted)
    (sum(v.square().sum() for v in value) if isinstance(value, tuple) else value.square().sum()).backward()
    assert foreign.entry.weight.grad is not None
    assert foreign.entry.weight.grad.any()


def test_reading_changes_no_gradient(foreign: Foreign, images: Tensor) -> None:
    foreign(images).square().sum().backward()
    plain = foreign.entry.weight.grad.clone()
    foreign.zero_grad()
    TappedModel(foreign, FOREIGN_TAPS)(images, EVERYTHING).logits.square().sum().backward()
    assert torch.equal(foreign.entry.weight.grad, plain)


def test_hooks_are_gone_after_a_call(foreign: Foreign, images: Tensor) -> None:
    seen: list[int] = []
    foreign.entry.register_forward_pre_hook(lambda *_: seen.append(hooks(foreign)))
    TappedModel(foreign, FOREIGN_TAPS)(images, EVERYTHING)
    assert seen[0] > 1
    assert hooks(foreign) == 1


def test_hooks_are_gone_after_an_exception(foreign: Foreign) -> None:
    with pytest.raises(RuntimeError):
        TappedModel(foreign, FOREIGN_TAPS)(torch.zeros(1, 7, 4, 4), EVERYTHING)
    assert hooks(foreign) == 0


def test_an_unknown_site_is_corrected(foreign: Foreign) -> None:
    with pytest.raises(ConfigError, match=r"'body.33'.*did you mean 'body.3'"):
        TappedModel(foreign, Taps(stages=("body.33:input",)))
    with pytest.raises(ConfigError, match="'classifier'"):
        TappedModel(foreign, Taps(head="classifier"))


def test_an_undeclared_tap_is_refused(foreign: Foreign, images: Tensor) -> None:
    with pytest.raises(ConfigError, match="tap 'stages'"):
        TappedModel(foreign)(images, frozenset({"stages"}))


def test_guesses() -> None:
    assert guess_taps(CifarResNet(2, depth=8)).stages == ("stage1", "stage2", "stage3")
    assert guess_taps(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))) == Taps(head="2")
    assert guess_taps(nn.Conv2d(1, 1, 1)) == Taps()


def test_logits_of_a_transformers_answer() -> None:
    class Wrapped(nn.Module):
        def forward(self, x: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=x)

    assert torch.equal(TappedModel(Wrapped())(torch.eye(2)).logits, torch.eye(2))


def test_an_answer_that_is_no_logits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(1, 2, 4, 4\)"):
        TappedModel(nn.Conv2d(1, 2, 1))(torch.zeros(1, 1, 4, 4))


def test_describe_lists_modules_in_order_of_execution(foreign: Foreign) -> None:
    foreign.train()
    rows = describe_taps(foreign, torch.zeros(2, 1, 4, 4))
    assert rows[0] == ("entry", "Conv2d", (2, 2, 4, 4))
    assert [name for name, _, _ in rows] == [
        "entry", "body.0", "body.1", "body.2", "body.3", "body", "tail.norm", "tail.logits"
    ]  # fmt: skip
    assert foreign.training
    assert hooks(foreign) == 0
