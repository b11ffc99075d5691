"""What a conformance row is, and how its inputs are drawn.

A loss takes tensors by keyword. ``student`` names the inputs that receive the gradient, ``teacher`` those that must not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

N, C = 6, 5
Inputs = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A loss and what is true of it.

    Attributes:
        name: for the test's id; unique.
        call: the loss; inputs by keyword, ``reduction`` too where ``reduces``.
        make: draws inputs of a given size from a generator, float64.
        value: inputs of a case worked by hand.
        expected: its value.
        reference: slow version on the same inputs.
        student: names of inputs that receive the gradient.
        teacher: names of inputs that must receive none.
        holds: invariances: ``shift`` (a constant added to an example's logits, either side), ``classes`` (permuted on all
            sides), ``batch`` (permuted), ``zero`` (value and gradient vanish when the student equals the teacher), ``scale``
            (a positive factor on a student or teacher input).
        reduces: whether it takes ``reduction`` and keeps examples apart.
        zero_pair: names (student, teacher) of the inputs set equal for ``zero``.
        extreme: whether logits of ±1e4 are part of its domain.
        half: largest relative error allowed in bfloat16 against float64.
        smallest_batch: examples it needs at least.
        tolerance: of the gradient check.
        options: handed to ``call`` and to ``reference``.
        covers: the name in `goodteacher.losses` that the row is for, where ``call`` is not that object itself.
        stands_for: rows of the tables of methods and objectives whose terms it checks, beside the one of its own name.
    """

    name: str
    call: Callable[..., Tensor]
    make: Callable[[torch.Generator, int], Inputs]
    value: Inputs
    expected: float
    reference: Callable[..., float]
    student: tuple[str, ...]
    teacher: tuple[str, ...] = ()
    holds: frozenset[str] = frozenset()
    reduces: bool = True
    zero_pair: tuple[str, str] | None = None
    extreme: bool = True
    half: float = 0.03
    smallest_batch: int = 1
    tolerance: float = 1e-5
    options: dict[str, Any] = field(default_factory=dict)
    covers: str = ""
    stands_for: tuple[str, ...] = ()


def logits_and_labels(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw logits ``(n, C)`` and labels."""
    return {
        "logits": torch.randn(n, C, generator=generator, dtype=torch.float64) * 2,
        "labels": torch.randint(C, (n,), generator=generator),
    }


def two_logits(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw student and teacher logits ``(n, C)``."""
    draw = lambda: torch.randn(n, C, generator=generator, dtype=torch.float64) * 2  # noqa: E731
    return {"student_logits": draw(), "teacher_logits": draw()}


def two_logits_and_labels(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw student and teacher logits ``(n, C)`` and labels."""
    return {**two_logits(generator, n), "labels": torch.randint(C, (n,), generator=generator)}


def tensor(*rows: Any) -> Tensor:
    """A float64 tensor of the given rows."""
    return torch.tensor(rows, dtype=torch.float64)


def two_maps(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw student and teacher maps ``(n, 3, 4, 4)``."""
    draw = lambda: torch.randn(n, 3, 4, 4, generator=generator, dtype=torch.float64)  # noqa: E731
    return {"student_map": draw(), "teacher_map": draw()}


def two_embeddings(generator: torch.Generator, n: int = N) -> Inputs:
    """Draw student and teacher embeddings ``(n, 7)``."""
    draw = lambda: torch.randn(n, 7, generator=generator, dtype=torch.float64)  # noqa: E731
    return {"student_embedding": draw(), "teacher_embedding": draw()}
