"""Where cohorts run: in this process, in several, or on a Ray cluster. Each engine turns cohorts into news and outcomes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from goodteacher.base.errors import ConfigError, check_choice
from goodteacher.data.problem import Problem
from goodteacher.study.cohort import News, Outcome
from goodteacher.study.execute import train_one_cohort
from goodteacher.study.runspec import RunSpec
from goodteacher.study.store import Store

ENGINES = ("local", "processes", "ray")
NextCohorts = Callable[[], list[list[RunSpec]]]
RunCohorts = Callable[[NextCohorts, dict[str, str]], Iterator[News | Outcome]]


@contextlib.contextmanager
def open_engine(engine: str, workers: int, problem: Problem, store: Store, device: str) -> Iterator[RunCohorts]:
    """Open an engine for the length of a block.

    Args:
        engine: one of `ENGINES`.
        workers: processes, or Ray tasks at a time.
        problem: the data.
        store: the runs.
        device: to train on.

    Yields:
        A function from "what can run next" and labels to news and outcomes.

    Raises:
        ConfigError: for an unknown engine, or Ray where it is not installed.
    """
    check_choice("engine", engine, ENGINES)
    if engine == "local" or (engine == "processes" and workers == 1):
        yield lambda next_cohorts, labels: _local(next_cohorts, labels, problem, store, device)
    elif engine == "processes":
        with _pool(workers, problem, store, device) as run:
            yield run
    else:
        with _ray(workers, problem, store, device) as run:
            yield run


def _local(
    next_cohorts: NextCohorts, labels: dict[str, str], problem: Problem, store: Store, device: str
) -> Iterator[News | Outcome]:
    queue = next_cohorts()
    while queue:
        yield (yield from train_one_cohort(queue.pop(0), labels, problem, store, device))
        queue += next_cohorts()


# What a worker process works with, set once by its initialiser: the data are not sent again with every cohort.
_worker: dict[str, Any] = {}


def _start_worker(problem: Problem, root: Path, device: str, news: Any, parent: int) -> None:
    torch.set_num_threads(1)  # two spinning OpenMP teams on a busy machine are 10 to 50 times slower
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and asks for an orderly stop by SIGTERM
    _worker.update(problem=problem, store=Store(root), device=device, news=news)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)  # the parent was killed: nobody would read the result

    threading.Thread(target=watch, daemon=True).start()


def _work(cohort: list[RunSpec], labels: dict[str, str]) -> Outcome:
    training = train_one_cohort(cohort, labels, _worker["problem"], _worker["store"], _worker["device"])
    while True:
        try:
            _worker["news"].put(next(training))
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome


@contextlib.contextmanager
def _pool(workers: int, problem: Problem, store: Store, device: str) -> Iterator[RunCohorts]:
    context = torch.multiprocessing.get_context("spawn")
    news = context.Queue()
    pool = ProcessPoolExecutor(
        workers,
        mp_context=context,
        initializer=_start_worker,
        initargs=(problem, store.root, device, news, os.getpid()),
    )
    try:
        yield lambda next_cohorts, labels: _pooled(next_cohorts, labels, pool.submit, news)
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # SIGTERM: the loop writes its checkpoints and ends
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        news.close()


def _pooled(
    next_cohorts: NextCohorts, labels: dict[str, str], submit: Callable[..., Future[Outcome]], news: Any
) -> Iterator[News | Outcome]:
    pending = {submit(_work, cohort, _labels_for(cohort, labels)) for cohort in next_cohorts()}
    while pending:
        finished, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
        while not news.empty():
            yield news.get()
        for future in finished:
            yield future.result()
        if finished:
            pending |= {submit(_work, cohort, _labels_for(cohort, labels)) for cohort in next_cohorts()}
    while not news.empty():
        yield news.get()


def _labels_for(cohort: list[RunSpec], labels: dict[str, str]) -> dict[str, str]:
    return {spec.id: labels[spec.id] for spec in cohort}


@contextlib.contextmanager
def _ray(workers: int, problem: Problem, store: Store, device: str) -> Iterator[RunCohorts]:
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "engine 'ray'", rule="needs the package ray", remedy="pip install 'goodteacher[scale]'"
        ) from None
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, include_dashboard=False)
    shared = ray.put(problem)
    root = store.root.resolve()  # a path that every node sees

    @ray.remote(num_cpus=1, num_gpus=1 if device == "cuda" else 0)  # type: ignore[untyped-decorator]
    def work(data: Problem, cohort: list[RunSpec], labels: dict[str, str]) -> tuple[list[News], Outcome]:
        torch.set_num_threads(1)
        training = train_one_cohort(cohort, labels, data, Store(root), device)
        said = []
        while True:
            try:
                item = next(training)
                if item.kind != "steps":
                    said.append(item)
            except StopIteration as stop:
                return said, stop.value

    def run(next_cohorts: NextCohorts, labels: dict[str, str]) -> Iterator[News | Outcome]:
        pending = [work.remote(shared, c, _labels_for(c, labels)) for c in next_cohorts()]
        while pending:
            done, pending = ray.wait(pending, num_returns=1)
            for reference in done:
                said, outcome = ray.get(reference)
                yield from said
                yield outcome
            pending += [work.remote(shared, c, _labels_for(c, labels)) for c in next_cohorts()]

    try:
        yield run
    finally:
        if started:
            ray.shutdown()
