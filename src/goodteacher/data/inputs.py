"""What the examples of a split are made of: rows by index, whatever holds them."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from goodteacher.base.errors import DataError
from goodteacher.base.input_spec import Kind


class Inputs(abc.ABC):
    """The inputs of a split's examples.

    What holds them is nobody's business but their own: a tensor in memory or on the device, a map of a file, files that are
    decoded when they are asked for.
    """

    kind: ClassVar[Kind]

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one example as a network sees it: ``(channels, H, W)`` or ``(D,)``."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of examples."""

    @abc.abstractmethod
    def rows(self, indices: Tensor) -> Tensor:
        """Return the raw inputs of ``(n,)`` rows in that order: uint8 pictures ``(n, H, W, C)`` or vectors ``(n, D)``."""

    @abc.abstractmethod
    def take(self, indices: Tensor) -> Inputs:
        """Return the inputs that hold the given rows, in that order."""

    @abc.abstractmethod
    def to(self, device: torch.device) -> Inputs:
        """Return the same inputs where a device reads them fastest; they may stay where they are, if it has no room."""

    @abc.abstractmethod
    def content(self) -> Iterator[bytes | memoryview]:
        """Yield what tells these inputs from others: every byte of arrays, a manifest of files."""

    def sample(self, count: int) -> Tensor:
        """Return the first rows, so many at most: what a network is tried out on."""
        return self.rows(torch.arange(min(count, len(self))))

    def not_finite(self) -> int:
        """Return how many examples hold NaN or infinity; whole numbers cannot."""
        return 0

    def hashes(self, chunk: int = 4096) -> Tensor:
        """Return the hash of each example, ``(N,)`` int64: equal inputs have equal hashes, whatever problem they are in."""
        found: list[bytes] = []
        for start in range(0, len(self), chunk):
            rows = self.rows(torch.arange(start, min(start + chunk, len(self)))).contiguous().cpu().numpy()
            found += [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
        return torch.frombuffer(bytearray(b"".join(found)), dtype=torch.int64)

    def fingerprint(self) -> str:
        """Return the hash of `content`."""
        digest = hashlib.sha256()
        for part in self.content():
            digest.update(part)
        return digest.hexdigest()[:16]

    def statistics(self, chunk: int = 4096) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation per channel (pictures, in [0, 1]) or per feature, float64."""
        # Sums in float64, in chunks: 50,000 pictures of 32x32 would be 1.2 GB at once.
        total = square = torch.zeros(self.shape[0], dtype=torch.float64)
        count = 0
        for start in range(0, len(self), chunk):
            wide = self.rows(torch.arange(start, min(start + chunk, len(self)))).double() / 255
            total = total + wide.sum(dim=(0, 1, 2))
            square = square + wide.square().sum(dim=(0, 1, 2))
            count += wide[..., 0].numel()
        mean = total / count
        return mean, (square / count - mean**2).clamp_min(0).sqrt()


def tensor_content(tensor: Tensor) -> Iterator[bytes | memoryview]:
    """Yield what tells a tensor on the CPU from others: shape, type and every byte."""
    yield repr((tuple(tensor.shape), str(tensor.dtype))).encode()
    yield tensor.contiguous().numpy().data


class ArrayInputs(Inputs):
    """Inputs in one tensor: in memory, on a device, or a map of a file.

    Args:
        tensor: one row per example; never written to.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __len__(self) -> int:
        return len(self.tensor)

    def __repr__(self) -> str:
        return f"{type(self).__name__}{tuple(self.tensor.shape)}"  # not the numbers

    def rows(self, indices: Tensor) -> Tensor:
        """Return raw inputs of rows."""
        return self.tensor[indices.to(self.tensor.device)]

    def take(self, indices: Tensor) -> ArrayInputs:
        """Return a copy of some rows."""
        return type(self)(self.tensor[indices])

    def to(self, device: torch.device) -> ArrayInputs:
        """Return them on the device: on a GPU they may take half of what is free, networks need the rest."""
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if 2 * self.tensor.numel() * self.tensor.element_size() > free:
                return self
        moved = self.tensor.to(device)
        return self if moved is self.tensor else type(self)(moved)

    def content(self) -> Iterator[bytes | memoryview]:
        """Yield shape, type and every byte."""
        return tensor_content(self.tensor)


class Pictures(ArrayInputs):
    """Pictures ``(N, H, W, C)`` of whole numbers from 0 to 255, C 1 or 3."""

    kind = "image"

    @property
    def shape(self) -> tuple[int, ...]:
        """``(channels, H, W)``."""
        _, height, width, channels = self.tensor.shape
        return channels, height, width


class Vectors(ArrayInputs):
    """Vectors ``(N, D)`` of float32, all finite."""

    kind = "vector"

    @property
    def shape(self) -> tuple[int, ...]:
        """``(D,)``."""
        return tuple(self.tensor.shape[1:])

    def not_finite(self) -> int:
        """Return how many examples hold NaN or infinity."""
        return int((~torch.isfinite(self.tensor)).flatten(1).any(dim=1).sum())

    def statistics(self, chunk: int = 4096) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation per feature, float64."""
        wide = self.tensor.double()
        return wide.mean(dim=0), wide.std(dim=0, correction=0)


def as_inputs(values: Tensor | Inputs) -> Inputs:
    """Return a tensor as the inputs it holds: pictures where it has four dimensions, vectors otherwise.

    Raises:
        DataError: if pictures are not uint8, which says that their numbers go from 0 to 255.
    """
    if isinstance(values, Inputs):
        return values
    if values.dim() != 4:
        return Vectors(values)
    if values.dtype != torch.uint8:
        rule = "must be whole numbers from 0 to 255 (uint8), (N, H, W, channels)"
        raise DataError("pictures", rule=rule, received=f"{values.dtype} of shape {tuple(values.shape)}")
    return Pictures(values)
