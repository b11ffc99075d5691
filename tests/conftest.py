"""One torch thread per process: two spinning OpenMP teams on a busy machine are 10 to 50 times slower."""

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

# A gate started in the background of a script inherits an ignored Ctrl-C, and the tests of Ctrl-C would wait for one in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _quiet_home(tmp_path_factory):
    """Doctests and commands run in an empty folder, so that nothing is written into the checkout."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("home"))
    yield
    os.chdir(before)


MLP = {"mlp": {"widths": [16]}}


@pytest.fixture(scope="session")
def digits_study(tmp_path_factory):
    """A finished study of four teachers and two students, small enough for every test to read."""
    from goodteacher.api import run_study
    from goodteacher.data.digits import digits_problem

    study = {
        "name": "tiny",
        "problem": {"name": "digits"},
        "recipe": {"epochs": 2, "batch_size": 128, "lr": 0.1, "precision": "fp32"},
        "teachers": {
            "plain": {"model": MLP},
            "kept": {"model": MLP, "keep": "best_brier", "objective": "brier"},
            "cooled": {"model": MLP, "map": "temperature", "objective": "label_smoothing"},
            "focal": {"model": MLP, "objective": "focal"},
        },
        "students": {
            "alone": {"model": {"mlp": {"widths": [8]}}, "method": "none"},
            "taught": {"model": {"mlp": {"widths": [8]}}, "method": {"kd": {"temperature": 2.0}}},
        },
        "seeds": 3,
    }
    return run_study(study, digits_problem(), out=tmp_path_factory.mktemp("digits"), device="cpu")


@pytest.fixture(scope="session")
def gaussian_study(tmp_path_factory):
    """A finished study where the truth is known, with the truth itself as a teacher."""
    from goodteacher.api import run_study
    from goodteacher.data.gaussian import gaussian_problem

    study = {
        "name": "known",
        "problem": {"name": "gaussian"},
        "recipe": {"epochs": 1, "batch_size": 64, "lr": 0.05, "precision": "fp32"},
        "teachers": {"network": {"model": MLP}, "oracle": {"table": "truth"}},
        "students": {"warm": {"model": MLP, "method": {"kd": {"temperature": 4.0}}}},
        "seeds": 2,
    }
    problem = gaussian_problem(train=600, validation=200, test=300)
    return run_study(study, problem, out=tmp_path_factory.mktemp("gaussian"), device="cpu")
