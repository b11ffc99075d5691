from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import references_features as slow
from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.methods.contrastive import CRD, CRDMethod, crd_in_batch
from rows_features import PAIRS, pair, teaches


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("names", [*PAIRS, ("mlp", "mlp")])
@pytest.mark.parametrize("options", [{}, {"mode": "relax"}, {"memory": False}])
def test_teaches(names, options):
    two = pair(*names)
    teaches(two, CRDMethod(two.setting, **options), {"crd"})


def test_needs_follow_the_memory():
    two = pair("resnet8", "resnet14")
    assert CRDMethod(two.setting).needs.examples
    assert not CRDMethod(two.setting, memory=False).needs.examples
    assert CRDMethod(two.setting).memory_bytes() == 2 * 40 * 128 * 4
    assert CRDMethod(two.setting, memory=False).memory_bytes() == 0


def test_without_labels_it_can_be_looked_at_but_not_trained():
    two = pair("resnet8", "resnet14")
    method = CRDMethod(replace(two.setting, labels=None))
    with pytest.raises(ConfigError, match="labels"):
        two.terms(method)


@torch.no_grad()
def test_the_loss_at_the_start_is_what_theory_says():
    torch.manual_seed(0)
    labels = torch.arange(50_000) % 100
    crd = CRD(64, 64, labels)
    x = torch.randn(64, 64)
    loss = crd(x, torch.randn(64, 64), torch.arange(64), stream())
    # 2 (log(1 + K) + σ²/2 + 1) with σ² = 1 / (128 · 0.07²); the scatter of a batch is about 1.
    assert float(loss) == pytest.approx(23.0, abs=1.5)
    assert crd.memory_bytes() == 51_200_000
    norm = torch.linalg.vector_norm(crd.student_memory[100:], dim=1)
    assert float(norm.mean()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("classes", [2, 5])
def test_negatives_are_others_without_repetition(classes):
    labels = torch.arange(60) % classes
    crd = CRD(3, 3, labels, negatives=20)
    indices = torch.tensor([0, 7, 33, 59])
    positives, candidates, chosen = crd.draw(indices, stream())
    assert torch.equal(positives, indices)
    for index, rows, pick in zip(indices, candidates, chosen, strict=True):
        rows = rows[pick]
        assert len(rows) == len(rows.unique()) == crd.negatives == 20
        assert (labels[rows] != labels[index]).all()


def test_every_other_example_is_drawn_equally_often():
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    crd = CRD(3, 3, labels, negatives=2)
    counts = torch.zeros(6)
    for seed in range(3000):
        _, candidates, chosen = crd.draw(torch.tensor([3]), stream(seed))
        counts[candidates[chosen]] += 1
    assert counts[3] == counts[4] == 0
    assert float((counts[[0, 1, 2, 5]] / 3000 - 0.5).abs().max()) < 0.03


def test_negatives_are_capped_by_the_largest_class():
    crd = CRD(3, 3, torch.tensor([0, 0, 0, 1, 1]))
    assert crd.negatives == 2
    with pytest.raises(ConfigError, match="two classes"):
        CRD(3, 3, torch.zeros(5, dtype=torch.int64))


def test_relaxed_positives_are_any_of_the_class():
    labels = torch.tensor([2, 0, 1, 0, 2, 0])
    crd = CRD(3, 3, labels, mode="relax")
    indices = torch.arange(6).repeat(200)
    positives, _, _ = crd.draw(indices, stream())
    assert torch.equal(labels[positives], labels[indices])
    assert set(positives[indices == 1].tolist()) == {1, 3, 5}
    assert set(positives[indices == 2].tolist()) == {2}


@torch.no_grad()
def test_the_first_batch_sets_the_normalisers_and_rows_move_half_way():
    crd = CRD(3, 4, torch.arange(12) % 3, width=5)
    before = crd.student_memory.clone(), crd.teacher_memory.clone()
    x, y, indices = torch.randn(2, 3), torch.randn(2, 4), torch.tensor([4, 8])
    crd(x, y, indices, stream())
    first = crd.normalisers.clone()
    g = F.normalize(crd.embed_student(x), dim=1), F.normalize(crd.embed_teacher(y), dim=1)
    _, candidates, chosen = crd.draw(indices, stream())
    for z, anchors, memory in zip(first, g, reversed(before), strict=True):
        rows = [torch.cat([i[None], row[pick]]) for i, row, pick in zip(indices, candidates, chosen, strict=True)]
        scores = torch.stack([(memory[r] @ a / 0.07).exp() for a, r in zip(anchors, rows, strict=True)])
        torch.testing.assert_close(z, scores.mean() * 12)
    for memory, old, new in zip((crd.student_memory, crd.teacher_memory), before, g, strict=True):
        torch.testing.assert_close(memory[indices], F.normalize((old[indices] + new) / 2, dim=1))
        kept = [i for i in range(12) if i not in (4, 8)]
        assert torch.equal(memory[kept], old[kept])
    crd(x, y, indices, stream(1))
    assert torch.equal(crd.normalisers, first)
    crd.eval()
    memory = crd.student_memory.clone()
    crd(x, y, indices, stream(2))
    assert torch.equal(crd.student_memory, memory)


def test_resuming_goes_on_exactly():
    two = pair("mlp", "mlp")
    torch.manual_seed(3)
    method = CRDMethod(two.setting)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)

    def step(method, optimizer, number):
        loss = two.terms(method, step=number)["crd"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    step(method, optimizer, 0)
    state = copy.deepcopy(method.state_dict())
    assert {"crd.student_memory", "crd.teacher_memory", "crd.normalisers"} <= set(state)
    straight = [step(method, optimizer, n) for n in (1, 2)]
    again = CRDMethod(two.setting)
    again.load_state_dict(state)
    optimizer = torch.optim.SGD(again.parameters(), lr=0.1)
    assert [step(again, optimizer, n) for n in (1, 2)] == straight
    assert all(
        torch.equal(a, b) for a, b in zip(method.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_siblings_are_left_out_within_the_batch():
    torch.manual_seed(0)
    s, t = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    got = crd_in_batch(s, t, labels=labels)
    assert float(got) == pytest.approx(slow.crd_in_batch(s, t, labels=labels.tolist()))
    assert float(crd_in_batch(s, t, labels=torch.zeros(6))) == 0.0
    with pytest.raises(ShapeError, match="labels"):
        crd_in_batch(s, t, labels=labels[:3])


def test_embeddings_of_another_width_are_refused():
    crd = CRD(3, 4, torch.arange(6) % 2)
    with pytest.raises(ShapeError, match="student_embedding"):
        crd(torch.randn(2, 4), torch.randn(2, 4), torch.tensor([0, 1]), stream())
    with pytest.raises(ConfigError, match="momentum"):
        CRD(3, 4, torch.arange(6) % 2, momentum=1.0)
