from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from goodteacher.base.errors import DataError
from goodteacher.models.checkpoints import import_weights, without_common_prefix
from goodteacher.models.weight_files import read_state_dict


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))


OWN = network()
STATE = OWN.state_dict()


def under(prefix):
    return {f"{prefix}{key}": value for key, value in STATE.items()}


# What trainers write: Lightning, timm with an average, DataParallel inside of Lightning, SWA, a backbone beside other parts.
FILES = {
    "lightning": {"epoch": 3, "state_dict": under("model."), "optimizer_states": [{"lr": 0.1}]},
    "lightning with a loss": {"state_dict": {**under("net."), "criterion.margin": torch.zeros(1)}},
    "lightning of DataParallel": {"state_dict": under("model.module.")},
    "swa": {**under("module."), "n_averaged": torch.tensor(4)},
    "counters of operations": {**STATE, "total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)},
    "compiled": under("_orig_mod."),
    "backbone": under("backbone."),
}


@pytest.mark.parametrize("name", FILES)
def test_what_trainers_write_fits(name, tmp_path):
    torch.save(FILES[name], tmp_path / "a.ckpt")
    fresh = network()
    import_weights(fresh, "mine", read_state_dict(tmp_path / "a.ckpt"))
    assert all(torch.equal(value, STATE[key]) for key, value in fresh.state_dict().items())


def test_an_average_of_pytorchs_own_fits(tmp_path):
    averaged = AveragedModel(OWN)
    save_file(averaged.state_dict(), tmp_path / "a.safetensors")
    fresh = network()
    import_weights(fresh, "mine", read_state_dict(tmp_path / "a.safetensors"))
    assert torch.equal(fresh[3].weight, OWN[3].weight)


def test_which_of_several_state_dicts_was_taken_is_said(tmp_path):
    zeros = {key: torch.zeros_like(value) for key, value in STATE.items()}
    torch.save({"state_dict_ema": zeros, "state_dict": STATE, "epoch": 1}, tmp_path / "a.pth")
    found = read_state_dict(tmp_path / "a.pth")
    assert found.said == "'state_dict' was taken, and not 'state_dict_ema'" and torch.equal(
        found["0.weight"], STATE["0.weight"]
    )
    torch.save({"ema": STATE}, tmp_path / "b.pth")
    assert read_state_dict(tmp_path / "b.pth").said == "" and read_state_dict(tmp_path / "b.pth").taken == "ema"


def test_a_prefix_is_stripped_only_where_that_makes_it_fit():
    strange = {"net.0.weight": STATE["0.weight"], "other.bias": STATE["0.bias"]}
    assert without_common_prefix(strange, list(STATE)) == strange
    assert without_common_prefix(STATE, list(STATE)).keys() == STATE.keys()
    with pytest.raises(DataError, match=r"weights for model 'mine': must fit it key by key"):
        import_weights(network(), "mine", strange)
