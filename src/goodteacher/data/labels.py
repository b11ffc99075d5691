"""Tools that change which labels or classes a problem has; each returns a new problem that says so in its notes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.errors import ConfigError, DataError, check_choice, check_range, suggest
from goodteacher.base.seeds import numpy_stream
from goodteacher.data.problem import Problem, Split, SplitName

_WHOLE = re.compile(r"-?[0-9]+")
_SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def label_subset(problem: Problem, *, per_class: int | None = None, total: int | None = None, seed: int = 0) -> Problem:
    """Keep a class-balanced subset of the training split; validation and test stay as they are.

    The same seed gives nested subsets: the first 10 examples of a class are among the first 20.

    Args:
        problem: to take from.
        per_class: examples of each class, or
        total: examples in all, a multiple of the number of classes.
        seed: of the choice.

    Returns:
        The smaller problem.

    Raises:
        ConfigError: unless exactly one size is given, positive and divisible.
        DataError: if a class has too few examples.
    """
    if (per_class is None) == (total is None):
        raise ConfigError("size of the subset", rule="must be given as either per_class or total")
    what, size, unit = ("total", total, problem.classes) if per_class is None else ("per_class", per_class, 1)
    if not isinstance(size, int) or size < unit or size % unit:
        rule = f"must be a multiple of the {unit} classes" if unit > 1 else "must be a whole number of at least 1"
        raise ConfigError(what, rule=rule, received=repr(size))
    count = size // unit
    labels, rows = problem.train.labels.numpy(), []
    for label, name in enumerate(problem.class_names):
        own = np.flatnonzero(labels == label)
        if len(own) < count:
            raise DataError(f"class '{name}'", rule=f"needs {count} training examples", received=len(own))
        rows.append(numpy_stream(seed, "subset", label).permutation(own)[:count])
    chosen = torch.from_numpy(np.sort(np.concatenate(rows)))
    return replace(
        problem, train=problem.train.take(chosen), notes=(*problem.notes, f"{count} training examples a class")
    )


def class_pair(problem: Problem, a: str | int, b: str | int) -> Problem:
    """Keep two classes, relabelled 0 and 1.

    Where the truth is known it becomes the distribution given that the class is one of the two,
    p*(c) / (p*(a) + p*(b)); an example to which it gave neither (nobody voted so) is sure of its label. Votes for other
    classes are dropped.

    Args:
        problem: to take from.
        a: class 0, by name or number; where every class is named by a whole number, that is its name and not its place.
        b: class 1, the same.

    Returns:
        The problem of two classes.

    Raises:
        ConfigError: for unknown or equal classes, or a number that is the name of one class and the place of another.
    """
    first, second = _number(problem, a), _number(problem, b)
    if first == second:
        raise ConfigError("pair", rule="must be two different classes", received=f"{a!r} and {b!r}")

    def narrow(split: Split) -> Split:
        kept = split.take(((split.labels == first) | (split.labels == second)).nonzero().squeeze(1))
        labels = (kept.labels == second).long()
        truth, votes = (None if t is None else t[:, [first, second]] for t in (kept.truth, kept.votes))
        if truth is not None:
            mass = truth.double().sum(dim=1, keepdim=True)
            sure = torch.nn.functional.one_hot(labels, 2).double()
            truth = torch.where(
                mass > 0, truth.double() / mass.clamp_min(torch.finfo(torch.float64).tiny), sure
            ).float()
        return replace(kept, labels=labels, truth=truth, votes=votes)

    names = (problem.class_names[first], problem.class_names[second])
    return _changed(problem, narrow, names, f"classes '{names[0]}' and '{names[1]}' only")


def merge_classes(problem: Problem, groups: Mapping[str, Sequence[str | int]]) -> Problem:
    """Merge classes into groups; probabilities and votes of a group are the sums of its members'.

    Args:
        problem: to relabel.
        groups: name of each new class and the old ones in it, as in `class_pair`; every old class in exactly one.

    Returns:
        The problem with one class a group, in the order given.

    Raises:
        ConfigError: for fewer than two groups, or a class that is unknown, in two groups or in none.
    """
    if not isinstance(groups, Mapping) or len(groups) < 2:
        raise ConfigError("groups", rule="must map at least two names to lists of classes", received=repr(groups))
    home: dict[int, int] = {}
    for group, (name, members) in enumerate(groups.items()):
        if isinstance(members, str) or not isinstance(members, Sequence):
            raise ConfigError(f"group '{name}'", rule="must be a list of classes", received=repr(members))
        for number in (_number(problem, member) for member in members):
            if number in home:
                raise ConfigError(f"class '{problem.class_names[number]}'", rule="must be in one group only")
            home[number] = group
    left = ", ".join(name for number, name in enumerate(problem.class_names) if number not in home)
    if left:
        raise ConfigError("groups", rule="must hold every class", received=f"none with {left}")
    target = torch.tensor([home[number] for number in range(problem.classes)])

    def merge(split: Split) -> Split:
        summed = (None if t is None else _sum_columns(t, target, len(groups)) for t in (split.truth, split.votes))
        truth, votes = summed
        return replace(split, labels=target[split.labels], truth=truth, votes=votes)

    return _changed(problem, merge, tuple(groups), f"{problem.classes} classes merged into {len(groups)}")


def symmetric_noise(
    problem: Problem, rate: float, *, seed: int = 0, splits: Sequence[SplitName] = ("train",)
) -> Problem:
    r"""Replace labels, each with probability η, by one drawn uniformly from all C classes, the right one included.

    .. math:: p^*_\eta = (1 - \eta) p^* + \eta / C

    Truth, where known, is shifted so in the noisy splits; votes stay what people said.

    Args:
        problem: to disturb.
        rate: η in [0, 1]; a share η (C − 1) / C of the labels comes out wrong.
        seed: of the draws; each split has its own stream.
        splits: which splits; test stays clean unless named.

    Returns:
        The noisy problem.

    Raises:
        ConfigError: for a rate out of range or an unknown split.
    """
    check_range("rate", rate, low=0, high=1)
    noisy: dict[str, Split] = {}
    for name in splits:
        check_choice("split to disturb", name, _SPLITS)
        split, stream = problem.split(name), numpy_stream(seed, f"noise of {name}")
        replaced = torch.from_numpy(stream.random(len(split)) < rate)
        drawn = torch.from_numpy(stream.integers(0, problem.classes, size=len(split)))
        truth = None if split.truth is None else (1 - rate) * split.truth + rate / problem.classes
        noisy[name] = split.with_labels(torch.where(replaced, drawn, split.labels), truth)
    note = f"symmetric label noise of rate {rate:g} on {' and '.join(splits) or 'no split'}"
    train, validation, test = (noisy.get(name, problem.split(name)) for name in _SPLITS)
    return replace(problem, train=train, validation=validation, test=test, notes=(*problem.notes, note))


def _changed(problem: Problem, change: Callable[[Split], Split], names: tuple[str, ...], note: str) -> Problem:
    train, validation, test = (change(split) for split in (problem.train, problem.validation, problem.test))
    notes = (*problem.notes, note)
    return replace(problem, train=train, validation=validation, test=test, class_names=names, notes=notes)


def _sum_columns(table: Tensor, target: Tensor, columns: int) -> Tensor:
    return table.new_zeros(len(table), columns).index_add_(1, target, table)


def _number(problem: Problem, given: str | int) -> int:
    """Return a class's number; where classes are named by whole numbers, a number is a name."""
    names = problem.class_names
    if isinstance(given, str) and given in names:
        return names.index(given)
    what, whole = f"class of '{problem.name}'", isinstance(given, int) and not isinstance(given, bool)
    if all(map(_WHOLE.fullmatch, names)):
        fitting = [place for place, name in enumerate(names) if whole and int(name) == given]
        if len(fitting) > 1:
            readings = " or ".join(f"'{names[place]}'" for place in fitting)
            raise ConfigError(
                what, rule="must be one class", received=f"{given!r}, which is {readings}", remedy="quote it"
            )
        if fitting:
            return fitting[0]
        rule = "must be one of its names, which are numbers"
        raise ConfigError(what, rule=rule, received=repr(given), remedy=suggest(str(given), names))
    if whole and str(given) in names and names.index(str(given)) != given:
        by_name = names.index(str(given))
        if not 0 <= int(given) < problem.classes:
            return by_name
        received = f"{given!r}, which is the class named '{given}' or number {given} of them, '{names[int(given)]}'"
        raise ConfigError(what, rule="must be one class", received=received, remedy="give its name in quotes")
    if whole and 0 <= int(given) < problem.classes:
        return int(given)
    rule = f"must be a class name or a number from 0 to {problem.classes - 1}"
    raise ConfigError(what, rule=rule, received=repr(given), remedy=suggest(str(given), names))
