"""Networks of somebody else's, handed over as objects: they train, or one sentence says why they cannot."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import goodteacher as gt
from goodteacher.base.errors import GoodteacherError
from goodteacher.models.custom import custom_factory, hand_over

PROBLEM = gt.load("digits", subset=4)


class WithAnUnusedHead(nn.Module):
    """Its last linear layer is never called, as auxiliary heads are."""

    def __init__(self):
        super().__init__()
        self.head, self.auxiliary = nn.Linear(64, 10), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(x.flatten(1))


class WithoutParameters(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10]


def plain():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def frozen():
    return plain().requires_grad_(False)


def with_old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.Flatten(), nn.utils.weight_norm(nn.Linear(64, 10)))


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(plain())


def taught(network, out):
    return gt.teach(network, PROBLEM, epochs=1, batch_size=20, precision="fp32", out=out)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(plain().bfloat16(), id="bf16"),
        pytest.param(plain().half(), id="fp16"),
        pytest.param(plain().double(), id="fp64"),
        pytest.param(torch.compile(plain(), backend="eager"), id="compiled"),
        pytest.param(nn.DataParallel(plain()), id="parallel"),
        pytest.param(WithAnUnusedHead(), id="unused head"),
        pytest.param(
            nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 10))), id="weight norm"
        ),
    ],
)
def test_what_can_train_trains_and_loads(network, tmp_path):
    run = taught(network, tmp_path)
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert run.outputs("test").shape == (len(PROBLEM.test), 10)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "call it once on a batch"),
        (lambda: plain().to("meta"), "must have numbers in its weights"),
        (with_old_weight_norm, "must be what copy.deepcopy copies"),
        (scripted, "must be a plain network"),
        (frozen, "must have a parameter that is not frozen"),
        (WithoutParameters, "must have a parameter that is not frozen"),
        (lambda: nn.Linear(63, 10), "must take inputs of shape (1, 8, 8), got RuntimeError: mat1 and mat2"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), "must answer the problem's 10 classes, got 5"),
    ],
)
def test_what_cannot_is_said_in_a_sentence(make, text, tmp_path):
    with pytest.raises(GoodteacherError) as caught:
        taught(make(), tmp_path)
    assert text in str(caught.value)


def test_a_network_of_half_precision_starts_from_its_own_numbers():
    half = plain().half()
    (built,) = [custom_factory(hand_over(half))(classes=10)]
    for own, given in zip(built.parameters(), half.parameters(), strict=True):
        assert torch.equal(own, given.float())
