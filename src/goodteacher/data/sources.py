"""Where problems come from, by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from goodteacher.base.custom import built, is_own, resolve
from goodteacher.base.errors import ConfigError, check_range, suggest
from goodteacher.data.arrays import npz_problem
from goodteacher.data.cifar import cifar_problem
from goodteacher.data.digits import digits_problem
from goodteacher.data.folder import folder_problem
from goodteacher.data.gaussian import gaussian_problem
from goodteacher.data.labels import class_pair, label_subset, merge_classes, symmetric_noise
from goodteacher.data.problem import Problem
from goodteacher.data.table import table_problem


@dataclass(frozen=True)
class Source:
    """A row of `SOURCES`.

    Attributes:
        build: makes the problem; its parameters are the source's options.
        summary: one line for people.
        needs_root: whether it reads files under a root folder.
    """

    build: Callable[..., Problem]
    summary: str
    needs_root: bool = False


SOURCES = {
    "gaussian": Source(gaussian_problem, "Gaussian clouds whose true label distribution is known exactly"),
    "digits": Source(digits_problem, "1,797 handwritten digits, 8x8, that come with scikit-learn"),
    "cifar10": Source(
        functools.partial(cifar_problem, "cifar10"), "CIFAR-10: 60,000 pictures of 10 classes, 32x32", True
    ),
    "cifar100": Source(functools.partial(cifar_problem, "cifar100"), "CIFAR-100: the same of 100 classes", True),
    "npz": Source(npz_problem, "arrays x_train, y_train, x_test, y_test in an .npz file (option path)"),
    "csv": Source(
        table_problem, "pictures by a CSV file with columns path, label and, where there is one, split (option path)"
    ),
    "folder": Source(folder_problem, "pictures in ROOT/train/CLASS and ROOT/test/CLASS, or in ROOT/CLASS", True),
}


def load(
    name: str | Path,
    *,
    root: str | Path = "data",
    subset: int | None = None,
    pair: Sequence[str | int] | None = None,
    merge: Mapping[str, Sequence[str | int]] | None = None,
    noise: float | None = None,
    note: str | None = None,
    **options: Any,
) -> Problem:
    """Load a problem, and then change its labels in a fixed order: pair or merge, noise, subset.

    Args:
        name: key of `SOURCES`, an .npz file, a folder of pictures, or ``module:function`` of a user's own, which returns a
            `Problem`, takes options by keyword, and the folder as ``root`` if it wants it.
        root: folder of the files, for sources that read any.
        subset: training examples of each class to keep.
        pair: two classes to keep.
        merge: name of each new class and the old ones in it.
        noise: rate of symmetric label noise on training and validation labels; test stays clean.
        note: what a reader must know of these data, such as "a JPEG copy"; it stands on every page.
        options: of the source; ``seed`` also seeds subset and noise.

    Returns:
        The problem.

    Raises:
        ConfigError: for an unknown source or option.
        DataError: for missing or damaged files.

    Example:
        >>> load("gaussian", train=90, validation=30, test=30, subset=10).describe()
        'gaussian: 30 train / 30 validation / 30 test · 3 classes · 30 · true label distribution known'
    """
    build, fixed = _builder(name, Path(root))
    known = [option for option in inspect.signature(build).parameters if option not in fixed]
    for option in options:
        if option not in known:
            remedy = suggest(option, [*known, "subset", "pair", "merge", "noise", "note"])
            raise ConfigError(f"option '{option}' of '{name}'", rule="must be a known option", remedy=remedy)
    if name in ("npz", "csv") and "path" not in options:
        raise ConfigError(
            f"option 'path' of '{name}'", rule="is required", remedy="or give the file itself as the name"
        )
    if subset is not None and (not isinstance(subset, int) or isinstance(subset, bool) or subset < 1):
        raise ConfigError("subset", rule="must be a whole number of at least 1", received=repr(subset))
    if noise is not None:
        check_range("noise", noise, low=0, high=1)
    problem = _built(str(name), build, {**fixed, **options})
    seed = options.get("seed", 0)
    if pair is not None and merge is not None:
        raise ConfigError("pair and merge", rule="cannot both be given")
    if pair is not None:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ConfigError("pair", rule="must be a list of two classes", received=repr(pair))
        problem = class_pair(problem, *pair)
    if merge is not None:
        problem = merge_classes(problem, merge)
    if noise is not None:
        problem = symmetric_noise(problem, noise, seed=seed, splits=("train", "validation"))
    problem = problem if subset is None else label_subset(problem, per_class=subset, seed=seed)
    return problem if note is None else replace(problem, notes=(*problem.notes, str(note)))


def _built(name: str, build: Callable[..., Problem], given: dict[str, Any]) -> Problem:
    if not is_own(name) or name in SOURCES:
        return build(**given)
    problem: object = built(f"problem '{name}'", build, given)
    if not isinstance(problem, Problem):
        rule = "must return a Problem, such as goodteacher.Problem.from_arrays makes"
        raise ConfigError(f"problem '{name}'", rule=rule, received=f"a {type(problem).__name__}")
    return problem


def _builder(name: str | Path, root: Path) -> tuple[Callable[..., Problem], dict[str, Any]]:
    """The function that makes the problem, and the arguments that are settled already."""
    if name in SOURCES:
        source = SOURCES[str(name)]
        return source.build, {"root": root} if source.needs_root else {}
    path = Path(name)
    if path.suffix == ".npz":
        return npz_problem, {"path": path}
    if path.suffix == ".csv":
        return table_problem, {"path": path}
    if path.is_dir():
        return folder_problem, {"root": path}
    if is_own(str(name)):
        own = resolve("problem", str(name))
        return own, {"root": root} if "root" in inspect.signature(own).parameters else {}
    remedy = (
        f"{suggest(str(name), SOURCES)} (or give the path of an .npz or .csv file or of a folder, or module:function)"
    )
    raise ConfigError(
        "problem",
        rule="must be a known source, an .npz or .csv file or a folder",
        received=repr(str(name)),
        remedy=remedy,
    )
