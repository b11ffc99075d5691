"""fp32 or bf16 with channels_last: chosen by timing a step of the actual network, never by assumption."""

from __future__ import annotations

import copy
import statistics
import time
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

from goodteacher.base.seeds import undisturbed

Precision = Literal["fp32", "bf16"]
# On two examples bf16 is this much slower, and more than noise, where it cannot be faster on a batch.
HOPELESS, NOISE_SECONDS = 4, 0.05


def autocast(device: torch.device | str, precision: Precision) -> AbstractContextManager[None]:
    """Return the context a forward pass runs in."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")


def lay_out(model: nn.Module) -> nn.Module:
    """Return the network with convolution weights in channels_last, the layout batches arrive in."""
    if any(p.dim() == 4 for p in model.parameters()):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        keep_memory_whole(model)
    return model


def keep_memory_whole(model: nn.Module) -> None:
    """Keep from channels_last those of a network's or a loss's convolutions whose gradient would corrupt memory in it."""
    for module in model.modules():
        if _must_be_plain(module):
            _keep_plain(module)


# Channels that fill a vector register, and the most pixels of a map for which fewer channels did no harm.
VECTORS = {"AVX2": (8, 0), "AVX512": (16, 32 * 32)}


def _must_be_plain(module: nn.Module) -> bool:
    """Say whether a convolution's weight gradient may write beyond its memory in channels_last.

    PyTorch's oneDNN does so for strided 1x1 convolutions of fewer channels than fill a vector register; the process dies of a
    corrupted heap. Seen with torch 2.13: below 8 channels at any size with AVX2, 8 channels of 64x64 with AVX-512.
    """
    if not isinstance(module, nn.Conv2d) or module.kernel_size != (1, 1) or max(module.stride) == 1:
        return False
    return module.in_channels < VECTORS.get(torch.backends.cpu.get_cpu_capability(), (0, 0))[0]


def _keep_plain(module: nn.Module) -> None:
    """Give a convolution its weight and its inputs in the plain layout."""
    weight = module.weight
    assert isinstance(weight, Tensor), "a convolution has a weight"
    # A 1x1 weight counts as contiguous in either layout, so only a copy changes its strides.
    weight.data = torch.empty_like(weight, memory_format=torch.contiguous_format).copy_(weight.data)
    if _plain_input not in module._forward_pre_hooks.values():
        module.register_forward_pre_hook(_plain_input)


def _plain_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    harmless = VECTORS.get(torch.backends.cpu.get_cpu_capability(), (0, 0))[1]
    if inputs[0].device.type != "cpu" or inputs[0].shape[-2:].numel() <= harmless:
        return inputs
    return (inputs[0].contiguous(memory_format=torch.contiguous_format), *inputs[1:])


def step_seconds(model: nn.Module, inputs: Tensor, precision: Precision, repeats: int = 3) -> float:
    """Return the median time of a forward and backward pass.

    Args:
        model: copied first, so that nothing of it changes.
        inputs: ``(N, ...)`` a batch of the size used in training.
        precision: to time.
        repeats: timed passes after one to warm up.

    Returns:
        Seconds.
    """
    trial = lay_out(copy.deepcopy(model)).train()
    times = []
    with undisturbed(inputs.device):
        for _ in range(repeats + 1):
            start = time.perf_counter()
            with autocast(inputs.device, precision):
                loss = trial(inputs).float().square().mean()
            loss.backward()
            if inputs.is_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def choose_precision(model: nn.Module, inputs: Tensor) -> tuple[Precision, dict[str, float]]:
    """Return the faster precision for a network, and the seconds per step that say so.

    bf16 must win by a quarter: less is within the noise of a shared machine and no reason to compute with 8 bits, in which layers
    of one or two channels can diverge (`mobilenetv2_0.1` at its published rate does).

    Args:
        model: the network.
        inputs: a batch of the size used in training.

    Returns:
        The choice and both times; that of a precision which cannot win is scaled up from two examples.
    """
    if not any(isinstance(m, nn.Conv1d | nn.Conv2d) for m in model.modules()) and not inputs.is_cuda:
        return "fp32", {}  # small matrix products: autocast only adds casts
    # A processor that only imitates bf16 takes a hundred times as long: two examples show it, and a batch would take minutes.
    few = inputs[:2]
    plain, short = (step_seconds(model, few, p, repeats=1) for p in ("fp32", "bf16"))
    if short > HOPELESS * plain + NOISE_SECONDS:
        return "fp32", {"fp32": step_seconds(model, inputs, "fp32"), "bf16": short * len(inputs) / len(few)}
    times = {p: step_seconds(model, inputs, p) for p in ("fp32", "bf16")}
    return ("bf16" if times["bf16"] < 0.75 * times["fp32"] else "fp32"), times
