"""What a study would run, and what it would cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from goodteacher.cli.options import begin, console

if TYPE_CHECKING:
    from goodteacher.study.spec import StudySpec


def dry_run_of(spec: StudySpec, out: Path, device: str, *, as_json: bool) -> None:
    """Print the runs of a study, and what is left of them costs."""
    place, _ = begin(device, "local")
    from goodteacher.api import finished_teachers, load_problem
    from goodteacher.study.cost import estimate_cost, memories
    from goodteacher.study.plan import plan_study
    from goodteacher.study.store import Store

    problem, store, screen = load_problem(spec), Store(out), console()
    spec, given = finished_teachers(spec, store)
    plan = plan_study(spec, problem.facts, given)
    screen.print(problem.describe(), markup=False, highlight=False)
    for run_id, label in plan.names.items():
        state = "finished" if store.has(run_id) else "to train"
        screen.print(f"  {run_id}  {state:9} {label}", markup=False, highlight=False)
    for label, size in memories(plan).items():
        screen.print(
            f"  {label} keeps {size / 1e6:.1f} MB of memories with one row per example", markup=False, highlight=False
        )
    cost = estimate_cost(plan, problem, store, place)
    screen.print(
        f"{cost.runs} runs to train, {cost.reused} finished; about {cost.seconds / 60:.1f} minutes of one worker on this machine "
        f"(within a factor of two) and {cost.bytes / 1e6:.1f} MB of disk",
        markup=False, highlight=False,
    )  # fmt: skip
    if as_json:
        print(json.dumps({"planned": plan.names, **asdict(cost)}))
