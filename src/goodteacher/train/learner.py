"""A learner: a task with its optimiser, averages, kept weights and records; the unit the loop trains."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from goodteacher.base.errors import ConfigError, TrainingError
from goodteacher.base.input_spec import InputSpec
from goodteacher.base.seeds import reseed
from goodteacher.base.types import Batch, FrozenTeacher, Labels, Loss, Needs, Output, Progress
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.models.adapt import seen_by
from goodteacher.models.taps import Taps
from goodteacher.train.averages import Average, PredictionAverages, estimate_batch_norm
from goodteacher.train.checkpoint import load_checkpoint, save_checkpoint
from goodteacher.train.infer import predict, quick_scores
from goodteacher.train.mixing import check_mixing, check_weighing
from goodteacher.train.optim import build_optimizer, learning_rate
from goodteacher.train.precision import Precision, autocast, keep_memory_whole, lay_out
from goodteacher.train.recipe import Recipe
from goodteacher.train.records import Records
from goodteacher.train.stall import stall_alarm, withdrawal
from goodteacher.train.task import Task

Weights = dict[str, Tensor]
# The guard looks at losses in groups on an accelerator: one synchronisation in 50 steps instead of one per step.
GUARD_STEPS = {"cpu": 1}
DEFAULT_GUARD_STEPS = 50


@dataclass
class Kept:
    """The weights a rule keeps so far, and why."""

    epoch: int
    score: float
    weights: Weights


class Learner:
    """A network in training.

    Args:
        name: for people.
        network: trained in place.
        loss: objective or method.
        recipe: optimiser, schedule and precision.
        seed: of dropout and of the loss's own draws.
        keeps: rules for checkpoints, chosen on validation.
        teacher: frozen, for a loss that needs one.
        taps: where the network is read.
        precision: decided beforehand.
        spec: what the network expects to see; None for what batches are made for.
        class_weights: ``(C,)`` of the scores against labels, or None.
        folder: where the checkpoint and the records lie, or None to keep nothing on disk.
        device: where to train.
        examples: size of the training split, for a recipe with ``filter_table``.

    Attributes:
        task: the network with its loss; `Task.compile` and `Task.distribute` are for whoever built the learner.
        step_task: what a step calls: the task, or a replica of it.
        failure: why it stopped early, or None.

    Raises:
        ConfigError: if the recipe asks for something that the loss or the teacher cannot have.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        loss: Loss,
        recipe: Recipe,
        *,
        seed: int = 0,
        keeps: tuple[str, ...] = ("last",),
        teacher: FrozenTeacher | None = None,
        taps: Taps | None = None,
        precision: Precision = "fp32",
        spec: InputSpec | None = None,
        class_weights: Tensor | None = None,
        folder: Path | None = None,
        device: torch.device | str = "cpu",
        examples: int = 0,
    ) -> None:
        check_mixing(recipe, loss, teacher)
        check_weighing(recipe, loss.needs, type(loss).__name__)
        self.name, self.recipe, self.seed, self.teacher = name, recipe, seed, teacher
        self.folder, self.device = folder, torch.device(device)
        self.predictions = _predictions(recipe, loss, examples, self.device)
        network = lay_out(network.to(self.device))
        keep_memory_whole(loss.to(self.device))
        weights = None if class_weights is None else class_weights.to(self.device)
        self.task = Task(
            network, loss,
            taps=taps, precision=precision, spec=spec, class_weights=weights, rounds=recipe.quantise is not None,
            predictions=self.predictions,
        )  # fmt: skip
        self.step_task: nn.Module = self.task
        # What is evaluated and kept: the network itself, but for a method that hands over more (SimKD's projector and head).
        self.deployed = loss.deployed(network)
        self.initial_epochs = loss.needs.initial_epochs
        self.optimizer = build_optimizer(recipe, [network, loss])
        self.average = Average(self.deployed, ema=recipe.ema, swa=recipe.swa) if recipe.ema or recipe.swa else None
        self.keeps = dict.fromkeys(keeps)
        self.kept: dict[str, Kept] = {}
        self.step = 0
        self.seconds = 0.0
        self.alarms: list[str] = []
        self.withdrawn: list[str] = []
        self.failure: TrainingError | None = None
        self._pending: list[tuple[int, tuple[str, ...], Tensor]] = []
        self._sums: dict[str, float] = {}
        self._guard_steps = GUARD_STEPS.get(self.device.type, DEFAULT_GUARD_STEPS)

    @property
    def network(self) -> nn.Module:
        """The network in training."""
        return self.task.network

    @property
    def needs(self) -> Needs:
        """What the loop must serve this learner."""
        return self.task.loss.needs

    @property
    def precision(self) -> Precision:
        """Of forward passes."""
        return self.task.precision

    @property
    def spec(self) -> InputSpec | None:
        """What the network expects to see."""
        return self.task.spec

    @property
    def final_model(self) -> nn.Module:
        """The network that is evaluated and kept: the average of the weights where there is one by now."""
        return self.average.model if self.average is not None and self.average.has_begun else self.deployed

    @property
    def table(self) -> Tensor | None:
        """Averages of the predictions in training, ``(examples, C)``, where the recipe asks for them.

        Raises:
            TrainingError: if an example has not been seen yet.
        """
        return self.predictions.table() if self.predictions is not None else None

    def train_step(self, batch: Batch, teacher: Output | None, progress: Progress) -> None:
        """Take one optimiser step on a batch.

        In the stage of initialisation the rate is constant; the optimiser starts afresh after it.

        Raises:
            TrainingError: if a part of the loss is not finite.
        """
        start = time.perf_counter()
        # Dropout's draws are this learner's own, whoever else trains in the cohort.
        reseed(self.device, self.seed, "dropout", self.step)
        self.network.train()
        if self.initial_epochs and not progress.initial and progress.step == 0:
            self.optimizer.state.clear()
        steps = progress.steps_per_epoch * progress.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr if progress.initial else learning_rate(self.recipe, progress.step, steps)
        terms = self.step_task(batch, teacher, progress)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        if self.recipe.clip is not None:
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.after_step(self.deployed, self.step)
        self._pending.append((self.step, tuple(terms), torch.stack([t.detach().float() for t in terms.values()])))
        self.step += 1
        if len(self._pending) >= self._guard_steps:
            self.settle()
        self.seconds += time.perf_counter() - start

    def settle(self) -> None:
        """Look at the losses since the last look: add them up, and stop at the first that is not finite.

        Raises:
            TrainingError: naming the step and the part of the loss.
        """
        for step, names, values in self._pending:
            for name, value in zip(names, values.tolist(), strict=True):
                if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN is unlike itself
                    raise TrainingError(
                        f"training of {self.name}",
                        rule=f"stopped at step {step + 1} because the loss '{name}' is not finite",
                        received=value,
                        remedy="lower lr, set clip: 1.0, or use precision: fp32",
                    )
                self._sums[name] = self._sums.get(name, 0.0) + value
        self._pending.clear()

    def end_epoch(self, problem: Problem, loader: Loader, epochs: int) -> dict[str, Any]:
        """Close an epoch: mean losses, scores on validation, checkpoints to keep; return and write its record.

        Epochs of initialisation are numbered up to 0, and validation waits for the main training.

        Raises:
            TrainingError: after the last epoch, if the loader left out an example that the table of predictions must hold.
        """
        self.settle()
        epoch = self.step // loader.steps_per_epoch - self.initial_epochs
        if self.average is not None:
            self.average.after_epoch(self.deployed, epoch / epochs)
        if self.predictions is not None and epoch == epochs:
            self.predictions.table()
        record: dict[str, Any] = {
            "epoch": epoch,
            "step": self.step,
            "lr": self.optimizer.param_groups[0]["lr"],
            "loss": {name: total / loader.steps_per_epoch for name, total in self._sums.items()},
            "seconds": round(self.seconds, 3),
        }
        self._sums = {}
        wanted_epoch = any(rule == f"epoch={epoch}" for rule in self.keeps)
        if epoch > 0 and (epoch % self.recipe.evaluate_every == 0 or epoch == epochs or wanted_epoch):
            self._estimate_batch_norm(loader)
            logits = self.predict(self.final_model, problem, "validation")
            labels = problem.validation.labels
            record["validation"] = scores = quick_scores(logits, labels)
            self._keep(epoch, scores, last=epoch == epochs)
            record |= self._watch(epoch, scores["accuracy"], labels)
        if self.folder is not None:
            Records(self.folder / "records.jsonl").append(record)
        return record

    def _watch(self, epoch: int, accuracy: float, labels: Labels) -> dict[str, str]:
        """Raise the one alarm of a training that learns nothing, or withdraw it; return it for the record."""
        if self.withdrawn:
            return {}
        if self.alarms:
            learnt = withdrawal(self.name, epoch, accuracy, labels)
            if learnt is None:
                return {}
            self.withdrawn, self.alarms = self.alarms, []
            return {"withdrawn": learnt}
        alarm = stall_alarm(self.name, epoch, accuracy, labels, self.task.loss.advice)
        if alarm is None:
            return {}
        self.alarms = [alarm]
        return {"alarm": alarm}

    def sees(self, batch: Batch) -> Batch:
        """Return a batch as the network sees it."""
        return seen_by(batch, self.spec)

    def predict(self, model: nn.Module, problem: Problem, split: Any) -> Tensor:
        """Return a network's logits ``(N, C)`` on a split, in this learner's precision and through its input spec."""
        return predict(model, problem, split, precision=self.precision, device=self.device, spec=self.spec)

    def _estimate_batch_norm(self, loader: Loader) -> None:
        """Give an average of epochs' weights the batch statistics of the inputs of the epoch before."""
        if self.recipe.swa is None or self.final_model is self.deployed:
            return
        steps = range(self.step - loader.steps_per_epoch, self.step)
        with autocast(self.device, self.precision):
            estimate_batch_norm(self.final_model, (self.sees(loader.unmixed(s)).inputs for s in steps))

    def _keep(self, epoch: int, scores: dict[str, float], *, last: bool) -> None:
        for rule in self.keeps:
            before = self.kept.get(rule)
            if rule.startswith("best_"):
                name = rule.removeprefix("best_")
                score = -scores[name] if name == "accuracy" else scores[name]
                better = before is None or score < before.score
            else:
                score, better = 0.0, (last if rule == "last" else rule == f"epoch={epoch}")
            if better:
                self.kept[rule] = Kept(epoch, score, _copy_weights(self.final_model))

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on bit-identically."""
        self.settle()
        return {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "auxiliary": self.task.loss.state_dict(),
            "average": self.average.state() if self.average is not None else {},
            "predictions": self.predictions.state() if self.predictions is not None else {},
            "sums": self._sums,
            "alarms": self.alarms,
            "withdrawn": self.withdrawn,
            "precision": self.precision,
            "kept": {r: {"epoch": k.epoch, "score": k.score, "weights": k.weights} for r, k in self.kept.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.step, self.seconds, self._sums, self.alarms = (
            state["step"],
            state["seconds"],
            state["sums"],
            state["alarms"],
        )
        self.withdrawn = state.get("withdrawn", [])
        self.task.precision = state["precision"]
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.task.loss.load_state_dict(state["auxiliary"])
        if self.average is not None:
            self.average.restore(state["average"])
        if self.predictions is not None:
            self.predictions.restore(state["predictions"])
        self.kept = {r: Kept(k["epoch"], k["score"], k["weights"]) for r, k in state["kept"].items()}

    def save(self) -> None:
        """Write the checkpoint, where there is a folder for it."""
        if self.folder is not None:
            save_checkpoint(self.folder / "checkpoint.pt", self.state())

    def resume(self) -> None:
        """Go on from the checkpoint, where there is one."""
        state = load_checkpoint(self.folder / "checkpoint.pt") if self.folder is not None else None
        if state is not None:
            self.restore(state)


def _copy_weights(model: nn.Module) -> Weights:
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}


def _predictions(recipe: Recipe, loss: Loss, examples: int, device: torch.device) -> PredictionAverages | None:
    """Return the averages of predictions that a recipe asks for, or None."""
    if recipe.filter_table is None:
        return None
    if not loss.needs.output:
        raise ConfigError(
            "filter_table",
            rule="averages the network's answers to plain batches",
            received=f"{type(loss).__name__}, which runs the network itself",
        )
    return PredictionAverages(examples, recipe.filter_table, device)
