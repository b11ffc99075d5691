"""What a number must say of the machine it was made on."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch


@lru_cache(maxsize=1)
def environment() -> dict[str, str]:
    """Return hardware, versions and commit.

    Returns:
        Plain text by name. The commit is that of goodteacher's own source, where it is a checkout.
    """
    values = {
        "goodteacher": version("goodteacher"),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": platform.system(),
    }
    if torch.cuda.is_available():
        values["accelerator"] = torch.cuda.get_device_name()
    return values


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    source = Path(__file__).resolve().parent
    try:
        shown = subprocess.run(
            ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=10"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return shown.stdout.strip()
