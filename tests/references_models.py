"""Slow, independent evaluators of the benchmark networks, in the key names of RepDistiller, mdistiller and torchvision.

Each evaluator walks an input through functional calls and asks `Weights` for what it needs by key; weights that do not
exist yet are drawn, so that one run makes a foreign state dict and the answer that belongs to it. The weights are
float32, as in files; the answer is computed in float64, so that a comparison need not allow for rounding.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class Answer:
    """What a reference network says: logits, pooled vector, stem map, stage maps, and their pre-activations."""

    logits: Tensor
    pooled: Tensor
    stem: Tensor
    stages: list[Tensor]
    pre_activations: list[Tensor]


@dataclass
class Weights:
    """A state dict that grows on demand."""

    seed: int = 0
    state: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)
    counters: bool = True

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def get(self, key: str, shape: tuple[int, ...], *, mean: float = 0.0, spread: float) -> Tensor:
        if key not in self.state:
            self.state[key] = mean + spread * (2 * torch.rand(shape, generator=self.generator) - 1)
        assert self.state[key].shape == shape, key
        return self.state[key].double()

    def conv(
        self, x: Tensor, key: str, out: int, size: int, stride: int = 1, *, groups: int = 1, bias: bool = False
    ) -> Tensor:
        inside = x.shape[1] // groups
        weight = self.get(f"{key}.weight", (out, inside, size, size), spread=(6 / (inside * size * size)) ** 0.5)
        offset = self.get(f"{key}.bias", (out,), spread=0.3) if bias else None
        return F.conv2d(x, weight, offset, stride, padding=(size - 1) // 2, groups=groups)

    def bn(self, x: Tensor, key: str) -> Tensor:
        n = (x.shape[1],)
        gamma, beta = self.get(f"{key}.weight", n, mean=0.8, spread=0.4), self.get(f"{key}.bias", n, spread=0.4)
        center = self.get(f"{key}.running_mean", n, spread=0.3)
        spread = self.get(f"{key}.running_var", n, mean=1.0, spread=0.5)
        if self.counters:
            self.state.setdefault(f"{key}.num_batches_tracked", torch.tensor(7))
        gain = gamma / torch.sqrt(spread + 1e-5)
        return x * gain[:, None, None] + (beta - gain * center)[:, None, None]

    def linear(self, x: Tensor, key: str, out: int) -> Tensor:
        weight = self.get(f"{key}.weight", (out, x.shape[1]), spread=x.shape[1] ** -0.5)
        return x @ weight.T + self.get(f"{key}.bias", (out,), spread=0.3)


def resnet(
    w: Weights, x: Tensor, *, blocks: list[int], widths: list[int], classes: int, style: str, factor: int = 1
) -> Answer:
    """``style``: cifar (three stages, downsample, fc), v2 (shortcut, linear), imagenet (downsample, fc, large stem)."""
    side, head = ("shortcut", "linear") if style == "v2" else ("downsample", "fc")
    x = stem = w.bn(w.conv(x, "conv1", widths[0], *((7, 2) if style == "imagenet" else (3, 1))), "bn1").relu()
    if style == "imagenet":
        x = F.max_pool2d(x, 3, 2, 1)
    stages, before = [], []
    for s, count in enumerate(blocks, start=1):
        for b in range(count):
            key, stride, out = f"layer{s}.{b}", 2 if s > 1 and b == 0 else 1, widths[s] * factor
            plan = [(3, stride), (3, 1)] if factor == 1 else [(1, 1), (3, stride), (1, 1)]
            y = x
            for i, (size, step) in enumerate(plan, start=1):
                y = w.bn(w.conv(y, f"{key}.conv{i}", out if i == len(plan) else widths[s], size, step), f"{key}.bn{i}")
                y = y.relu() if i < len(plan) else y
            if stride == 2 or x.shape[1] != out:
                x = w.bn(w.conv(x, f"{key}.{side}.0", out, 1, stride), f"{key}.{side}.1")
            total = x + y
            x = total.relu()
        stages.append(x)
        before.append(total)
    pooled = x.mean((2, 3))
    return Answer(w.linear(pooled, head, classes), pooled, stem, stages, before)


def wide_resnet(w: Weights, x: Tensor, *, depth: int, k: int, classes: int) -> Answer:
    x = stem = w.conv(x, "conv1", 16, 3)
    stages = []
    for s, out in enumerate((16 * k, 32 * k, 64 * k), start=1):
        for b in range((depth - 4) // 6):
            key, stride = f"block{s}.layer.{b}", 2 if s > 1 and b == 0 else 1
            a = w.bn(x, f"{key}.bn1").relu()
            y = w.conv(w.bn(w.conv(a, f"{key}.conv1", out, 3, stride), f"{key}.bn2").relu(), f"{key}.conv2", out, 3)
            x = (x if x.shape[1] == out else w.conv(a, f"{key}.convShortcut", out, 1, stride)) + y
        stages.append(x)
    norms = ("block2.layer.0.bn1", "block3.layer.0.bn1", "bn1")
    before = [w.bn(stage, key) for stage, key in zip(stages, norms, strict=True)]
    pooled = before[-1].relu().mean((2, 3))
    return Answer(w.linear(pooled, "fc", classes), pooled, stem, stages, before)


def vgg(w: Weights, x: Tensor, *, counts: list[int], classes: int) -> Answer:
    size, maps, before = x.shape[2], [], []
    for s, (count, out) in enumerate(zip(counts, (64, 128, 256, 512, 512), strict=True)):
        if s in (1, 2, 3) or (s == 4 and size == 64):
            x = F.max_pool2d(x, 2)
        for b in range(count):
            raw = w.bn(w.conv(x, f"block{s}.{3 * b}", out, 3, bias=True), f"block{s}.{3 * b + 1}")
            x = raw.relu()
        maps.append(x)
        before.append(raw)
    pooled = x.mean((2, 3))
    return Answer(w.linear(pooled, "classifier", classes), pooled, maps[0], maps[1:], before[1:])


def mobilenet_v2(w: Weights, x: Tensor, *, width: float, stem_stride: int, classes: int) -> Answer:
    x = stem = w.bn(w.conv(x, "conv1.0", int(32 * width), 3, stem_stride), "conv1.1").relu()
    rows = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    stages = []
    for i, (t, c, n, s) in enumerate(rows):
        for j in range(n):
            key, inner, out = f"blocks.{i}.{j}.conv", x.shape[1] * t, int(c * width)
            y = w.bn(w.conv(x, f"{key}.0", inner, 1), f"{key}.1").relu()
            y = w.bn(w.conv(y, f"{key}.3", inner, 3, s if j == 0 else 1, groups=inner), f"{key}.4").relu()
            y = w.bn(w.conv(y, f"{key}.6", out, 1), f"{key}.7")
            x = x + y if y.shape == x.shape and (s == 1 or j > 0) else y
        if i in (1, 2, 4, 6):
            stages.append(x)
    pooled = w.bn(w.conv(x, "conv2.0", 1280, 1), "conv2.1").relu().mean((2, 3))
    return Answer(w.linear(pooled, "classifier.0", classes), pooled, stem, stages, stages)


def mobilenet_v1(w: Weights, x: Tensor, *, classes: int) -> Answer:
    x = stem = w.bn(w.conv(x, "model.0.0", 32, 3, 2), "model.0.1").relu()
    outs = [64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    stages, before = [], []
    for i, out in enumerate(outs, start=1):
        key, inside = f"model.{i}", x.shape[1]
        y = w.bn(w.conv(x, f"{key}.0", inside, 3, 2 if i in (2, 4, 6, 12) else 1, groups=inside), f"{key}.1").relu()
        raw = w.bn(w.conv(y, f"{key}.3", out, 1), f"{key}.4")
        x = raw.relu()
        if i in (3, 5, 11, 13):
            stages.append(x)
            before.append(raw)
    pooled = x.mean((2, 3))
    return Answer(w.linear(pooled, "fc", classes), pooled, stem, stages, before)


def mix(x: Tensor, groups: int) -> Tensor:
    """Channel shuffle by index: channel j of group i comes to place j * groups + i."""
    order = torch.arange(x.shape[1]).reshape(groups, -1).T.reshape(-1)
    return x[:, order]


def shuffle_v1(w: Weights, x: Tensor, *, classes: int) -> Answer:
    x = stem = w.bn(w.conv(x, "conv1", 24, 1), "bn1").relu()
    stages, before = [], []
    for s, (out, count) in enumerate(((240, 4), (480, 8), (960, 4)), start=1):
        for b in range(count):
            key, down = f"layer{s}.{b}", b == 0
            added = out - x.shape[1] if down else out
            inner, groups = added // 4, 1 if x.shape[1] == 24 else 3
            y = mix(w.bn(w.conv(x, f"{key}.conv1", inner, 1, groups=groups), f"{key}.bn1").relu(), groups)
            y = w.bn(w.conv(y, f"{key}.conv2", inner, 3, 2 if down else 1, groups=inner), f"{key}.bn2").relu()
            y = w.bn(w.conv(y, f"{key}.conv3", added, 1, groups=3), f"{key}.bn3")
            raw = torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], 1) if down else x + y
            x = raw.relu()
        stages.append(x)
        before.append(raw)
    pooled = x.mean((2, 3))
    return Answer(w.linear(pooled, "linear", classes), pooled, stem, stages, before)


def shuffle_v2(w: Weights, x: Tensor, *, classes: int) -> Answer:
    x = stem = w.bn(w.conv(x, "conv1", 24, 1), "bn1").relu()
    stages, before = [], []
    for s, (out, count) in enumerate(((116, 3), (232, 7), (464, 3)), start=1):
        key, inside, half = f"layer{s}.0", x.shape[1], out // 2
        a = w.bn(w.conv(x, f"{key}.conv1", inside, 3, 2, groups=inside), f"{key}.bn1")
        a = w.bn(w.conv(a, f"{key}.conv2", half, 1), f"{key}.bn2").relu()
        b = w.bn(w.conv(x, f"{key}.conv3", half, 1), f"{key}.bn3").relu()
        b = w.bn(w.conv(b, f"{key}.conv4", half, 3, 2, groups=half), f"{key}.bn4")
        b = w.bn(w.conv(b, f"{key}.conv5", half, 1), f"{key}.bn5").relu()
        x = mix(torch.cat([a, b], 1), 2)
        for i in range(1, count + 1):
            key, kept, y = f"layer{s}.{i}", x[:, :half], x[:, half:]
            y = w.bn(w.conv(y, f"{key}.conv1", half, 1), f"{key}.bn1").relu()
            y = w.bn(w.conv(y, f"{key}.conv2", half, 3, groups=half), f"{key}.bn2")
            y = w.bn(w.conv(y, f"{key}.conv3", half, 1), f"{key}.bn3")
            x, raw = mix(torch.cat([kept, y.relu()], 1), 2), torch.cat([kept, y], 1)
        stages.append(x)
        before.append(raw)
    pooled = w.bn(w.conv(x, "conv2", 1024, 1), "bn2").relu().mean((2, 3))
    return Answer(w.linear(pooled, "linear", classes), pooled, stem, stages, before)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, inputs: Tensor) -> int:
    """Multiply-accumulates of convolutions and linear layers for one example."""
    total = 0

    def add(module: nn.Module, _: object, out: Tensor) -> None:
        nonlocal total
        total += out[0].numel() * module.weight[0].numel()

    handles = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    model(inputs)
    for handle in handles:
        handle.remove()
    return total
