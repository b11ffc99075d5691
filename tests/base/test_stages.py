import pytest
import torch
from torch import nn

from goodteacher.base.errors import ConfigError
from goodteacher.base.stages import children_behind, stage_names, tail_behind
from goodteacher.models.table import MODELS, build_model
from goodteacher.models.taps import TappedModel, Taps

CHAINS = [name for name in MODELS if name != "mlp"]


class Ring(nn.Module):
    """A network that is no chain: its stage is inside another module."""

    taps = Taps(stages=("body.0",), head="fc")

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Sequential(nn.Conv2d(3, 4, 1)), nn.Linear(4, 2)


class Backwards(nn.Module):
    """A network whose classifier is not its last child."""

    taps = Taps(stages=("stage1",), head="fc")

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.stage1 = nn.Linear(4, 2), nn.Conv2d(3, 4, 1)


def network(name, classes=4):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(name, classes=classes, input_shape=(3, 32, 32))


def test_what_stands_behind_a_stage():
    wide = network("wrn_16_1")
    assert stage_names(wide, "it") == ("stage1", "stage2", "stage3")
    assert list(children_behind(wide, "stage3", "it")) == ["bn1", "activation", "pool"]
    assert list(children_behind(wide, "stage1", "it"))[:2] == ["stage2", "stage3"]
    assert children_behind(wide, "stage1", "it")["stage2"] is wide.stage2


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAINS)
def test_a_tail_does_to_a_map_what_the_network_does(name):
    model = network(name).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = TappedModel(model)(x, frozenset({"stages"}))
        for stage, read in zip(stage_names(model, "it"), output.stages, strict=True):
            assert torch.equal(tail_behind(model, stage, "it").eval()(read), output.logits)


def test_a_tail_is_a_copy_that_trains():
    model = network("resnet8").eval().requires_grad_(False)
    tail = tail_behind(model, "stage2", "it")
    assert all(p.requires_grad for p in tail.parameters()) and all(m.training for m in tail.modules())
    assert not {id(p) for p in tail.parameters()} & {id(p) for p in model.parameters()}
    assert not model.training and not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("broken", [Ring(), Backwards(), nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))])
def test_networks_that_are_no_chain_are_refused(broken):
    with pytest.raises(ConfigError, match="this one: needs a network that is a chain of stages and a classifier, got"):
        stage_names(broken, "this one")


def test_vectors_and_strange_names_are_refused():
    with pytest.raises(ConfigError, match="got MLP"):
        children_behind(build_model("mlp", classes=2, input_shape=(3,)), "hidden.0", "it")
    with pytest.raises(ConfigError, match="needs the name of a child of the network, got 'stage9'; it has stage1, "):
        tail_behind(network("resnet8"), "stage9", "it")
