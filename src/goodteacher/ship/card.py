"""The card of an exported model: what it is, how it is used, how good it is and why it had this teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from goodteacher.base.stats import Estimate
from goodteacher.data.problem import Problem
from goodteacher.diagnose.evaluation import evaluate
from goodteacher.diagnose.results import Results
from goodteacher.report.conclusion import conclusion
from goodteacher.report.evaluation import evaluation_grids
from goodteacher.report.markdown import bullets, rows_of
from goodteacher.report.tables import Grid, teacher_grid
from goodteacher.ship.deployed import Deployed
from goodteacher.ship.lines import loading
from goodteacher.ship.verify import Check
from goodteacher.study.held_out import held_out
from goodteacher.study.machine import environment
from goodteacher.study.origin import studies_of
from goodteacher.study.run import Run


def card(
    run: Run, problem: Problem, network: Deployed, checks: Sequence[Check], *, licence: str, for_int8: Run | None = None
) -> str:
    """Return a model card in Markdown, with the metadata that model hubs read.

    Args:
        run: what was exported.
        problem: whose test split it was scored on.
        network: with its preprocessing.
        checks: what came of running each file.
        licence: of the model; empty where nobody has said.
        for_int8: the run that files of 8 bits were written from, where it is another.
    """
    logits, labels, facts, said = held_out(run, problem)
    found = evaluate(logits, labels, facts.class_names)
    scores, classes = evaluation_grids(found)
    described = _described(run)
    parts = [
        f"# {run.spec.model_name} for {facts.name}",
        f"{described} It takes {_takes(network)}, and answers the probabilities of {facts.classes} classes.",
        "## Use it",
        *(f"```python\n{loading(check.format, network)}\n```" for check in checks if check.format != "safetensors"),
        _classes(facts.class_names),
        f"## {scores.title}",
        rows_of(scores),
        scores.note,
        rows_of(classes),
        *([bullets(said)] if said else []),
        "## Why this teacher",
        *_teacher(run),
        "## Files",
        rows_of(files_grid(checks)),
        files_grid(checks).note,
        "## Data",
        facts.summary,
        *([bullets(facts.notes)] if facts.notes else []),
        "## How it was made",
        bullets(_made(run, for_int8)),
    ]
    return f"---\n{_metadata(run, found.scores['accuracy'], checks, licence)}---\n\n" + "\n\n".join(parts) + "\n"


def _described(run: Run) -> str:
    loss = " + ".join(run.spec.loss)
    size = f"{run.result.parameters:,} parameters"
    if run.spec.teaching is None:
        return f"A network of {size}, trained with {loss}."
    return f"A student of {size}, distilled with {loss}."


def _takes(network: Deployed) -> str:
    if not network.made.is_image:
        return f"vectors of {network.made.shape[0]} numbers as they are, not normalised"
    channels, height, width = network.made.shape
    colour = "colour" if channels == 3 else "grey"
    return f"{colour} pictures of {height}x{width} pixels as whole numbers from 0 to 255, not normalised"


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(f"{i} {name}" for i, name in enumerate(names[:20]))
    return f"Classes, in the order of the columns: {shown}{', ... (all in config.json)' if len(names) > 20 else ''}."


def _teacher(run: Run) -> list[str]:
    """Return who taught it, and how that teacher was ranked among the others of its study."""
    if run.spec.teaching is None:
        return ["It had none."]
    who = [f"{run.sibling(name).describe()}." for name in run.spec.teaching.runs]
    told = ["Taught by " + " and ".join(who)] if who else [f"Taught by the problem's {run.spec.teaching.how}."]
    for folder in studies_of(run)[:1]:
        results = Results(folder)
        if results.ranked:
            grid = teacher_grid(results.ranked)
            told += [f"{grid.title}:", rows_of(grid), grid.note]
        told.append(conclusion(results))
    return told


def files_grid(checks: Sequence[Check]) -> Grid:
    """Return what came of running each file on held-out data."""
    rows = tuple(
        (
            check.file, f"{check.bytes / 1e6:.2f}", f"{check.difference:.1e}", f"{100 * check.accuracy.mean:.2f}",
            _points(check.loss), *(f"{ms:.2f}" for ms in check.milliseconds.values()),
        )
        for check in checks
    )  # fmt: skip
    n = checks[0].accuracy.n if checks else 0
    times = [f"ms for {count}" for count in (checks[0].milliseconds if checks else ())]
    columns = ("file", "MB", "largest difference", "accuracy %", "points lost", *times)
    machine = environment()
    note = (
        f"Each file was run on {n} held-out examples. Difference: of a probability from the network's own. Points lost: accuracy "
        "of the network minus the file's, paired by example, with a 95% interval (Agresti & Min). "
        f"ms: median of 9 calls on {machine['processor']}, with the threads of this process."
    )
    return Grid("Files, checked", columns, rows, note)


def _points(e: Estimate) -> str:
    return f"{100 * e.mean:+.2f} [{100 * e.low:+.2f}, {100 * e.high:+.2f}]"


def _made(run: Run, for_int8: Run | None) -> list[str]:
    recipe = {key: value for key, value in run.spec.recipe.items() if value is not None}
    studies = studies_of(run)
    return [
        f"Run {run.id}, seed {run.spec.seed}, checkpoint {run.spec.keep} (epoch {run.result.epoch}).",
        *([f"Study {studies[0].name}."] if studies else []),
        f"Method: {run.spec.loss}, γ = {run.spec.gamma:g}.",
        f"Recipe: {', '.join(f'{key} {value}' for key, value in recipe.items())}.",
        f"Machine: {', '.join(f'{key} {value}' for key, value in run.result.environment.items())}.",
        *(
            [f"8 bits: trained on while rounding, run {for_int8.id} of {for_int8.result.epoch} epochs."]
            if for_int8
            else []
        ),
        f"Command: `goodteacher export {run.id} --to DIR{' --qat' if for_int8 else ''}`.",
    ]


def _metadata(run: Run, accuracy: Estimate, checks: Sequence[Check], licence: str) -> str:
    task = "image-classification" if run.facts.is_image else "tabular-classification"
    name = f"{run.spec.model_name}-{run.facts.name}"
    metric = {"type": "accuracy", "value": round(accuracy.mean, 4), "name": f"accuracy (n = {accuracy.n})"}
    result = {
        "task": {"type": task},
        "dataset": {"name": run.facts.name, "type": run.facts.name, "split": "test"},
        "metrics": [metric],
    }
    values: dict[str, Any] = {
        **({"license": licence} if licence else {}),
        "library_name": "onnx" if any(check.file.endswith(".onnx") for check in checks) else "pytorch",
        "pipeline_tag": task,
        "tags": ["knowledge-distillation", "goodteacher"],
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [result]}],
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
