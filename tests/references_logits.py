"""Slow, obvious references for the methods on logits and on relations: Python loops, from the equations and nothing else."""

from __future__ import annotations

import itertools
import math

from references import _rows, kd, softmax


def _kl(q, p):
    return sum(a * math.log(a / b) for a, b in zip(q, p, strict=True))


def _mean(numbers):
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def dkd(student_logits, teacher_logits, labels, alpha=1.0, beta=8.0, temperature=4.0):
    total = 0.0
    for s, t, y in zip(_rows(student_logits), _rows(teacher_logits), labels.tolist(), strict=True):
        p, q = softmax(s, temperature), softmax(t, temperature)
        target = _kl([q[y], 1 - q[y]], [p[y], 1 - p[y]])
        others = [c for c in range(len(p)) if c != y]
        rest = _kl([q[c] / (1 - q[y]) for c in others], [p[c] / (1 - p[y]) for c in others])
        total += temperature**2 * (alpha * target + beta * rest)
    return total / len(labels)


def labelled_cross_entropy(logits, labels, labelled):
    known = zip(_rows(logits), labels.tolist(), labelled.tolist(), strict=True)
    return sum(-math.log(softmax(z)[y]) for z, y, is_known in known if is_known) / len(labels)


def standardise(logits):
    out = logits.clone()
    for n, z in enumerate(_rows(logits)):
        mean = _mean(z)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in z) / (len(z) - 1))
        for c, v in enumerate(z):
            out[n, c] = (v - mean) / (deviation + 1e-7)
    return out


def standardised_kd(student_logits, teacher_logits, temperature):
    return kd(standardise(student_logits), standardise(teacher_logits), temperature=temperature)


def standardised_dkd(student_logits, teacher_logits, labels, beta, temperature):
    return dkd(standardise(student_logits), standardise(teacher_logits), labels, beta=beta, temperature=temperature)


def _pearson(a, b):
    x, y = [v - _mean(a) for v in a], [v - _mean(b) for v in b]
    lengths = math.sqrt(sum(v * v for v in x)) * math.sqrt(sum(v * v for v in y))
    return sum(u * v for u, v in zip(x, y, strict=True)) / (lengths + 1e-8)


def dist(student_logits, teacher_logits, beta=2.0, gamma=2.0, temperature=4.0):
    p = [softmax(z, temperature) for z in _rows(student_logits)]
    q = [softmax(z, temperature) for z in _rows(teacher_logits)]
    between = 1 - _mean(_pearson(a, b) for a, b in zip(p, q, strict=True))
    within = 1 - _mean(
        _pearson(list(a), list(b)) for a, b in zip(zip(*p, strict=True), zip(*q, strict=True), strict=True)
    )
    return temperature**2 * (beta * between + gamma * within)


def ttm(student_logits, teacher_logits, temperature):
    return _transformed(student_logits, teacher_logits, temperature, weighted=False)


def wttm(student_logits, teacher_logits, temperature):
    return _transformed(student_logits, teacher_logits, temperature, weighted=True)


def _transformed(student_logits, teacher_logits, temperature, weighted):
    total = 0.0
    for s, t in zip(_rows(student_logits), _rows(teacher_logits), strict=True):
        powers = [v ** (1 / temperature) for v in softmax(t)]
        smoothness = sum(powers)
        total += (smoothness if weighted else 1.0) * _kl([v / smoothness for v in powers], softmax(s))
    return total / len(student_logits)


def mlkd(student_logits, teacher_logits, temperatures=(2.0, 3.0, 4.0, 5.0, 6.0), consistency=True):
    total = 0.0
    for temperature in temperatures:
        total += kd(student_logits, teacher_logits, temperature=temperature)
        if not consistency:
            continue
        p = [softmax(z, temperature) for z in _rows(student_logits)]
        q = [softmax(z, temperature) for z in _rows(teacher_logits)]
        n, classes = range(len(p)), range(len(p[0]))
        for i in n:
            for j in n:
                total += (_dot(p[i], p[j]) - _dot(q[i], q[j])) ** 2 / len(p)
        for a in classes:
            for b in classes:
                gap = sum(p[i][a] * p[i][b] for i in n) - sum(q[i][a] * q[i][b] for i in n)
                total += gap**2 / len(p[0])
    return total


def _dot(a, b):
    return sum(u * v for u, v in zip(a, b, strict=True))


def ctkd(student_logits, teacher_logits, temperature):
    one = temperature.numel() == 1
    total = 0.0
    for n in range(len(student_logits)):
        t = float(temperature) if one else float(temperature[n])
        total += kd(student_logits[n : n + 1], teacher_logits[n : n + 1], temperature=t)
    return total / len(student_logits)


def ptloss(student_logits, teacher_logits, coefficients):
    total = 0.0
    for s, t in zip(_rows(student_logits), _rows(teacher_logits), strict=True):
        p, q = softmax(s), softmax(t)
        total += _kl(q, p)
        for c in range(len(p)):
            own = coefficients[c] if hasattr(coefficients[0], "__len__") else coefficients
            total += q[c] * sum(float(e) * (1 - p[c]) ** (m + 1) for m, e in enumerate(own))
    return total / len(student_logits)


def filter_kd(student_logits, probabilities, temperature=1.0, factor=1.0):
    total = 0.0
    for s, q in zip(_rows(student_logits), _rows(probabilities), strict=True):
        powers = [v ** (1 / temperature) for v in q]
        softened = [v / sum(powers) for v in powers]
        total += factor * temperature**2 * _kl(softened, softmax(s, temperature))
    return total / len(student_logits)


def pkt(student_embedding, teacher_embedding):
    def neighbours(f):
        unit = [[v / (math.sqrt(_dot(x, x)) + 1e-7) for v in x] for x in f]
        similar = [[(_dot(a, b) + 1) / 2 for b in unit] for a in unit]
        return [[v / sum(row) for v in row] for row in similar]

    p, q = neighbours(_rows(student_embedding)), neighbours(_rows(teacher_embedding))
    n = len(p)
    return sum(q[i][j] * math.log((q[i][j] + 1e-7) / (p[i][j] + 1e-7)) for i in range(n) for j in range(n)) / n**2


def sp(student_map, teacher_map):
    def gram(maps):
        flat = _rows(maps.flatten(1))
        rows = [[_dot(a, b) for b in flat] for a in flat]
        return [[v / math.sqrt(_dot(row, row)) for v in row] for row in rows]

    g, h = gram(student_map), gram(teacher_map)
    n = len(g)
    return sum((g[i][j] - h[i][j]) ** 2 for i in range(n) for j in range(n)) / n**2


def _smooth(x):
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def _gap(a, b):
    return math.sqrt(sum((u - v) ** 2 for u, v in zip(a, b, strict=True)))


def rkd_distance(student_embedding, teacher_embedding):
    def distances(f):
        n = len(f)
        mean = _mean(_gap(f[i], f[j]) for i in range(n) for j in range(n) if i != j)
        return [[_gap(a, b) / mean for b in f] for a in f]

    d, e = distances(_rows(student_embedding)), distances(_rows(teacher_embedding))
    n = len(d)
    return sum(_smooth(d[i][j] - e[i][j]) for i in range(n) for j in range(n)) / n**2


def rkd_angle(student_embedding, teacher_embedding):
    def cosine(f, i, j, k):
        if j in (i, k):
            return 0.0
        a = [u - v for u, v in zip(f[i], f[j], strict=True)]
        b = [u - v for u, v in zip(f[k], f[j], strict=True)]
        return _dot(a, b) / math.sqrt(_dot(a, a) * _dot(b, b))

    s, t = _rows(student_embedding), _rows(teacher_embedding)
    n = range(len(s))
    return sum(_smooth(cosine(s, i, j, k) - cosine(t, i, j, k)) for i in n for j in n for k in n) / len(s) ** 3


def rkd(student_embedding, teacher_embedding, distance_weight=25.0, angle_weight=50.0):
    distance = rkd_distance(student_embedding, teacher_embedding)
    return distance_weight * distance + angle_weight * rkd_angle(student_embedding, teacher_embedding)


def cc(student_embedding, teacher_embedding):
    gaps = [
        [abs(u - v) for u, v in zip(a, b, strict=True)]
        for a, b in zip(_rows(student_embedding), _rows(teacher_embedding), strict=True)
    ]
    return _mean(_dot(a, b) for a, b in itertools.pairwise(gaps))


def cc_kernel(student_embedding, teacher_embedding, sharpness=0.4, order=2):
    def kernel(f):
        f = [[v / math.sqrt(_dot(x, x)) for v in x] for x in f]
        terms = [(2 * sharpness) ** p / math.factorial(p) for p in range(order + 1)]
        return [
            [math.exp(-2 * sharpness) * sum(t * _dot(a, b) ** p for p, t in enumerate(terms)) for b in f] for a in f
        ]

    k, m = kernel(_rows(student_embedding)), kernel(_rows(teacher_embedding))
    n = len(k)
    return sum((k[i][j] - m[i][j]) ** 2 for i in range(n) for j in range(n)) / n**2
