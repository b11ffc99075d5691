from __future__ import annotations

import torch
from torch import nn

from goodteacher.models.guessed_taps import guessed
from goodteacher.models.resnet_large import ResNet
from goodteacher.models.taps import TappedModel, Taps


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip


def test_stages_are_the_last_maps_of_each_size_and_the_head_the_last_linear_layer():
    assert guessed(plain(), torch.zeros(2, 3, 16, 16)) == Taps(stages=("4", "7"), head="10")


def test_of_modules_that_end_a_size_together_the_outermost_is_taken():
    network = ResNet(5, depth=18, stem="imagenet")
    own, found = network.taps, guessed(network, torch.zeros(2, 3, 64, 64))
    assert found.stages == own.stages and found.head == own.head


class Auxiliary(nn.Module):
    """A network whose last module is not called, and whose forward has a branch for training alone."""

    def __init__(self):
        super().__init__()
        self.body, self.fc, self.auxiliary = nn.Conv2d(1, 4, 3, stride=2), nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        h = self.body(x).mean(dim=(2, 3))
        return self.fc(h)


def test_a_head_that_is_not_called_is_no_head():
    assert guessed(Auxiliary(), torch.zeros(2, 1, 9, 9)) == Taps(stages=("body",), head="fc")


class Tokens(nn.Module):
    """A transformer in outline: a class token and four by four places, six blocks."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(6))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        h = self.embed(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(x), -1, -1), h], dim=1)
        for block in self.blocks:
            h = h + block(h)
        return self.head(h[:, 0])


def test_of_tokens_four_blocks_are_read_as_maps():
    network, x = Tokens(), torch.randn(2, 3, 16, 16)
    found = guessed(network, x)
    assert found.head == "head" and found.stages == ("blocks.0", "blocks.2", "blocks.3", "blocks.5")
    output = TappedModel(network, Taps(stages=("blocks.0", "blocks.5"), head="head"))(
        x, frozenset({"stages", "embedding"})
    )
    assert [tuple(m.shape) for m in output.stages] == [(2, 8, 4, 4)] * 2 and output.embedding.shape == (2, 8)
    # The class token stands before the places, which lie row by row.
    assert torch.equal(output.stages[0][:, :, 0, 1], network.blocks[0](_before(network, x))[:, 2])


def _before(network, x):
    h = network.embed(x).flatten(2).transpose(1, 2)
    return torch.cat([network.token.expand(len(x), -1, -1), h], dim=1)


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.turn, self.keep, self.fc = nn.Identity(), nn.Identity(), nn.Linear(4, 3)

    def forward(self, x):
        h = x[:, :, ::2, ::2].permute(0, 2, 3, 1)
        return self.fc(self.keep(self.turn(h)).mean(dim=(1, 2)))


def test_maps_with_channels_last_are_not_mistaken_for_others():
    assert guessed(ChannelsLast(), torch.zeros(2, 4, 16, 16)).stages == ()


def test_vectors_have_a_head_alone():
    network = nn.Sequential(nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 3))
    assert guessed(network, torch.zeros(2, 7)) == Taps(head="2")
