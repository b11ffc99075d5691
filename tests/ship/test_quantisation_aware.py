from __future__ import annotations

import pytest
import torch

import goodteacher as gt
from goodteacher.base.errors import ConfigError
from goodteacher.ship.quantisation_aware import quantisation_aware_spec, trained_for_int8


def test_a_run_goes_on_under_its_teacher_with_the_same_method(run):
    spec = quantisation_aware_spec(run)
    assert (spec.teaching, spec.loss, spec.gamma, spec.start) == (
        run.spec.teaching,
        run.spec.loss,
        run.spec.gamma,
        run.id,
    )
    assert (
        spec.recipe["quantise"] == "int8" and spec.recipe["epochs"] == 1 and spec.recipe["lr"] == pytest.approx(0.005)
    )
    assert spec.id != run.id


def test_it_is_trained_once_and_kept_in_the_store(run, problem):
    other = trained_for_int8(run, problem)
    assert other.root == run.root and other.spec.recipe["quantise"] == "int8"
    assert trained_for_int8(run, problem).path == other.path
    assert any(not torch.equal(w, run.weights[name]) for name, w in other.weights.items())
    # What is kept is a plain network: its answers are not rounded.
    torch.testing.assert_close(
        other.model(other.extra("check")["inputs"]), other.extra("check")["logits"], rtol=1e-3, atol=1e-3
    )


def test_other_data_are_refused(run):
    with pytest.raises(ConfigError, match="--qat: needs the data the run was trained on"):
        trained_for_int8(run, gt.load("digits", subset=5))
