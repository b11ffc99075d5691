"""What each method costs on real pictures: seconds per epoch relative to the student alone, memory, and whether its loss falls.

    python benchmarks/method_cost.py STUDY_FOLDER --out evidence/methods_cifar10.json

Reads a finished study in which every student trains the same network (examples/all_methods.yaml); seconds are of each learner's
own steps, so that learners of one cohort are compared in one process run. Memory is that of the method's own parameters and
buffers beside the student.
"""

import argparse
import json
from pathlib import Path

from goodteacher.data.facts import Facts
from goodteacher.diagnose.results import Results
from goodteacher.study.build import build_loss, build_network, measure, setting_of
from goodteacher.study.runspec import RunSpec


def helper_bytes(spec: RunSpec, facts: Facts, teacher: str) -> int:
    """Return the bytes of what a method trains or remembers beside the student."""
    shape = facts.input_shape
    own, other = (measure(build_network(model, facts.classes, shape), shape) for model in (spec.model, {teacher: {}}))
    setting = setting_of(own, other, classes=facts.classes, examples=facts.examples)
    loss = build_loss("student", spec.loss, spec.gamma, setting)
    networks = (own.network, other.network)
    outside = {id(t) for network in networks for t in (*network.parameters(), *network.buffers())}
    return sum(t.numel() * t.element_size() for t in (*loss.parameters(), *loss.buffers()) if id(t) not in outside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    results = Results(args.study)
    teacher = next(results.run(run) for who in results.plan.teachers.values() for run in who.runs).spec.model_name
    rows = {}
    for cell in results.plan.cells:
        if cell.run in results.missing:
            print(f"{cell.student} is not finished and left out")
            continue
        run = results.run(cell.run)
        events = run.records
        epochs = len(events)
        own = [sum(v for k, v in e["loss"].items() if k != "cross_entropy") for e in events]
        rows[cell.student] = {
            "accuracy": results.student_values[cell.student, cell.teacher][cell.seed]["accuracy"],
            "seconds per epoch": run.result.seconds / epochs,
            "first own loss": own[0],
            "last own loss": own[-1],
            "helper bytes": helper_bytes(run.spec, results.facts, teacher),
            "epochs": epochs,
        }
    alone = rows["alone"]["seconds per epoch"]
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["accuracy"]):
        row["relative cost"] = row["seconds per epoch"] / alone
        print(
            f"{name:22} accuracy {100 * row['accuracy']:5.2f}  cost {row['relative cost']:5.2f}x  "
            f"helper {row['helper bytes'] / 1e6:7.2f} MB  own loss {row['first own loss']:10.4f} -> {row['last own loss']:10.4f}"
        )
    environment = results.run(results.plan.cells[0].run).result.environment
    record = {
        "problem": results.facts.summary,
        "notes": list(results.facts.notes),
        "rows": rows,
        "environment": environment,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
