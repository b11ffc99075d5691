"""What a plan costs: CPU seconds to plan one pair of networks with every method, and the number of runs planned.

    python benchmarks/plan_time.py [--teacher resnet50] [--student vgg8] [--seeds 5]

Nothing is trained or read, and imports are not counted. Methods that are not defined for the pair are left out and printed with
the reason; they are found in another process, so that the plan that is timed is the first thing that its own process does.
"""

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

from goodteacher.base.errors import ConfigError
from goodteacher.data.facts import Facts
from goodteacher.methods.table import METHODS
from goodteacher.study.plan import plan_study
from goodteacher.study.spec import parse_study
from goodteacher.study.trial import Trial

FACTS = Facts("0" * 16, 100, (3, 32, 32), 45000, is_image=True, knows_truth=False, has_votes=False)


def defined(teacher: str, student: str) -> tuple[list[str], dict[str, str]]:
    """Return the methods that are defined for a pair, and the reasons of those that are not."""
    trial, good, bad = Trial(FACTS), [], {}
    networks = [(trial.model(name, FACTS.input_shape), FACTS.input_shape) for name in (student, teacher)]
    for method in METHODS:
        try:
            trial.needs(networks[0], networks[1], trial.method(method)[0], where=method)
            good.append(method)
        except ConfigError as error:
            bad[method] = str(error)
    return good, bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="resnet50")
    parser.add_argument("--student", default="vgg8")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as elsewhere:
        methods, left_out = elsewhere.submit(defined, args.teacher, args.student).result()
    study = parse_study(
        {
            "problem": "cifar100",
            "recipe": {"epochs": 240},
            "teachers": {"teacher": {"model": args.teacher}},
            "students": {method: {"model": args.student, "method": method} for method in methods},
            "seeds": args.seeds,
        }
    )
    start = time.process_time()
    plan = plan_study(study, FACTS)
    seconds = time.process_time() - start
    print(
        f"{args.teacher} -> {args.student}: {seconds:.2f} CPU seconds for {len(plan.runs)} runs, {len(methods)} methods"
    )
    for why in left_out.values():
        print(f"left out: {why}")


if __name__ == "__main__":
    main()
