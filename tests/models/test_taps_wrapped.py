"""Networks in wrappers: what is read of them is what would be read of the network inside."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from goodteacher.base.errors import ConfigError
from goodteacher.models.resnet import CifarResNet
from goodteacher.models.taps import TappedModel, Taps, guess_taps, tap_shapes, unwrapped

EVERYTHING = frozenset({"stem", "stages", "pre_activations", "embedding"})


@pytest.fixture(autouse=True)
def _compiled_afresh():
    yield
    torch.compiler.reset()


@pytest.fixture
def group(tmp_path):
    """The smallest process group there is: this process."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CifarResNet(5, depth=8, channels=1, widths=(4, 4, 8, 8))


@pytest.fixture
def images():
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def by_method(network):
    network.compile(backend="eager")
    return network


WRAPPERS = {
    "torch.compile": lambda network: torch.compile(network, backend="eager"),
    "Module.compile": by_method,
    "a part compiled": lambda network: by_method(network.stage2) and network,
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": DistributedDataParallel,
    "compiled in DataParallel": lambda network: nn.DataParallel(torch.compile(network, backend="eager")),
    "compiled in DistributedDataParallel": lambda network: DistributedDataParallel(
        torch.compile(network, backend="eager")
    ),
    "DistributedDataParallel, compiled": lambda network: torch.compile(
        DistributedDataParallel(network), backend="eager"
    ),
}
EACH = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
DISTRIBUTED = pytest.mark.parametrize(
    "wrap", [wrap for name, wrap in WRAPPERS.items() if "Distributed" in name],
    ids=[name for name in WRAPPERS if "Distributed" in name],
)  # fmt: skip


def parts(output):
    return [output.logits, output.embedding, output.stem, *output.stages, *output.pre_activations]


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.filterwarnings("ignore:Dynamo does not know:UserWarning")
@EACH
@torch.no_grad()
def test_taps_are_those_of_the_plain_network(group, network, images, wrap):
    plain = TappedModel(copy.deepcopy(network).eval())(images, EVERYTHING)
    wrapped = wrap(network).eval()
    tapped = TappedModel(wrapped)
    assert unwrapped(wrapped) is tapped.inner is network and guess_taps(wrapped) == network.taps
    wrapped(images)  # what is compiled, is compiled without hooks
    for _ in range(2):
        found = tapped(images, EVERYTHING)
        assert len(found.stages) == len(plain.stages) > 0
        assert all(map(torch.equal, parts(plain), parts(found)))
    assert hooks(network) == 0
    assert torch.equal(tapped(images).logits, plain.logits)


@EACH
def test_gradients_flow_through_what_is_read(group, network, images, wrap):
    twin = copy.deepcopy(network)

    def gradients(model, owner):
        out = TappedModel(model)(images, EVERYTHING)
        sum(part.square().sum() for part in parts(out)).backward()
        return [p.grad for p in owner.parameters()]

    expected = gradients(twin, twin)
    found = gradients(wrap(network), network)
    assert all(map(torch.equal, expected, found)) and all(bool(g.any()) for g in found[:1])


@DISTRIBUTED
def test_gradients_are_averaged_by_the_wrapper(group, network, images, wrap):
    wrapped = wrap(network)
    inner = wrapped if isinstance(wrapped, DistributedDataParallel) else wrapped._orig_mod
    reduced = []

    def communicate(state, bucket):
        reduced.append(sum(p.numel() for p in bucket.parameters()))
        done = torch.futures.Future()
        done.set_result(bucket.buffer() / 2)
        return done

    inner.register_comm_hook(None, communicate)
    twin = copy.deepcopy(network)
    for model in (twin, wrapped):
        sum(part.square().sum() for part in parts(TappedModel(model)(images, EVERYTHING))).backward()
    # As if another process had had no gradient at all: the average of the two.
    assert sum(reduced) == sum(p.numel() for p in network.parameters())
    pairs = zip(twin.parameters(), network.parameters(), strict=True)
    assert all(torch.equal(own.grad / 2, p.grad) for own, p in pairs)


@pytest.mark.parametrize("name", ["torch.compile", "Module.compile", "DataParallel"])
def test_shapes_are_measured_inside_too(network, images, name):
    plain = tap_shapes(copy.deepcopy(network), images)
    wrapped = WRAPPERS[name](network)
    wrapped.train()
    assert tap_shapes(wrapped, images) == plain and wrapped.training


def test_what_was_compiled_is_compiled_afterwards(network, images):
    network.compile(backend="eager")
    call = network._compiled_call_impl
    TappedModel(network)(images, EVERYTHING)
    assert network._compiled_call_impl is call
    with pytest.raises(RuntimeError):
        TappedModel(network)(torch.zeros(1, 7, 8, 8), EVERYTHING)
    assert network._compiled_call_impl is call and hooks(network) == 0


def test_a_call_compiled_with_its_taps_reads_the_same(network, images):
    tapped = TappedModel(network.eval())
    plain = tapped(images, EVERYTHING)
    graphs = []

    def backend(graph, example):
        graphs.append(graph)
        return graph.forward

    tapped.compile(EVERYTHING, backend=backend)
    for _ in range(2):
        assert all(map(torch.equal, parts(plain), parts(tapped(images, EVERYTHING))))
    assert graphs  # it went through the compiler
    only = tapped(images, frozenset({"stem"}))
    assert torch.equal(only.stem, plain.stem) and only.stages == ()


class Shortcut(nn.Module):
    """A network with a module that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.never, self.last = nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))


TAPS = Taps(stages=("first", "never"), head="last")


@pytest.mark.parametrize("wrap", [lambda x: x, *(WRAPPERS[n] for n in ("torch.compile", "DataParallel"))])
def test_a_site_that_is_never_called_is_refused_in_a_sentence(wrap):
    tapped = TappedModel(wrap(Shortcut()), TAPS)
    said = "^tap 'stages': reads the module 'never', which the network's forward pass did not call; declare where .*"
    with pytest.raises(ConfigError, match=said):
        tapped(torch.zeros(2, 4), frozenset({"stages"}))
    assert hooks(tapped.inner) == 0
    assert tapped(torch.zeros(2, 4), frozenset({"embedding"})).embedding.shape == (2, 3)
    tapped.compile(frozenset({"stages"}), backend="eager")
    with pytest.raises(ConfigError, match=said):
        tapped(torch.zeros(2, 4), frozenset({"stages"}))
