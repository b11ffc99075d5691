"""What a finished network costs to run: parameters, multiplications, size, time per call; measured once, kept with its run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from goodteacher.base.seeds import undisturbed
from goodteacher.study.machine import environment
from goodteacher.study.run import Run
from goodteacher.train.precision import lay_out
from goodteacher.train.records import read_json, write_json

BATCHES = (1, 64)
REPEATS = 9
FILE = "footprint.json"


@dataclass(frozen=True)
class Footprint:
    """What a network costs to run.

    Attributes:
        parameters: numbers that training sets.
        macs: multiplications with addition per example, in convolutions, linear layers and attention.
        bytes: of its weights' file.
        milliseconds: per call by batch size, median, in fp32 on the processor.
        threads: of the calls.
        processor: they ran on.
    """

    parameters: int
    macs: int
    bytes: int
    milliseconds: dict[int, float]
    threads: int
    processor: str


def footprint(run: Run) -> Footprint | None:
    """Return what was measured of a run, or None where nobody has."""
    path = run.path / FILE
    if not path.exists():
        return None
    stored = read_json(path)
    return Footprint(**{**stored, "milliseconds": {int(k): v for k, v in stored["milliseconds"].items()}})


def measure_footprint(run: Run) -> Footprint:
    """Return what a run's network costs, measured now unless it has been.

    Args:
        run: finished.
    """
    known = footprint(run)
    if known is not None:
        return known
    network, shape = lay_out(run.model.to("cpu").eval()), run.spec.input_shape(run.facts)
    found = Footprint(
        parameters=sum(p.numel() for p in network.parameters()),
        macs=macs_of(network, torch.zeros(1, *shape)),
        bytes=(run.path / "model.safetensors").stat().st_size,
        milliseconds={count: milliseconds(network, torch.zeros(count, *shape)) for count in BATCHES},
        threads=torch.get_num_threads(),
        processor=environment()["processor"],
    )
    write_json(run.path / FILE, asdict(found))
    return found


def macs_of(network: nn.Module, example: Tensor) -> int:
    """Return the multiplications with addition of one forward pass, half of PyTorch's count of operations.

    Args:
        network: in eval mode.
        example: ``(1, ...)``.

    Example:
        >>> macs_of(nn.Linear(3, 4), torch.zeros(1, 3))
        12
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(example)
    return int(counter.get_total_flops() // 2)


@torch.no_grad()
def milliseconds(call: Callable[[Tensor], object], inputs: Tensor) -> float:
    """Return the median time of 9 calls, after two to warm up."""
    times = []
    with undisturbed():
        for _ in range(REPEATS + 2):
            start = time.perf_counter()
            call(inputs)
            times.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(times[2:]), 3)
