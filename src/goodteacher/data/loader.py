"""Batches as a pure function of (seed, step): data on the device, augmented by batch, the same for whoever trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, check_choice, check_range
from goodteacher.base.seeds import numpy_stream, torch_stream
from goodteacher.base.types import Batch
from goodteacher.data.augment import AUGMENTATIONS, augment, normalise, rotations
from goodteacher.data.balance import balanced_order
from goodteacher.data.mixing import mix
from goodteacher.data.problem import Problem, SplitName

VIEWS = ("weak", "strong", "rotated")


def weak_views(count: int) -> frozenset[str]:
    """Return the names of so many further draws of the augmentation: ``weak``, ``weak2``, ``weak3``, ..."""
    return frozenset(f"weak{i if i > 1 else ''}" for i in range(1, count + 1))


def _kind_of_view(view: str) -> str:
    """Return which of `VIEWS` a view is, whatever its number."""
    return "weak" if view.startswith("weak") and view[4:].isdigit() else view


class Loader:
    """Training batches of a problem.

    ``loader.batch(step)`` depends on nothing but the seed and the step, so that arms of a study are paired, a cohort sees
    what a single run sees, and a resumed run goes on exactly where it stopped.

    Args:
        problem: its training split is moved to the device once, or batch by batch where it would fill half of a GPU.
        batch_size: N; the last batch of an epoch is smaller, and left out only if it would hold a single example, which
            batch normalisation cannot take.
        seed: of order and augmentation.
        augmentation: one of `AUGMENTATIONS`, or ``auto`` for the problem's own.
        views: further views of each image: ``weak`` (a second draw of the augmentation), ``strong`` (RandAugment on top),
            ``rotated`` (the first view at four angles).
        balanced: whether each class is shown equally often instead of each example once.
        mixup: α > 0: inputs are blended with another example's, in a share drawn from Beta(α, α) a batch.
        cutmix: α > 0: a rectangle of each image is replaced by another's; with both, one of the two is drawn a batch.
        device: where the data live.

    Raises:
        ConfigError: for an augmentation, view or mixture that vectors cannot have, and for views of mixtures.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        batch_size: int,
        seed: int,
        augmentation: str = "auto",
        views: frozenset[str] = frozenset(),
        balanced: bool = False,
        mixup: float | None = None,
        cutmix: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        check_range("batch_size", batch_size, low=2)
        check_mixture(problem, views, mixup=mixup, cutmix=cutmix)
        self.augmentation = problem.augment if augmentation == "auto" else augmentation
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)
        for view in views:
            check_choice("view", _kind_of_view(view), VIEWS)
        others = {view for view in views if _kind_of_view(view) != "weak"}
        if not problem.is_image and (self.augmentation != "none" or others):
            wanted = self.augmentation if self.augmentation != "none" else ", ".join(sorted(views))
            raise ConfigError(
                f"view or augmentation '{wanted}'", rule="needs image inputs", received=f"problem '{problem.name}'"
            )
        if "rotated" in views and problem.input_shape[1] != problem.input_shape[2]:
            raise ConfigError("view 'rotated'", rule="needs square images", received=f"shape {problem.input_shape}")
        self.seed, self.batch_size, self.views = seed, batch_size, views
        self.mixup, self.cutmix, self.balanced = mixup, cutmix, balanced
        self.examples = len(problem.train)
        if self.examples < 2:
            raise ConfigError(
                f"training split of '{problem.name}'", rule="needs at least 2 examples", received=self.examples
            )
        self.inputs = problem.train.inputs.to(torch.device(device))
        self.spec = problem.spec
        self.labels = problem.train.labels.to(device)
        self.mean, self.std = (s.to(device) for s in problem.statistics)
        full, rest = divmod(self.examples, batch_size)
        self.steps_per_epoch = max(1, full + (rest > 1))
        self._order: tuple[int, Tensor] | None = None

    def order(self, epoch: int) -> Tensor:
        """Return the rows of a 0-based epoch, ``(N,)`` int64 on the CPU: a permutation, or `balanced_order`."""
        if self._order is None or self._order[0] != epoch:
            stream = torch_stream(self.seed, "order", epoch)
            rows = (
                balanced_order(self.labels, stream)
                if self.balanced
                else torch.randperm(self.examples, generator=stream)
            )
            self._order = (epoch, rows)
        return self._order[1]

    def batch(self, step: int) -> Batch:
        """Return the batch of a 0-based step."""
        batch = self.unmixed(step)
        if self.mixup is not None or self.cutmix is not None:
            draws = numpy_stream(self.seed, "mixing", step)
            inputs, mixed = mix(batch.inputs, batch.labels, draws, mixup=self.mixup, cutmix=self.cutmix)
            return replace(batch, inputs=inputs, mixed=mixed)
        if not self.views:
            return batch
        raw, views = self._rows(batch.indices), {}
        for view in sorted(self.views):
            views[view] = self._view(view, raw, batch.inputs, torch_stream(self.seed, f"augmentation {view}", step))
        return replace(batch, views=views)

    def unmixed(self, step: int) -> Batch:
        """Return the augmented batch of a 0-based step before it is mixed, without further views."""
        epoch, place = divmod(step, self.steps_per_epoch)
        rows = self.order(epoch)[place * self.batch_size : (place + 1) * self.batch_size].to(self.labels.device)
        raw = augment(self._rows(rows), self.augmentation, torch_stream(self.seed, "augmentation", step))
        return Batch(normalise(raw, self.mean, self.std), self.labels[rows], rows, spec=self.spec)

    def _rows(self, rows: Tensor) -> Tensor:
        return self.inputs.rows(rows).to(self.labels.device)

    def _view(self, view: str, raw: Tensor, inputs: Tensor, generator: torch.Generator) -> Tensor:
        if view == "rotated":
            return rotations(inputs)
        kind = "strong" if view == "strong" else self.augmentation
        return normalise(augment(raw, kind, generator), self.mean, self.std)


def check_mixture(problem: Problem, views: frozenset[str], *, mixup: float | None, cutmix: float | None) -> None:
    """Raise `ConfigError` unless a problem's batches can be mixed as asked.

    Args:
        problem: what is mixed.
        views: further views that are asked for.
        mixup: α, or None.
        cutmix: α, or None.
    """
    asked = {name: alpha for name, alpha in (("mixup", mixup), ("cutmix", cutmix)) if alpha is not None}
    for name, alpha in asked.items():
        check_range(name, alpha, low=0.0, open_low=True)
        if name == "cutmix" and not problem.is_image:
            raise ConfigError(name, rule="needs image inputs", received=f"problem '{problem.name}'")
        if views:
            raise ConfigError(
                name,
                rule="mixes the batch alone and not its further views",
                received=f"views {', '.join(sorted(views))}",
                remedy=f"leave out {name}, or the method or target map that reads them",
            )


def plain_batches(
    problem: Problem, split: SplitName, *, batch_size: int = 512, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """Yield a split in order, normalised and not augmented.

    Args:
        problem: where the split and the normalisation come from.
        split: ``train``, ``validation`` or ``test``.
        batch_size: N.
        device: of the batches.

    Yields:
        Batches whose ``indices`` are rows of the split.
    """
    part = problem.split(split)
    mean, std = (s.to(device) for s in problem.statistics)
    for start in range(0, len(part), batch_size):
        rows = torch.arange(start, min(start + batch_size, len(part)))
        inputs = normalise(part.inputs.rows(rows).to(device), mean, std)
        yield Batch(inputs, part.labels[rows].to(device), rows.to(device), spec=problem.spec)
