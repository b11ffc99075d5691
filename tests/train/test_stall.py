from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest

from goodteacher.train.stall import has_passed_chance, is_at_chance, stall_alarm, withdrawal


def balanced(examples: int, classes: int) -> torch.Tensor:
    return torch.arange(examples) % classes


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 20])
@pytest.mark.parametrize("examples", [1, 4, 9, 20, 200])
def test_a_network_that_is_right_throughout_never_alarms(classes, examples):
    assert stall_alarm("x", 3, 1.0, balanced(examples, classes)) is None


def test_five_of_nine_in_three_classes_is_too_little_to_tell():
    assert binomtest(5, 9, 1 / 3, alternative="greater").pvalue > 0.05  # chance alone would explain it
    assert stall_alarm("x", 3, 5 / 9, balanced(9, 3)) is None


def test_a_network_at_chance_on_200_examples_alarms_in_one_sentence():
    assert stall_alarm("ce/0", 3, 0.1, balanced(200, 10), "add warmup") == (
        "ce/0 has learnt nothing: validation accuracy 10.0% after 3 epochs, chance is 10.0%; add warmup"
    )
    assert str(stall_alarm("ce/0", 3, 0.02, balanced(200, 10))).endswith("; raise lr or train longer")


@pytest.mark.parametrize("chance", [0.1, 1 / 3, 0.5])
def test_the_exact_test_draws_the_line(chance):
    n = 200
    for correct in range(n + 1):
        rejected = binomtest(correct, n, chance, alternative="greater").pvalue <= 0.05
        assert is_at_chance(correct, n, chance) == (not rejected)


def test_no_alarm_where_validation_could_not_tell_a_good_network_from_chance():
    assert not any(is_at_chance(correct, 4, 0.5) for correct in range(1, 5))
    assert is_at_chance(0, 4, 0.25)  # a network half-way to perfection would be right more often
    assert not is_at_chance(95, 100, 0.95) and is_at_chance(950, 1000, 0.95)


def test_an_alarm_stands_while_chance_is_not_rejected():
    labels = balanced(200, 10)
    assert withdrawal("x", 7, 0.12, labels) is None and withdrawal("x", 7, 0.0, labels) is None
    assert withdrawal("x", 7, 0.5, labels) == (
        "x has learnt after all: validation accuracy 50.0% after 7 epochs, chance is 10.0%; its alarm is withdrawn"
    )


def test_no_answers_are_both_at_chance_and_past_it():
    for correct in range(201):
        assert not (is_at_chance(correct, 200, 0.1) and has_passed_chance(correct, 200, 0.1))
