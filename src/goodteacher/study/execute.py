"""Execute a plan: group its runs into cohorts, train what is not finished, go on after a failure."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from goodteacher.base.events import Event, Sink, nobody
from goodteacher.data.problem import Problem
from goodteacher.study.cohort import Outcome
from goodteacher.study.engines import open_engine
from goodteacher.study.outputs import save_held_out
from goodteacher.study.planned import Plan
from goodteacher.study.runspec import RunSpec
from goodteacher.study.store import Store
from goodteacher.train.checkpoint import load_checkpoint

# What the loader needs of a recipe: runs of a cohort have it in common.
SHARED = ("epochs", "batch_size", "augment", "sampling", "mixup", "cutmix")
# Networks in one cohort: enough to share batches and teachers, few enough for memory.
MAX_COHORT = 32


@dataclass
class Summary:
    """What an execution did.

    Attributes:
        finished: ids trained now.
        reused: ids that were finished before.
        failed: id to reason, those left out because their teacher failed among them.
    """

    finished: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def ready_cohorts(
    plan: Plan, store: Store, waiting: set[str], under_way: Set[str] = frozenset()
) -> list[list[RunSpec]]:
    """Return cohorts of waiting runs whose teachers are finished.

    Runs go together that share seed, epochs, batch size, augmentation and fold, and that stand at the same step.

    Args:
        plan: the study's.
        store: says what is finished and how far checkpoints are.
        waiting: ids not yet finished nor failed.
        under_way: ids in training; students wait until all of a cohort of teachers is in the store, so as to be one cohort.

    Returns:
        Cohorts, in the plan's order.
    """
    groups: dict[tuple[object, ...], list[RunSpec]] = {}
    steps: dict[str, int] = {}
    for run, spec in plan.runs.items():
        if run not in waiting:
            continue
        if not all(store.has(needed) and needed not in under_way for needed in spec.needs_runs):
            continue
        if spec.training_id not in steps:
            steps[spec.training_id] = _checkpoint_step(store, spec)
        recipe = spec.recipe
        shared = (spec.seed, spec.initial_epochs, spec.fold, *(recipe.get(k) for k in SHARED))
        # Interrupted trainings may stand at different steps: together they would need two batches at a time.
        key = (*shared, steps[spec.training_id])
        groups.setdefault(key, []).append(spec)
    # A cohort is cut between trainings and never through one: its checkpoints come from one pass.
    cohorts = []
    for specs in groups.values():
        by_training: dict[str, list[RunSpec]] = {}
        for spec in specs:
            by_training.setdefault(spec.training_id, []).append(spec)
        units = list(by_training.values())
        for start in range(0, len(units), MAX_COHORT):
            cohorts.append([spec for unit in units[start : start + MAX_COHORT] for spec in unit])
    return cohorts


def _checkpoint_step(store: Store, spec: RunSpec) -> int:
    state = load_checkpoint(store.training_folder(spec.training_id) / "checkpoint.pt")
    return int(state["step"]) if state else 0


def execute(
    plan: Plan,
    problem: Problem,
    store: Store,
    *,
    device: str = "cpu",
    engine: str = "local",
    workers: int = 2,
    tell: Sink = nobody,
) -> Summary:
    """Train every run of a plan that is not finished.

    Args:
        plan: from `plan_study`.
        problem: the data it was planned for.
        store: where runs go.
        device: to train on.
        engine: ``local`` trains one cohort after another, ``processes`` several at a time, ``ray`` on a Ray cluster.
        workers: of the engines that have any.
        tell: receives what happens.

    Returns:
        What was done.
    """
    # Before anything trains: a study that is killed at once can still be read, resumed and reported.
    store.add_problem(problem, plan.facts)
    store.add_study(plan)
    summary = Summary(reused=[run for run in plan.runs if store.has(run)])
    waiting = set(plan.runs) - set(summary.reused)
    if summary.reused:
        tell(Event("line", text=f"{len(summary.reused)} of {len(plan.runs)} runs are finished already"))
    with open_engine(engine, workers, plan.facts, problem, store, device, tell) as cohorts:
        under_way: set[str] = set()
        ready: list[list[RunSpec]] = []
        # Target maps are fitted on saved answers, so those of finished teachers must be there before a student starts.
        save_held_out(plan, problem, store, device)
        while True:
            # What has become ready is looked for after each outcome: a student may start while other teachers still train.
            ready += ready_cohorts(plan, store, waiting - under_way, under_way)
            under_way |= {spec.id for cohort in ready for spec in cohort}
            done = [cohorts.train(ready.pop(0), plan.names)] if ready else cohorts.outcomes()
            if not ready and not done:
                break
            for outcome in filter(None, done):
                _take_in(outcome, summary, waiting, under_way)
                save_held_out(plan, problem, store, device)
            for run in _orphans(plan, summary, waiting):
                waiting.discard(run)
                summary.failed[run] = "left out because its teacher failed"
                tell(Event("failed", plan.names[run], summary.failed[run], runs=(run,)))
    return summary


def _take_in(outcome: Outcome, summary: Summary, waiting: set[str], under_way: set[str]) -> None:
    summary.finished += outcome.finished
    summary.failed |= outcome.failed
    done = {*outcome.finished, *outcome.failed}
    waiting -= done
    under_way -= done


def _orphans(plan: Plan, summary: Summary, waiting: set[str]) -> list[str]:
    lost = set(summary.failed)
    for run in plan.runs:  # in which each comes after those it needs
        if run in waiting and lost & set(plan.runs[run].needs_runs):
            lost.add(run)
    return [run for run in plan.runs if run in waiting and run in lost]
