from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import pytest

from goodteacher.base.events import Event, nobody

EPOCH = Event("epoch", "kd/0", "", 4, 20, {"epoch": 2, "loss": {"kd": 0.5}}, ("abc",))


def test_an_event_says_nothing_that_it_was_not_told():
    assert Event("step") == Event("step", name="", text="", done=0, total=0, record={}, runs=())
    assert Event("step").record is not Event("step").record


def test_an_event_goes_to_another_process_and_comes_back_the_same():
    assert pickle.loads(pickle.dumps(EPOCH)) == EPOCH


def test_nobody_can_change_what_was_told():
    with pytest.raises(FrozenInstanceError):
        EPOCH.done = 5


def test_nobody_takes_no_notice():
    assert nobody(EPOCH) is None and EPOCH.done == 4
