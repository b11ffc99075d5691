"""Slow, obvious references for the terms of teachers made for students: Python loops, from the equations and nothing else."""

from __future__ import annotations

import math

from references import _rows, cross_entropy, softmax


def consistency(logits, averages):
    pairs = zip(_rows(logits), _rows(averages), strict=True)
    return sum(sum((p - a) ** 2 for p, a in zip(softmax(z), row, strict=True)) for z, row in pairs) / len(logits)


def top_score_difference(logits, top=5):
    total = 0.0
    for z in _rows(logits):
        first, *others = sorted(softmax(z), reverse=True)[:top]
        total += first - sum(others) / len(others)
    return total / len(logits)


def conditional_information(logits, labels, centres):
    total = 0.0
    for z, y in zip(_rows(logits), labels.tolist(), strict=True):
        total += sum(p * math.log(p / float(q)) for p, q in zip(softmax(z), centres[y], strict=True))
    return total / len(logits)


def branch_divergence(branch_logits, teacher_logits, temperature=1.0):
    total = 0.0
    for b, t in zip(_rows(branch_logits), _rows(teacher_logits), strict=True):
        q, p = softmax(b, temperature), softmax(t, temperature)
        total += temperature**2 * sum(a * math.log(a / c) for a, c in zip(q, p, strict=True))
    return total / len(branch_logits)


def student_friendly(teacher_logits, branches, labels, *, teacher=1.0, divergence=3.0, label=1.0, temperature=1.0):
    """The whole objective, from the logits of the teacher and of each branch."""
    total = teacher * cross_entropy(teacher_logits, labels)
    for z in branches:
        total += divergence * branch_divergence(z, teacher_logits, temperature) + label * cross_entropy(z, labels)
    return total


def column_sum(weight):
    rows = _rows(weight)
    return max(sum(abs(row[j]) for row in rows) for j in range(len(rows[0])))


def proxy(p, epsilon):
    """q* by nested bisection; ε a list of lists, one per class."""

    def pull(q, e):
        return 1 / q + sum((m + 1) * e[m] * (1 - q) ** m for m in range(len(e)))

    def answer(share, e):
        low, high = 0.0, 1.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if middle == 0 or pull(middle, e) > share else (low, middle)
        return low

    low, high = 0.0, 1e4
    for _ in range(200):
        multiplier = (low + high) / 2
        q = [answer(multiplier / share, e) for share, e in zip(p, epsilon, strict=True)]
        low, high = (multiplier, high) if sum(q) > 1 else (low, multiplier)
    return q
