"""The teachers of single commands: arms of a study, from words of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodteacher.base.errors import ConfigError, suggest
from goodteacher.cli.options import begin, console
from goodteacher.study.known_names import LARGER, MODELS
from goodteacher.study.study_file import apply_override

if TYPE_CHECKING:
    from goodteacher.study.spec import StudySpec


def run_at(name: str, out: Path) -> str | None:
    """Return the id of the finished run that a word stands for, if there is one; a store is opened only where there are runs."""
    if not (out / "runs").is_dir():
        return None
    from goodteacher.study.store import Store

    return Store(out).find(name)


def arm_of(arm: dict[str, Any], procedures: list[str] | None) -> dict[str, Any]:
    """Return a teacher arm with the keys that --with gives it."""
    for change in procedures or []:
        apply_override(arm, change, option="--with")
    return arm


def inputs_of(given: list[str] | None) -> Any:
    """Return what --inputs says a network expects to see, or None where nothing is said.

    Raises:
        ConfigError: for another key than ``size``, ``mean``, ``std``, or a value of another kind.
    """
    from goodteacher.study.arm_options import ArmInputs
    from goodteacher.train.recipe import validate

    values: dict[str, Any] = {}
    for change in given or []:
        apply_override(values, change, option="--inputs")
    return validate(ArmInputs, values, "--inputs") if values else None


def check_no_inputs(given: list[str] | None, needed: str) -> None:
    """Raise `ConfigError` for --inputs where there is no file whose network they would be of."""
    if given:
        raise ConfigError("--inputs", rule=f"is for a network from a file: {needed}", received=" ".join(given))


def check_options(options: dict[str, Any], teacher: list[str]) -> None:
    """Raise for options that `--teacher auto` alone, or a named teacher alone, can take."""
    rule = "is for a teacher that is named" if teacher == ["auto"] else "is for --teacher auto"
    for option, given in options.items():
        if given:
            raise ConfigError(option, rule=rule, received=f"--teacher {' '.join(teacher)}")


def teachers_of(
    given: list[str], objective: str | None, target_map: str | None, procedures: list[str] | None, out: Path
) -> dict[str, Any]:
    """Return the teacher arms of `distill`: one, or several with their ensemble."""
    arms: dict[str, Any] = {}
    for i, text in enumerate(given):
        found = None if text in MODELS else run_at(text, out)
        is_run = found is not None
        if not is_run and text not in MODELS and ":" not in text:
            rule = f"must be a finished run in {out}, a model, or auto"
            raise ConfigError("--teacher", rule=rule, received=repr(text), remedy=suggest(text, [*MODELS, "auto"]))
        if is_run and objective is not None:
            raise ConfigError("--objective", rule="is for a teacher that is trained first", received=f"the run {text}")
        model = {"model": text, "objective": objective or "cross_entropy"}
        arms[f"teacher{i + 1}"] = {"run": found} if is_run else model
    if len(given) == 1:
        return {"teacher": arm_of({**arms["teacher1"], "map": target_map}, procedures)}
    return {**arms, "teacher": arm_of({"ensemble": {"of": list(arms)}, "map": target_map}, procedures)}


def larger_than(student: str) -> str:
    """Return the model of the teachers that are tried: larger than the student, of its family where one is known; say which."""
    larger = LARGER.get(student, student)
    why = "the student's own, for no larger one is known" if larger == student else f"larger than {student}"
    console().print(f"Candidates: {larger}, {why}; --candidate names another", markup=False, highlight=False)
    return larger


def registered_from(teacher: list[str], weights: Path, inputs: Any, study: StudySpec, out: Path, device: str) -> str:
    """Register a teacher with somebody else's weights; return its run."""
    if len(teacher) != 1 or teacher == ["auto"]:
        raise ConfigError("--weights", rule="is for one teacher's model", received=f"--teacher {' '.join(teacher)}")
    place, _ = begin(device, "local")
    from goodteacher.api import load_problem
    from goodteacher.study.import_weights import register
    from goodteacher.study.store import Store

    run = register(teacher[0], weights, load_problem(study), Store(out), inputs=inputs, device=place)
    console().print(f"Teacher: {run.id}, weights from {run.result.file}", markup=False, highlight=False)
    found: str = run.id
    return found
