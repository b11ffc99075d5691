"""Execute a plan: group its runs into cohorts, train what is not finished, go on after a failure."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from goodteacher.base.errors import ConfigError, GoodteacherError
from goodteacher.data.facts import Facts
from goodteacher.data.problem import Problem
from goodteacher.study.cohort import News, Outcome, train_cohort
from goodteacher.study.outputs import save_views
from goodteacher.study.planned import Plan
from goodteacher.study.run import Run
from goodteacher.study.runspec import RunSpec
from goodteacher.study.store import Store
from goodteacher.train.checkpoint import load_checkpoint

# What the loader needs of a recipe: runs of a cohort have it in common.
SHARED = ("epochs", "batch_size", "augment", "mixup", "cutmix")
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


def facts_of(problem: Problem) -> Facts:
    """Return what a plan must know of a problem, and a report says of it."""
    return Facts(
        problem.fingerprint,
        problem.classes,
        problem.input_shape,
        len(problem.train),
        problem.is_image,
        problem.train.truth is not None,
        problem.train.votes is not None,
        problem.name,
        problem.describe(),
        problem.class_names,
        problem.notes,
    )


def ready_cohorts(plan: Plan, store: Store, waiting: set[str]) -> list[list[RunSpec]]:
    """Return cohorts of waiting runs whose teachers are finished.

    Runs go together that share seed, epochs, batch size, augmentation and fold, and that stand at the same step.

    Args:
        plan: the study's.
        store: says what is finished and how far checkpoints are.
        waiting: ids not yet finished nor failed.

    Returns:
        Cohorts, in the plan's order.
    """
    groups: dict[tuple[object, ...], list[RunSpec]] = {}
    steps: dict[str, int] = {}
    for run, spec in plan.runs.items():
        if run not in waiting:
            continue
        if not all(store.has(needed) for needed in spec.needs_runs):
            continue
        if spec.training_id not in steps:
            steps[spec.training_id] = _checkpoint_step(store, spec)
        recipe = spec.recipe
        shared = (spec.seed, spec.initial_epochs, spec.fold, *(recipe[k] for k in SHARED))
        key = (*shared, steps[spec.training_id])
        groups.setdefault(key, []).append(spec)
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
    plan: Plan, problem: Problem, store: Store, *, device: str = "cpu", engine: str = "local", workers: int = 2
) -> Generator[News, None, Summary]:
    """Train every run of a plan that is not finished.

    Args:
        plan: from `plan_study`.
        problem: the data it was planned for.
        store: where runs go.
        device: to train on.
        engine: ``local`` trains one cohort after another, ``processes`` several at a time, ``ray`` on a Ray cluster.
        workers: of the engines that have any.

    Yields:
        News.

    Returns:
        What was done.
    """
    from goodteacher.study.engines import open_engine

    needed = {run for who in plan.teachers.values() for run in who.runs}
    needed |= {run for spec in plan.runs.values() for run in spec.needs_runs}
    for run in needed - set(plan.runs):
        _check_foreign(store.run(run), plan)
    store.add_problem(problem, plan.facts)
    store.add_study(plan)
    summary = Summary(reused=[run for run in plan.runs if store.has(run)])
    waiting = set(plan.runs) - set(summary.reused)
    if summary.reused:
        yield News("line", text=f"{len(summary.reused)} of {len(plan.runs)} runs are finished already")
    labels = plan.names
    with open_engine(engine, workers, problem, store, device) as run_cohorts:
        under_way: set[str] = set()

        def next_cohorts() -> list[list[RunSpec]]:
            save_views(plan, problem, store, device)
            return _next_cohorts(plan, store, waiting, under_way)

        for item in run_cohorts(next_cohorts, labels):
            if isinstance(item, News):
                yield item
                continue
            _take_in(item, summary, waiting, under_way)
            for run in _orphans(plan, summary, waiting):
                waiting.discard(run)
                summary.failed[run] = "left out because its teacher failed"
                yield News("failed", labels[run], summary.failed[run], runs=(run,))
    return summary


def _check_foreign(run: Run, plan: Plan) -> None:
    if run.facts.classes != plan.facts.classes or run.facts.input_shape != plan.facts.input_shape:
        raise ConfigError(
            f"teacher run {run.id}",
            rule=f"must fit the problem's {plan.facts.classes} classes and inputs of shape {plan.facts.input_shape}",
            received=f"{run.facts.classes} classes and {tuple(run.facts.input_shape)}",
        )


def _next_cohorts(plan: Plan, store: Store, waiting: set[str], under_way: set[str]) -> list[list[RunSpec]]:
    cohorts = ready_cohorts(plan, store, waiting - under_way)
    under_way |= {spec.id for cohort in cohorts for spec in cohort}
    return cohorts


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


def train_one_cohort(
    cohort: list[RunSpec], labels: dict[str, str], problem: Problem, store: Store, device: str
) -> Generator[News, None, Outcome]:
    """Train a cohort; an error that is nobody's bug fails its runs and not the study."""
    try:
        return (yield from train_cohort(cohort, labels, problem, store, device))
    except GoodteacherError as error:
        for spec in cohort:
            yield News("failed", labels[spec.id], str(error), runs=(spec.id,))
        return Outcome(failed={spec.id: str(error) for spec in cohort})
