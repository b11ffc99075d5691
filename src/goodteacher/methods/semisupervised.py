"""Students that see all examples and the labels of some.

Legend: N examples of a batch, M examples of the training split, C classes, L labelled examples.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from goodteacher.base.checks import check_labels, check_logits
from goodteacher.base.errors import ConfigError, ShapeError, check_range
from goodteacher.base.probability import log_soften, nll, reduce
from goodteacher.base.seeds import numpy_stream
from goodteacher.base.types import Batch, Labels, Logits, Loss, Needs, Output, Progress, Reduction, Setting, Terms


def labelled_cross_entropy(
    logits: Logits, labels: Labels, labelled: Tensor, *, reduction: Reduction = "mean"
) -> Tensor:
    r"""Cross-entropy to the label where it is known, zero elsewhere.

    .. math:: \ell_n = -[n \in L] \log p_{n y_n}, \quad p = \mathrm{softmax}(z)

    The mean divides by all N examples, so that a labelled example weighs the same whatever else is in its batch.

    Args:
        logits: ``(N, C)``, unnormalised; receives the gradient.
        labels: ``(N,)`` int64 in [0, C); not read where ``labelled`` is false.
        labelled: ``(N,)`` bool.
        reduction: over the batch.

    Returns:
        Scalar, or ``(N,)`` with ``reduction="none"``; nats.

    Raises:
        ShapeError: if shapes or labels do not fit, or values are not finite.

    Example:
        >>> z = torch.zeros(2, 2)
        >>> labelled_cross_entropy(z, torch.tensor([0, 1]), torch.tensor([True, False]))
        tensor(0.3466)

    Source: Chen et al. (2020), "Big Self-Supervised Models are Strong Semi-Supervised Learners", section 2: the share of the
    labelled examples.
    """
    check_logits(logits=logits)
    check_labels(labels, examples=logits.shape[0], classes=logits.shape[1])
    if labelled.dtype != torch.bool or tuple(labelled.shape) != tuple(labels.shape):
        received = f"{labelled.dtype} {tuple(labelled.shape)}"
        raise ShapeError("labelled", rule=f"must be a bool tensor of shape {tuple(labels.shape)}", received=received)
    each = nll(log_soften(logits), labels)
    return reduce(torch.where(labelled, each, torch.zeros_like(each)), reduction)


def labelled_rows(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Return the rows that `goodteacher.data.labels.label_subset` keeps of a split with these labels.

    Args:
        labels: ``(M,)`` int64.
        per_class: how many of each class.
        seed: of the choice.

    Returns:
        ``(L,)`` int64, ascending.

    Raises:
        ConfigError: if a class has fewer.
    """
    known, rows = labels.cpu().numpy(), []
    for label in np.unique(known).tolist():
        own = np.flatnonzero(known == label)
        if len(own) < per_class:
            raise ConfigError("per_class", rule=f"must be at most the {len(own)} of class {label}", received=per_class)
        rows.append(numpy_stream(seed, "subset", label).permutation(own)[:per_class])
    return torch.from_numpy(np.sort(np.concatenate(rows)))


class Labelled(Loss):
    """Cross-entropy to the labels of a class-balanced few of the training examples; see `labelled_cross_entropy`.

    A part of a sum with ``gamma: 0``, which would read all labels.

    Args:
        setting: supplies the labels of all training examples, of which the others are not read.
        per_class: labelled examples of each class.
        seed: of the choice; with `label_subset`'s seed and size they are the examples that it keeps.
        weight: of the term.
    """

    needs = Needs(examples=True, weighs_classes=True)
    is_labelled: Tensor

    def __init__(self, setting: Setting, *, per_class: int = 100, seed: int = 0, weight: float = 1.0) -> None:
        super().__init__()
        check_range("per_class", per_class, low=1)
        check_range("seed", seed, low=0)
        check_range("weight", weight, low=0.0)
        self.weight = weight
        # Without labels the method can be looked at (its needs), but not trained.
        self.has_labels = setting.labels is not None
        known = torch.zeros(max(1, setting.examples), dtype=torch.bool)
        if setting.labels is not None:
            known[labelled_rows(setting.labels, per_class, seed)] = True
        self.register_buffer("is_labelled", known, persistent=False)

    def forward(self, network: Output, teacher: Output | None, batch: Batch, progress: Progress) -> Terms:
        """Return the term ``labelled``."""
        if not self.has_labels:
            raise ConfigError("method 'labelled'", rule="needs the labels of all training examples", received="none")
        known = self.is_labelled[batch.indices]
        each = labelled_cross_entropy(network.logits, batch.labels, known, reduction="none")
        return {"labelled": self.weight * batch.weighed_mean(each)}
