"""Many MLPs of one architecture trained as one: their matrix products are batched, and one update moves all their weights."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from goodteacher.base.checks import check_simplex
from goodteacher.base.errors import ConfigError, ShapeError, StoreError, check_choice
from goodteacher.base.probability import one_hot
from goodteacher.base.seeds import torch_stream
from goodteacher.data.inputs import Inputs
from goodteacher.models.mlp import MLP
from goodteacher.train.checkpoint import load_checkpoint, save_checkpoint
from goodteacher.train.infer import quick_scores
from goodteacher.train.loop import CHECKPOINT_SECONDS, orderly_stop
from goodteacher.train.optim import learning_rate
from goodteacher.train.recipe import Recipe
from goodteacher_lab.batched_mlp import STACK_LOSSES, StackLoss, forward, gradients, layers_of

# So many networks at a time keep weights, gradients and momentum of a 30-128-128-3 MLP in the cache of a core.
TILE = 8
# What a stack does not do, with the value that leaves it out.
WITHOUT: dict[str, tuple[Any, ...]] = {
    "optimizer": ("sgd",),
    "precision": ("auto", "fp32"),
    "augment": ("auto", "none"),
    **dict.fromkeys(("clip", "ema", "swa", "mixup", "cutmix", "filter_table"), (None,)),
}


def all_of(inputs: Inputs) -> Tensor:
    """Return the inputs of all examples of a split."""
    return inputs.sample(len(inputs))


@dataclass(frozen=True)
class StackTick:
    """What a stack says after an epoch.

    Attributes:
        epoch: epochs done.
        epochs: of the whole training.
        scores: accuracy, NLL and Brier score of each network on validation; empty if it was not looked at.
        failures: networks whose weights are no longer finite, with the epoch in which that was first seen.
    """

    epoch: int
    epochs: int
    scores: list[dict[str, float]] = field(default_factory=list)
    failures: dict[int, int] = field(default_factory=dict)


class Stack:
    """Networks of one MLP architecture and one loss, with targets and orders of examples of their own.

    Each network takes the steps it would take alone in the ordinary loop, equal to rounding: SGD on the same batches.

    Args:
        models: S networks, which give the first weights and are left as they are.
        inputs: ``(N, ...)`` float32, as a network sees them; normalised beforehand, if at all.
        targets: ``(N,)`` int64 labels, ``(N, C)`` distributions for all, or ``(S, N, C)``, of each network.
        recipe: epochs, batch size, SGD, schedule, and how often to look at validation.
        validation: inputs ``(M, ...)`` and labels ``(M,)``.
        loss: of all; ``kl`` on labels is cross-entropy.
        seeds: of the order of examples, one per network; the order is that of a `Loader` of the same seed.
        keeps: rules for weights to keep besides the last, as in `Recipe`'s ``keep``.
        drop_last: leave out a last batch that is not full.
        folder: where the checkpoint lies, or None.
        device: where to train.

    Raises:
        ConfigError: for a recipe or a network that a stack cannot train.
        ShapeError: if targets do not fit.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        inputs: Tensor,
        targets: Tensor,
        recipe: Recipe,
        *,
        validation: tuple[Tensor, Tensor],
        loss: StackLoss = "kl",
        seeds: Sequence[int] | None = None,
        keeps: Sequence[str] = ("last",),
        drop_last: bool = False,
        folder: Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._shapes = _layer_shapes(models)
        check_choice("loss", loss, STACK_LOSSES)
        _check_recipe(recipe)
        self.model, self.recipe, self.loss, self.folder = models[0], recipe, loss, folder
        self.seeds = tuple(range(len(models))) if seeds is None else tuple(seeds)
        if len(self.seeds) != len(models):
            raise ConfigError("seeds", rule=f"must be one for each of {len(models)} networks", received=len(self.seeds))
        self.device, self.drop_last = torch.device(device), drop_last
        self.inputs = inputs.flatten(1).to(self.device)
        self.targets = _full_targets(targets, len(inputs), self._shapes[-1][0], len(models)).to(self.device)
        self.validation = (validation[0].flatten(1).to(self.device), validation[1].cpu())
        with torch.no_grad():
            flat = torch.stack([nn.utils.parameters_to_vector(m.parameters()) for m in models])
        self.weights = flat.to(self.device)
        self.momentum = torch.zeros_like(self.weights)
        self.epoch, self.failures, self.keeps = 0, dict[int, int](), tuple(dict.fromkeys(keeps))
        self.history: list[tuple[int, list[dict[str, float]]]] = []
        size = len(models) if self.device.type != "cpu" else TILE
        self.tiles = [slice(a, min(a + size, len(models))) for a in range(0, len(models), size)]
        self.kept = {rule: self._nothing_kept() for rule in self.keeps if rule != "last"}
        self.fingerprint = self._digest()

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; one of a single example is left out, as in the ordinary loop."""
        full, rest = divmod(len(self.inputs), self.recipe.batch_size)
        return max(1, full + (rest > 1 and not self.drop_last))

    def _nothing_kept(self) -> dict[str, Tensor]:
        count = len(self.weights)
        score = torch.full((count,), math.inf, dtype=torch.float64)
        return {
            "epoch": torch.zeros(count, dtype=torch.int64),
            "score": score,
            "weights": torch.zeros_like(self.weights),
        }

    @torch.no_grad()
    def train_tile(self, tile: slice) -> None:
        """Take one epoch's steps with some of the networks; they do not depend on the others."""
        order = torch.stack([
            torch.randperm(len(self.inputs), generator=torch_stream(seed, "order", self.epoch))
            for seed in self.seeds[tile]
        ]).to(self.device)  # fmt: skip
        inputs = self.inputs[order]
        if self.targets.dim() == 2:
            targets = self.targets[order]
        else:
            targets = self.targets[tile].gather(1, order[:, :, None].expand(-1, -1, self.targets.shape[-1]))
        weights, momentum = self.weights[tile], self.momentum[tile]
        gradient = torch.empty_like(weights)
        layers, slots = layers_of(weights, self._shapes), layers_of(gradient, self._shapes)
        recipe, size, first = self.recipe, self.recipe.batch_size, self.epoch * self.steps_per_epoch
        for place in range(self.steps_per_epoch):
            rows = slice(place * size, (place + 1) * size)
            gradients(layers, slots, inputs[:, rows], targets[:, rows], self.loss)
            if recipe.weight_decay:
                gradient.add_(weights, alpha=recipe.weight_decay)
            momentum.mul_(recipe.momentum).add_(gradient)
            rate = learning_rate(recipe, first + place, recipe.epochs * self.steps_per_epoch)
            if recipe.nesterov and recipe.momentum > 0:
                weights.add_(gradient, alpha=-rate).add_(momentum, alpha=-rate * recipe.momentum)
            else:
                weights.add_(momentum, alpha=-rate)

    @torch.no_grad()
    def predictions(self, inputs: Tensor, keep: str = "last") -> Iterator[Tensor]:
        """Yield each network's logits ``(N, C)`` on the CPU.

        Args:
            inputs: ``(N, ...)``.
            keep: the weights of this rule.
        """
        inputs, weights = inputs.flatten(1).to(self.device), self.weights_of(keep)
        for tile in self.tiles:
            yield from forward(layers_of(weights[tile], self._shapes), inputs).cpu()

    def weights_of(self, keep: str = "last") -> Tensor:
        """Return the weights of a rule, ``(S, P)``."""
        if keep == "last":
            return self.weights
        check_choice("rule", keep, self.kept)
        return self.kept[keep]["weights"]

    @torch.no_grad()
    def end_epoch(self) -> StackTick:
        """Close an epoch: look for weights that are not finite, and at validation; keep the weights that a rule wants."""
        self.epoch += 1
        for k in torch.nonzero(~self.weights.isfinite().all(dim=1)).flatten().tolist():
            self.failures.setdefault(k, self.epoch)
        epochs, wanted = self.recipe.epochs, f"epoch={self.epoch}" in self.keeps
        if self.epoch % self.recipe.evaluate_every and self.epoch != epochs and not wanted:
            return StackTick(self.epoch, epochs, failures=dict(self.failures))
        inputs, labels = self.validation
        scores = [quick_scores(logits, labels) for logits in self.predictions(inputs)]
        self.history.append((self.epoch, scores))
        for rule, kept in self.kept.items():
            name = rule.removeprefix("best_")
            sign = -1 if name == "accuracy" else 1
            if rule.startswith("best_"):
                now = torch.tensor([sign * s[name] for s in scores], dtype=torch.float64)
            else:
                now = torch.full((len(self),), -math.inf if rule == f"epoch={self.epoch}" else math.inf).double()
            better = torch.nonzero(now < kept["score"]).flatten()
            kept["epoch"][better], kept["score"][better] = self.epoch, now[better]
            kept["weights"][better.to(self.device)] = self.weights[better.to(self.device)]
        return StackTick(self.epoch, epochs, scores, dict(self.failures))

    def _digest(self) -> str:
        """Return what tells this training from any other."""
        recipe = self.recipe.model_dump_json()
        digest = hashlib.sha256(
            repr((recipe, self.loss, self.seeds, self.keeps, self.drop_last, self._shapes)).encode()
        )
        for tensor in (self.weights, self.inputs, self.targets, *self.validation):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on bit-identically."""
        names = ("fingerprint", "epoch", "weights", "momentum", "kept", "failures", "history")
        return {name: getattr(self, name) for name in names}

    def save(self) -> None:
        """Write the checkpoint, where there is a folder for it."""
        if self.folder is not None:
            save_checkpoint(self.folder / "checkpoint.pt", self.state())

    def resume(self) -> None:
        """Go on from the checkpoint, where there is one.

        Raises:
            StoreError: if it is of another training.
        """
        state = load_checkpoint(self.folder / "checkpoint.pt") if self.folder is not None else None
        if state is None:
            return
        if state["fingerprint"] != self.fingerprint:
            raise StoreError(
                f"checkpoint in {self.folder}", rule="must be of this training", received="one of another",
                remedy="delete it, or use another folder",
            )  # fmt: skip
        self.epoch, self.failures = state["epoch"], state["failures"]
        self.history = [(epoch, scores) for epoch, scores in state["history"]]
        self.weights.copy_(state["weights"])
        self.momentum.copy_(state["momentum"])
        for rule, kept in state["kept"].items():
            self.kept[rule] = {**kept, "weights": kept["weights"].to(self.device)}


def fit_stack(
    stack: Stack, *, threads: int = 1, checkpoint_seconds: float | None = None
) -> Generator[StackTick, None, None]:
    """Train a stack from where it is, yielding one `StackTick` per epoch.

    On Ctrl-C or SIGTERM the epoch under way is finished, the checkpoint is written, and `KeyboardInterrupt` is raised. A
    network whose weights cease to be finite is reported in the ticks and does not disturb the others.

    Args:
        stack: whose checkpoint, if there is one in its folder, is gone on from.
        threads: that train tiles of networks side by side; results do not depend on their number.
        checkpoint_seconds: between checkpoints, which are written at ends of epochs; `CHECKPOINT_SECONDS` by default.

    Yields:
        One tick per epoch.

    Raises:
        KeyboardInterrupt: after the checkpoint is written.
        StoreError: if the checkpoint is of another training or cannot be read or written.
    """
    stack.resume()
    between = CHECKPOINT_SECONDS if checkpoint_seconds is None else checkpoint_seconds
    saved_at, begun_at = time.monotonic(), stack.epoch
    with orderly_stop() as stop, ThreadPoolExecutor(threads) as pool:
        while stack.epoch < stack.recipe.epochs:
            list(pool.map(stack.train_tile, stack.tiles))
            yield stack.end_epoch()
            if stop.requested or time.monotonic() - saved_at > between:
                stack.save()
                saved_at = time.monotonic()
            if stop.requested:
                raise KeyboardInterrupt
    if stack.epoch > begun_at:
        stack.save()


def _layer_shapes(models: Sequence[nn.Module]) -> list[tuple[int, int]]:
    """Return each layer's outputs and inputs, the same in all networks."""
    if not models:
        raise ConfigError("a stack", rule="needs at least one network", received="none")
    found = []
    for model in models:
        if type(model) is not MLP:
            raise ConfigError("networks of a stack", rule="must be of class MLP", received=type(model).__name__)
        shapes = [tuple(p.shape) for p in model.parameters() if p.dim() == 2]
        found.append([(out, into) for out, into in shapes])
    if any(shapes != found[0] for shapes in found):
        raise ConfigError("networks of a stack", rule="must have the same widths", received=found)
    return found[0]


def _check_recipe(recipe: Recipe) -> None:
    for name, allowed in WITHOUT.items():
        value = getattr(recipe, name)
        if value not in allowed:
            rule = f"must be {' or '.join(map(repr, allowed))} in a stack"
            raise ConfigError(name, rule=rule, received=repr(value), remedy="train these networks in the ordinary loop")


def _full_targets(targets: Tensor, examples: int, classes: int, networks: int) -> Tensor:
    if targets.dim() == 1 and len(targets) == examples:
        return one_hot(targets, classes)
    shared, own = (examples, classes), (networks, examples, classes)
    if tuple(targets.shape) not in (shared, own):
        rule = f"must have shape ({examples},), {shared} or {own}"
        raise ShapeError("targets of a stack", rule=rule, received=tuple(targets.shape))
    check_simplex(targets=targets.flatten(0, -2))
    return targets.float()
