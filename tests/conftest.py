"""One torch thread a process: two spinning OpenMP teams on a busy machine are 10 to 50 times slower."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _quiet_home(tmp_path_factory):
    """Doctests and commands run in an empty folder, so that nothing is written into the checkout."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("home"))
    yield
    os.chdir(before)
