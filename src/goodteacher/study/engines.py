"""Where cohorts train: in this process, in several, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from typing import Any, Protocol

import torch

from goodteacher.base.errors import ConfigError, check_choice
from goodteacher.base.events import Event, Sink
from goodteacher.data.facts import Facts
from goodteacher.data.problem import Problem
from goodteacher.study.cohort import Outcome, train_cohort
from goodteacher.study.known_names import ENGINES
from goodteacher.study.runspec import RunSpec
from goodteacher.study.store import Store

Train = Callable[[list[RunSpec], Mapping[str, str]], Outcome]
"""Trains one cohort, under names for people."""


class Cohorts(Protocol):
    """Where cohorts train."""

    @property
    def train(self) -> Callable[[list[RunSpec], Mapping[str, str]], Outcome | None]:
        """Take a cohort on; the outcome is returned where it trains here and now, and comes from `outcomes` otherwise."""
        ...

    def outcomes(self) -> list[Outcome]:
        """Wait until something is done and return what became of it; empty only where nothing is under way."""
        ...


@contextlib.contextmanager
def open_engine(
    engine: str, workers: int, facts: Facts, problem: Problem, store: Store, device: str, tell: Sink
) -> Iterator[Cohorts]:
    """Open an engine for the length of a block.

    Args:
        engine: one of `ENGINES`.
        workers: processes, or Ray tasks at a time.
        facts: of the problem.
        problem: the data.
        store: the runs.
        device: to train on.
        tell: receives what happens.

    Yields:
        Where cohorts train.

    Raises:
        ConfigError: for an unknown engine, or Ray where it is not installed.
    """
    check_choice("engine", engine, ENGINES)
    train = partial(train_cohort, facts=facts, problem=problem, store=store, device=device)
    if engine == "local" or (engine == "processes" and workers == 1):
        yield Here(partial(train, tell=tell))
    elif engine == "processes":
        with _pool(workers, train, tell) as pool:
            yield pool
    else:
        with _ray(train, tell) as cluster:
            yield cluster


class Here:
    """This process: a cohort is trained when it is handed over, with no call of ours in between."""

    def __init__(self, train: Train) -> None:
        self.train = train

    def outcomes(self) -> list[Outcome]:
        """Return nothing: every outcome has been returned."""
        return []


# What a worker process works with, set once by its initialiser: the data are not sent again with every cohort.
_worker: dict[str, Train] = {}


def _start_worker(train: Callable[..., Outcome], news: Any, parent: int) -> None:
    torch.set_num_threads(1)  # two spinning OpenMP teams on a busy machine are 10 to 50 times slower
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and asks for an orderly stop by SIGTERM
    _worker["train"] = partial(train, tell=news.put)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)  # the parent was killed: nobody would read the result

    threading.Thread(target=watch, daemon=True).start()


def _work(cohort: list[RunSpec], names: Mapping[str, str]) -> Outcome:
    return _worker["train"](cohort, names)


class Pool:
    """Worker processes on this machine."""

    def __init__(self, submit: Callable[..., Future[Outcome]], news: Any, tell: Sink) -> None:
        self._submit, self._news, self._tell = submit, news, tell
        self._pending: set[Future[Outcome]] = set()

    def train(self, cohort: list[RunSpec], names: Mapping[str, str]) -> None:
        """Hand a cohort to the next worker that is free."""
        self._pending.add(self._submit(_work, cohort, _names_of(cohort, names)))

    def outcomes(self) -> list[Outcome]:
        """Pass on what workers tell until one of them is done."""
        finished: set[Future[Outcome]] = set()
        while self._pending and not finished:
            finished, self._pending = wait(self._pending, timeout=0.1, return_when=FIRST_COMPLETED)
            while not self._news.empty():
                self._tell(self._news.get())
        return [future.result() for future in finished]


@contextlib.contextmanager
def _pool(workers: int, train: Callable[..., Outcome], tell: Sink) -> Iterator[Pool]:
    context = torch.multiprocessing.get_context("spawn")
    # Of the queues the one that has sent an event when `put` returns: an outcome must not overtake what was told before it.
    news = context.SimpleQueue()
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(train, news, os.getpid())
    )
    try:
        yield Pool(pool.submit, news, tell)
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # SIGTERM: the loop writes its checkpoints and ends
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        news.close()


def _names_of(cohort: list[RunSpec], names: Mapping[str, str]) -> dict[str, str]:
    return {spec.id: names[spec.id] for spec in cohort}


class Cluster:
    """A Ray cluster; what its tasks tell comes with their outcomes, without steps."""

    def __init__(self, ray: Any, work: Any, shared: Any, tell: Sink) -> None:
        self._ray, self._work, self._shared, self._tell = ray, work, shared, tell
        self._pending: list[Any] = []

    def train(self, cohort: list[RunSpec], names: Mapping[str, str]) -> None:
        """Hand a cohort to the cluster."""
        self._pending.append(self._work.remote(self._shared, cohort, _names_of(cohort, names)))

    def outcomes(self) -> list[Outcome]:
        """Wait for the next task that is done."""
        if not self._pending:
            return []
        done, self._pending = self._ray.wait(self._pending, num_returns=1)
        found = []
        for reference in done:
            said, outcome = self._ray.get(reference)
            for event in said:
                self._tell(event)
            found.append(outcome)
        return found


@contextlib.contextmanager
def _ray(train: partial[Outcome], tell: Sink) -> Iterator[Cluster]:
    try:
        import ray
    except ImportError:
        raise ConfigError("engine 'ray'", rule="needs the package ray", remedy="pip install ray") from None
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, include_dashboard=False)
    store = Store(train.keywords["store"].root.resolve())  # a path that every node sees
    shared = ray.put(partial(train, store=store))

    @ray.remote(num_cpus=1, num_gpus=1 if train.keywords["device"] == "cuda" else 0)  # type: ignore[untyped-decorator]
    def work(
        given: Callable[..., Outcome], cohort: list[RunSpec], names: Mapping[str, str]
    ) -> tuple[list[Event], Outcome]:
        torch.set_num_threads(1)
        said: list[Event] = []
        outcome = given(cohort, names, tell=lambda event: said.append(event) if event.kind != "step" else None)
        return said, outcome

    try:
        yield Cluster(ray, work, shared, tell)
    finally:
        if started:
            ray.shutdown()
