"""Slow, obvious references: Python loops over numbers, written from the papers' equations and nothing else."""

from __future__ import annotations

import math

import torch


def softmax(z, temperature=1.0):
    """Softmax of a list of numbers."""
    top = max(z)
    e = [math.exp((v - top) / temperature) for v in z]
    return [v / sum(e) for v in e]


def _rows(logits):
    return [[float(v) for v in row] for row in logits]


def cross_entropy(logits, labels, smoothing=0.0):
    total = 0.0
    for z, y in zip(_rows(logits), labels.tolist(), strict=True):
        p = softmax(z)
        target = [(1 - smoothing) * (c == y) + smoothing / len(z) for c in range(len(z))]
        total -= sum(t * math.log(v) for t, v in zip(target, p, strict=True))
    return total / len(logits)


def brier(logits, labels, per_class="sum"):
    total = 0.0
    for z, y in zip(_rows(logits), labels.tolist(), strict=True):
        score = sum((v - (c == y)) ** 2 for c, v in enumerate(softmax(z)))
        total += score / len(z) if per_class == "mean" else score
    return total / len(logits)


def brier_logits(logits, labels, target=1.0, true_weight=1.0):
    total = 0.0
    for z, y in zip(_rows(logits), labels.tolist(), strict=True):
        score = sum((true_weight if c == y else 1.0) * (v - target * (c == y)) ** 2 for c, v in enumerate(z))
        total += score / len(z)
    return total / len(logits)


def focal(logits, labels, gamma=2.0):
    total = 0.0
    for z, y in zip(_rows(logits), labels.tolist(), strict=True):
        p = softmax(z)[y]
        total -= (1 - p) ** gamma * math.log(p)
    return total / len(logits)


def negative_entropy(logits):
    return sum(sum(v * math.log(v) for v in softmax(z)) for z in _rows(logits)) / len(logits)


def kd(student_logits, teacher_logits, temperature=4.0):
    total = 0.0
    for s, t in zip(_rows(student_logits), _rows(teacher_logits), strict=True):
        q, p = softmax(t, temperature), softmax(s, temperature)
        total += temperature**2 * sum(a * math.log(a / b) for a, b in zip(q, p, strict=True))
    return total / len(student_logits)


def finite_difference_gradient(call, x, step=1e-6):
    """Central differences of a scalar function of a float64 tensor."""
    gradient = torch.zeros_like(x)
    for i in range(x.numel()):
        bump = torch.zeros_like(x).view(-1)
        bump[i] = step
        bump = bump.view_as(x)
        gradient.view(-1)[i] = (call(x + bump) - call(x - bump)) / (2 * step)
    return gradient
