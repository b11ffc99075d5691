from __future__ import annotations

import pytest
import torch

from goodteacher.base.errors import DataError, ShapeError
from goodteacher.base.types import Batch
from goodteacher.models.resnet import CifarResNet
from goodteacher.teachers.targets import Temperature
from goodteacher.train.frozen import MappedTeacher, NetworkTeacher, TableTeacher, answer_all

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
