from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import DataError, ShapeError
from goodteacher.base.types import Batch, Output
from goodteacher.maps.temperature import Temperature
from goodteacher.models.resnet import CifarResNet
from goodteacher.train.frozen import (
    EnsembleTeacher,
    FoldTeacher,
    MappedTeacher,
    NetworkTeacher,
    TableTeacher,
    answer_all,
)

NOTHING = frozenset()


def batch(n=4, **views):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, 3, 16, 16, generator=generator)
    return Batch(inputs, torch.arange(n) % 3, torch.arange(n), views)


def test_a_network_teacher_never_changes_and_gives_no_gradient():
    teacher = NetworkTeacher(CifarResNet(3, depth=8))
    before = {k: v.clone() for k, v in teacher.model.state_dict().items()}
    teacher.model.train()  # somebody else's mistake
    out = teacher(batch(), frozenset({"stages"}))
    assert not out.logits.requires_grad and not out.stages[0].requires_grad
    assert all(torch.equal(v, before[k]) for k, v in teacher.model.state_dict().items())


def test_views_are_answered_too():
    teacher = NetworkTeacher(CifarResNet(3, depth=8))
    b = batch(strong=torch.zeros(4, 3, 16, 16))
    out = teacher(b, NOTHING)
    torch.testing.assert_close(out.views["strong"].logits, teacher.model(torch.zeros(4, 3, 16, 16)))


def test_a_table_answers_the_rows_of_the_batch():
    table = torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    teacher = TableTeacher(table)
    b = batch()
    picked = Batch(b.inputs, b.labels, torch.tensor([3, 1, 0, 2]))
    torch.testing.assert_close(teacher(picked, NOTHING).logits.softmax(dim=1), table[[3, 1, 0, 2]])
    with pytest.raises(DataError, match="no features"):
        teacher(picked, frozenset({"embedding"}))
    with pytest.raises(ShapeError, match="sum to 1"):
        TableTeacher(table * 2)


def test_a_base_runs_once_however_many_maps_are_around_it():
    class Counting:
        calls = 0

        def __call__(self, b, taps):
            self.calls += 1
            return NetworkTeacher(CifarResNet(3, depth=8))(b, taps)

    base = Counting()
    warm, cold = MappedTeacher(base, Temperature(4.0)), MappedTeacher(base, Temperature(0.5))
    answers = answer_all([(base, NOTHING), (warm, NOTHING), (cold, frozenset({"embedding"})), (warm, NOTHING)], batch())
    assert base.calls == 1
    raw = answers[id(base)].logits
    torch.testing.assert_close(answers[id(warm)].logits, raw / 4)
    torch.testing.assert_close(answers[id(cold)].logits, raw * 2)
    assert answers[id(warm)].embedding is not None  # the union of the taps


class Fixed:
    """Answers with one class for every row, and counts how often it is asked and for how many rows."""

    def __init__(self, label):
        self.label, self.calls, self.rows = label, 0, 0

    def __call__(self, b, taps):
        self.calls += 1
        self.rows += len(b.labels)

        def z(n):
            return 5 * torch.eye(3)[self.label].expand(n, -1)

        return Output(z(len(b.inputs)), views={k: Output(z(len(v))) for k, v in b.views.items()})


def test_members_of_an_ensemble_run_once_though_they_teach_alone_too():
    a, b = Fixed(0), Fixed(1)
    both, mostly_a = EnsembleTeacher((a, b), (0.5, 0.5)), EnsembleTeacher((a, b), (0.9, 0.1), "logits")
    mapped = MappedTeacher(both, Temperature(2.0))
    wide = batch(rotated=torch.zeros(16, 3, 16, 16))
    answers = answer_all([(both, NOTHING), (mapped, NOTHING), (mostly_a, NOTHING), (a, NOTHING)], wide)
    assert a.calls == b.calls == 1
    p = answers[id(both)].logits.softmax(-1)
    torch.testing.assert_close(p[:, 0], p[:, 1])
    assert answers[id(both)].views["rotated"].logits.shape == (16, 3)
    torch.testing.assert_close(answers[id(mapped)].logits, answers[id(both)].logits / 2)
    assert (answers[id(mostly_a)].logits.argmax(1) == 0).all()


def test_each_fold_is_answered_by_its_own_network_alone():
    members = [Fixed(0), Fixed(1), Fixed(2)]
    folds = torch.tensor([2, 0, 1, 2, 0])
    teacher = FoldTeacher(members, folds)
    x = torch.zeros(4, 3, 2, 2)
    picked = Batch(
        x, torch.zeros(4, dtype=torch.int64), torch.tensor([3, 1, 4, 0]), {"rotated": torch.zeros(16, 3, 2, 2)}
    )
    out = teacher(picked, NOTHING)
    assert out.logits.argmax(1).tolist() == [2, 0, 0, 2]
    assert out.views["rotated"].logits.argmax(1).tolist() == [2] * 4 + [0] * 8 + [2] * 4
    assert [m.rows for m in members] == [2, 0, 2] and members[1].calls == 0
    with pytest.raises(DataError, match="no features in common"):
        teacher(picked, frozenset({"stages"}))
