"""Slow, obvious references of the feature methods: Python loops over numbers, written from the papers' equations."""

from __future__ import annotations

import itertools
import math

import numpy as np

import references


def pooled(plane, size):
    """Average pool of a list of rows to ``size`` x ``size``, where the size divides."""
    step = len(plane) // size
    return [
        [
            sum(plane[step * i + a][step * j + b] for a in range(step) for b in range(step)) / step**2
            for j in range(size)
        ]
        for i in range(size)
    ]


def same_size(student_map, teacher_map):
    """Both batches of maps as nested lists at the smaller size."""
    size = min(student_map.shape[2], teacher_map.shape[2])
    return ([[pooled(plane, size) for plane in example] for example in x.tolist()] for x in (student_map, teacher_map))


def flat(plane):
    return [v for row in plane for v in row]


def unit(v):
    length = math.sqrt(sum(x * x for x in v))
    return [x / length for x in v]


def squares(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def entries(x):
    return x.flatten(1).tolist()


def mean_square(student, teacher):
    pairs = list(zip(entries(student), entries(teacher), strict=True))
    return sum(squares(s, t) / len(s) for s, t in pairs) / len(pairs)


def attention(example, power):
    planes = [flat(plane) for plane in example]
    return unit([sum(abs(v) ** power for v in place) for place in zip(*planes, strict=True)])


def at(student_map, teacher_map, power=2.0, form="code"):
    total = 0.0
    for s, t in zip(*same_size(student_map, teacher_map), strict=True):
        a, b = attention(s, power), attention(t, power)
        total += squares(a, b) / len(a) if form == "code" else math.sqrt(squares(a, b))
    return total / len(student_map)


def fitnet(student_map, teacher_map):
    return mean_square(student_map, teacher_map)


def nst(student_map, teacher_map):
    def mean_kernel(us, vs):
        return sum(sum(a * b for a, b in zip(u, v, strict=True)) ** 2 for u in us for v in vs) / len(us) / len(vs)

    total = 0.0
    for s, t in zip(*same_size(student_map, teacher_map), strict=True):
        us, vs = ([unit(flat(plane)) for plane in x] for x in (s, t))
        total += mean_kernel(vs, vs) + mean_kernel(us, us) - 2 * mean_kernel(us, vs)
    return total / len(student_map)


def vid(student_map, teacher_map, weights, rho, epsilon=1e-5):
    """Three matrices and ρ as lists, one place after the other."""
    total, count = 0.0, 0
    for s, t in zip(*same_size(student_map, teacher_map), strict=True):
        for h, w in itertools.product(range(len(s[0])), repeat=2):
            x = [plane[h][w] for plane in s]
            for i, matrix in enumerate(weights):
                x = [sum(a * b for a, b in zip(row, x, strict=True)) for row in matrix]
                x = [max(v, 0.0) for v in x] if i < 2 else x
            for d, mean in enumerate(x):
                variance = math.log1p(math.exp(rho[d])) + epsilon
                total += 0.5 * ((t[d][h][w] - mean) ** 2 / variance + math.log(variance))
                count += 1
    return total / count


def ft(student_factor, teacher_factor, form="code"):
    total = 0.0
    for s, t in zip(*same_size(student_factor, teacher_factor), strict=True):
        if form == "paper":
            a, b = (unit([v for plane in x for v in flat(plane)]) for x in (s, t))
            total += sum(abs(x - y) for x, y in zip(a, b, strict=True))
        else:
            a, b = attention(s, 2), attention(t, 2)
            total += sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a)
    return total / len(student_factor)


def ab(student_map, teacher_map, margin=1.0):
    total = 0.0
    for s, t in zip(entries(student_map), entries(teacher_map), strict=True):
        for x, y in zip(s, t, strict=True):
            if y <= 0 and x > -margin:
                total += (x + margin) ** 2
            if y > 0 and x <= margin:
                total += (x - margin) ** 2
    return total / len(student_map)


def flow(first, second):
    places = len(flat(first[0]))
    return [[sum(a * b for a, b in zip(flat(p), flat(q), strict=True)) / places for q in second] for p in first]


def fsp(student_map, student_next, teacher_map, teacher_next):
    total = 0.0
    students = zip(*same_size(student_map, student_next), strict=True)
    teachers = zip(*same_size(teacher_map, teacher_next), strict=True)
    for s, t in zip(students, teachers, strict=True):
        a, b = (flat(flow(*x)) for x in (s, t))
        total += squares(a, b) / len(a)
    return total / len(student_map)


def kdsvd(student_map, student_next, teacher_map, teacher_next, vectors=1):
    def leading(x, k):
        values, vectors_ = np.linalg.svd(x.reshape(len(x), -1).T, full_matrices=False)[1:]
        found = [v * math.copysign(1, v[np.abs(v).argmax()]) for v in vectors_[:k]]
        return found, values[:k]

    def matched(student, teacher):
        theirs, values = leading(teacher, vectors)
        ours, _ = leading(student, vectors + 3)
        values = values / np.linalg.norm(values)
        chosen = []
        for v in theirs:
            best = max(ours, key=lambda u: abs(u @ v))
            chosen.append(best * np.sign(best @ v))
        return (
            [u * a for u, a in zip(chosen, values, strict=True)],
            [v * a for v, a in zip(theirs, values, strict=True)],
        )

    total = 0.0
    for n in range(len(student_map)):
        s1, t1 = matched(student_map[n].numpy(), teacher_map[n].numpy())
        s2, t2 = matched(student_next[n].numpy(), teacher_next[n].numpy())
        for a, b, c, d in zip(s1, s2, t1, t2, strict=False):
            for i, j in itertools.product(range(len(a)), range(len(b))):
                total += (math.exp(-((a[i] - b[j]) ** 2) / 8) - math.exp(-((c[i] - d[j]) ** 2) / 8)) ** 2
    return total / len(student_map)


def ofd(student_map, teacher_map, margin):
    total = 0.0
    for s, t in zip(student_map.tolist(), teacher_map.tolist(), strict=True):
        for d, least in enumerate(margin.tolist()):
            for x, y in zip(flat(s[d]), flat(t[d]), strict=True):
                target = max(y, least)
                if not (x <= target <= 0):
                    total += (x - target) ** 2
    return total / len(student_map)


def hcl(student_map, teacher_map):
    height = student_map.shape[2]
    total = 0.0
    for s, t in zip(student_map.tolist(), teacher_map.tolist(), strict=True):
        value, weight, weights = 0.0, 1.0, 0.0
        for size in [height, *(l for l in (4, 2, 1) if l < height)]:  # noqa: E741
            a, b = ([v for plane in x for v in flat(pooled(plane, size))] for x in (s, t))
            value += weight * squares(a, b) / len(a)
            weights += weight
            weight /= 2
        total += value / weights
    return total / len(student_map)


def srrl(student_embedding, teacher_embedding, classifier, alpha=1.0, beta=1.0):
    total = 0.0
    rows = classifier.tolist()
    for h, f in zip(student_embedding.tolist(), teacher_embedding.tolist(), strict=True):
        logits = [[sum(a * b for a, b in zip(row, x, strict=True)) for row in rows] for x in (h, f)]
        total += alpha * squares(h, f) / len(h) + beta * squares(*logits) / len(rows)
    return total / len(student_embedding)


def simkd(student_map, teacher_map):
    total = 0.0
    for s, t in zip(*same_size(student_map, teacher_map), strict=True):
        a, b = ([v for plane in x for v in flat(plane)] for x in (s, t))
        total += squares(a, b) / len(a)
    return total / len(student_map)


def hsakd(student_logits, teacher_logits, temperature=3.0):
    return references.kd(student_logits, teacher_logits, temperature)


def crd_in_batch(student_embedding, teacher_embedding, temperature=0.07, labels=None):
    students, teachers = ([unit(v) for v in x.tolist()] for x in (student_embedding, teacher_embedding))
    n = len(students)
    total = 0.0
    for ours, theirs in ((students, teachers), (teachers, students)):
        for i in range(n):
            scores = {
                j: math.exp(sum(a * b for a, b in zip(ours[i], theirs[j], strict=True)) / temperature)
                for j in range(n)
                if labels is None or j == i or labels[j] != labels[i]
            }
            total -= math.log(scores[i] / sum(scores.values()))
    return total / (2 * n)


def crd(students, teachers, student_memory, teacher_memory, positives, negatives, temperature, z):
    """Unit embeddings, both memories, and rows to contrast with, all as lists."""
    examples, k = len(student_memory), len(negatives[0])
    noise, epsilon = k / examples, 1e-7
    total = 0.0
    for anchors, memory in ((students, teacher_memory), (teachers, student_memory)):
        scores = [
            [math.exp(sum(x * y for x, y in zip(anchor, memory[row], strict=True)) / temperature) for row in rows]
            for anchor, rows in zip(
                anchors, [[p, *ns] for p, ns in zip(positives, negatives, strict=True)], strict=True
            )
        ]
        for first, *others in scores:
            total -= math.log(first / z / (first / z + noise + epsilon))
            total -= sum(math.log(noise / (p / z + noise + epsilon)) for p in others)
    return total / len(students)
