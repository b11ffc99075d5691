"""Losses on mixed batches and on weighed classes, and what cannot be had on them."""

from __future__ import annotations

from dataclasses import replace

from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Batch, FrozenTeacher, Loss, Needs, Output, Progress, Terms
from goodteacher.train.frozen import FoldTeacher, TableTeacher, is_derived, views_of
from goodteacher.train.recipe import Recipe


def mixed_terms(loss: Loss, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
    r"""Return a loss's terms on a batch that may be mixed.

    .. math:: \ell = \lambda \, \ell(y) + (1 - \lambda) \, \ell(y_\pi)

    Args:
        loss: called once on a plain batch, and on a mixed one once for each label, with the same outputs.
        network: the network's output.
        teacher: the frozen teacher's, or None.
        batch: with labels y and, where mixed, partners' labels :math:`y_\pi` and the share λ.
        progress: where in training.

    Returns:
        Named scalars.

    Source: Zhang et al. (2018); Yun et al. (2019).
    """
    own = loss(network, teacher, batch, progress)
    if batch.mixed is None:
        return own
    others = loss(network, teacher, replace(batch, labels=batch.mixed.labels), progress)
    share = batch.mixed.share
    return {name: share * term + (1 - share) * others[name] for name, term in own.items()}


def check_mixing(recipe: Recipe, loss: Loss, teacher: FrozenTeacher | None = None) -> None:
    """Raise `ConfigError` unless everything in a training has a meaning on mixed inputs, where the recipe mixes any.

    Args:
        recipe: mixup, cutmix and filter_table.
        loss: objective or method.
        teacher: frozen, where it is known already.
    """
    asked = [name for name in ("mixup", "cutmix") if getattr(recipe, name) is not None]
    if not asked:
        return
    found = ["filter_table, which averages predictions for each example"] if recipe.filter_table is not None else []
    for part in loss.parts:
        found += [f"{type(part).__name__}, which {reason}" for reason in _unmixable(part)]
    if teacher is not None and _answers_by_index(teacher):
        found.append("a teacher that answers by example: a table, or networks for folds")
    if views_of(teacher):
        found.append("a teacher that reads further views")
    if found:
        name = " and ".join(asked)
        raise ConfigError(
            name, rule="makes inputs that are no single example", received=found[0], remedy=f"leave out {name}"
        )


def check_weighing(recipe: Recipe, needs: Needs, what: str) -> None:
    """Raise `ConfigError` if a recipe weighs classes and nothing in a loss is a score against labels that could follow.

    Args:
        recipe: with class weights, or without.
        needs: of the loss, its label's cross-entropy included.
        what: the loss, for the message.
    """
    if recipe.class_weights is not None and not needs.weighs_classes:
        raise ConfigError(
            "class_weights",
            rule="weigh scores against labels",
            received=f"{what}, which has none that can be weighed",
            remedy="give a method gamma > 0, add cross_entropy to an objective, or use sampling: balanced",
        )


def _unmixable(part: Loss) -> list[str]:
    """Return what a loss does that has no meaning on mixed inputs."""
    needs = part.needs
    return [
        *(["keeps a row for each example"] if needs.examples else []),
        *([f"reads the views {', '.join(sorted(needs.views))}"] if needs.views else []),
        *(["is prepared on the examples of each class"] if part.needs.prepares else []),
        *([] if needs.output else ["runs the network itself"]),
    ]


def _answers_by_index(teacher: FrozenTeacher) -> bool:
    if is_derived(teacher):
        return any(_answers_by_index(part) for part in teacher.parts)
    return isinstance(teacher, TableTeacher | FoldTeacher)
