from __future__ import annotations

import torch

from goodteacher import __version__
from goodteacher.study.machine import environment


def test_versions_hardware_and_commit():
    found = environment()
    assert found["goodteacher"] == __version__ and found["torch"] == torch.__version__
    assert found["processor"] and int(found["cores"]) >= 1 and found["commit"]
