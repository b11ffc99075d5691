"""The training loop of every study: a cohort of learners shares batches, and each frozen teacher runs once per batch for all."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence

from goodteacher.base.errors import ConfigError, TrainingError
from goodteacher.base.events import Event, Sink, nobody
from goodteacher.base.seeds import undisturbed
from goodteacher.base.types import Progress
from goodteacher.data.loader import Loader
from goodteacher.data.problem import Problem
from goodteacher.train.frozen import answer_all
from goodteacher.train.learner import Learner

CHECKPOINT_SECONDS = 60.0


class StopRequest:
    """Whether somebody asked for an orderly stop."""

    def __init__(self) -> None:
        self.requested = False

    def request(self, number: int = signal.SIGINT, *_: object) -> None:
        """Ask once: training stops after the step under way. Ask twice by Ctrl-C: it stops at once.

        SIGTERM may come twice for one wish: a pool of processes sends it to all workers when one of them has died of the
        first, so a second one is no reason to leave the checkpoints unwritten.
        """
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def orderly_stop() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request inside the block; other threads than the main one cannot be asked."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    # A worker process ignores Ctrl-C, which the terminal sends to it too, and waits for its parent's SIGTERM.
    asked = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is not signal.SIG_IGN]
    before = {s: signal.signal(s, stop.request) for s in asked}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fit(
    learners: Sequence[Learner],
    loader: Loader,
    problem: Problem,
    *,
    epochs: int,
    tell: Sink = nobody,
    checkpoint_seconds: float | None = None,
) -> list[Learner]:
    """Train a cohort and return the learners that finished.

    A learner whose loss is not finite stops alone, with its `Learner.failure`; the others go on. On Ctrl-C or SIGTERM the step
    under way is finished, checkpoints are written, and `KeyboardInterrupt` is raised. The global generators of random numbers
    are as they were, afterwards.

    Args:
        learners: all at the same step (0, or that of their checkpoints).
        loader: the shared batches.
        problem: for validation.
        epochs: of the main training; epochs of initialisation that the learners have come before them.
        tell: receives a ``step`` after each step, and before it an ``epoch``, ``alarm``, ``withdrawn``
            or ``failed`` of a learner.
        checkpoint_seconds: between checkpoints; `CHECKPOINT_SECONDS` by default.

    Returns:
        The learners that finished.

    Raises:
        ConfigError: if the learners are not at the same step, or one needs a view or a mixture that the loader does not make.
        KeyboardInterrupt: after checkpoints are written.
    """
    _check_cohort(learners, loader)
    per_epoch = loader.steps_per_epoch
    initial = learners[0].initial_epochs * per_epoch
    steps = initial + epochs * per_epoch
    alive = list(learners)
    between = CHECKPOINT_SECONDS if checkpoint_seconds is None else checkpoint_seconds
    saved_at = time.monotonic()
    with undisturbed(learners[0].device), orderly_stop() as stop:
        for step in range(alive[0].step, steps):
            # Batch and answers are the same for all, so that arms are paired and a teacher costs once.
            batch = loader.batch(step)
            answers = answer_all([(x.teacher, x.needs.teacher) for x in alive if x.teacher is not None], batch)
            for learner in alive:
                progress = _progress(step, initial, per_epoch, epochs, learner)
                try:
                    learner.train_step(batch, answers.get(id(learner.teacher)), progress)
                    if (step + 1) % per_epoch == 0:
                        record = learner.end_epoch(problem, loader, epochs)
                        tell(Event("epoch", learner.name, "", step + 1, steps, record))
                        if "alarm" in record:
                            tell(Event("alarm", learner.name, record["alarm"]))
                        if "withdrawn" in record:
                            tell(Event("withdrawn", learner.name, record["withdrawn"]))
                except TrainingError as error:
                    learner.failure = error
                    tell(Event("failed", learner.name, str(error), step + 1, steps))
            alive = [x for x in alive if x.failure is None]
            tell(Event("step", done=step + 1, total=steps))
            # The last step needs no checkpoint: runs are added next, and their folders appear whole.
            if stop.requested or (time.monotonic() - saved_at > between and step + 1 < steps):
                for learner in alive:
                    learner.save()
                saved_at = time.monotonic()
            if stop.requested:
                raise KeyboardInterrupt
            if not alive:
                break
    return alive


def _progress(step: int, initial: int, steps_per_epoch: int, epochs: int, learner: Learner) -> Progress:
    if step < initial:
        return Progress(step, steps_per_epoch, learner.initial_epochs, learner.seed, initial=True)
    return Progress(step - initial, steps_per_epoch, epochs, learner.seed)


def _check_cohort(learners: Sequence[Learner], loader: Loader) -> None:
    if not learners:
        raise ConfigError("a cohort", rule="needs at least one learner", received="none")
    names = [x.name for x in learners]
    if len(set(names)) < len(names):
        raise ConfigError("learners of a cohort", rule="must have different names", received=names)
    if len({x.initial_epochs for x in learners}) > 1:
        found = [x.initial_epochs for x in learners]
        raise ConfigError("learners of a cohort", rule="must have as many epochs of initialisation", received=found)
    if len({x.step for x in learners}) > 1:
        raise ConfigError("learners of a cohort", rule="must be at the same step", received=[x.step for x in learners])
    for learner in learners:
        missing = learner.needs.views - loader.views
        if missing:
            raise ConfigError(f"views of {learner.name}", rule="must be made by the loader", received=sorted(missing))
        recipe = learner.recipe
        mixture = {"mixup": recipe.mixup, "cutmix": recipe.cutmix, "balanced": recipe.sampling == "balanced"}
        made = {"mixup": loader.mixup, "cutmix": loader.cutmix, "balanced": loader.balanced}
        if mixture != made:
            raise ConfigError(
                f"batches of {learner.name}", rule=f"must be made by the loader, {mixture}", received=f"{made}"
            )
        if learner.needs.uses_teacher and learner.teacher is None:
            raise ConfigError(f"learner {learner.name}", rule="needs a teacher", received="none")
