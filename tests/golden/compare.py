"""Train the golden studies under another commit and under this checkout, and compare ids, weights and saved outputs bit by bit.

    python tests/golden/compare.py            # against HEAD
    python tests/golden/compare.py REVISION

Processors differ in the last bits of a sum, so weights are compared on one machine and never with a recorded hash. Each tree is
run by its own command line, one thread, fp32. Exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(HERE / "tests"))  # as a script it stands outside pytest's path

from golden.studies import STUDIES  # noqa: E402

COMMAND = "from goodteacher.cli import main; main()"
# The demo and the example as they stand, but for their length.
SHORT = ("--epochs", "2", "--seeds", "1", "--set", "recipe.precision=fp32")


def _files(folder: Path) -> list[tuple[Path, tuple[str, ...]]]:
    """Write every study as a file; return the files with the options that make them short."""
    demo = subprocess.run(
        [sys.executable, "-c", _DEMO], env=_environment(HERE), check=True, capture_output=True, text=True
    )
    written: dict[str, Any] = {**{s["name"]: s for s in yaml.safe_load_all(demo.stdout)}, **STUDIES}
    found = [(HERE / "examples" / "study.yaml", SHORT)]
    for name, study in written.items():
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        found.append((path, () if name in STUDIES else SHORT))
    return found


_DEMO = """
import yaml
from goodteacher import demo
specs = (demo.digits(), demo.gaussian())
print(yaml.safe_dump_all([s.model_dump(mode="json", exclude_unset=True) for s in specs], sort_keys=False))
"""


def _environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}


def _train(tree: Path, files: list[tuple[Path, tuple[str, ...]]], out: Path) -> dict[str, str]:
    """Run the studies under a source tree; return run id to a hash of its weights and outputs."""
    for path, options in files:
        command = [sys.executable, "-c", COMMAND, "run", str(path), "--out", str(out), "--engine", "local"]
        subprocess.run(
            [*command, "--device", "cpu", "--quiet", *options],
            env=_environment(tree), cwd=out.parent, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return {run.name: _digest(run) for run in sorted((out / "runs").iterdir())}


def _digest(run: Path) -> str:
    digest = hashlib.sha256()
    for file in (run / "model.safetensors", run / "outputs" / "kept.safetensors"):
        for name, values in sorted(load_file(file).items()):
            digest.update(f"{name} {values.shape} {values.dtype}".encode())
            digest.update(values.tobytes())
    return digest.hexdigest()


def main() -> int:
    """Compare; return the exit code."""
    parser = argparse.ArgumentParser(description="Compare the golden studies under two commits.")
    parser.add_argument("revision", nargs="?", default="HEAD")
    revision = parser.parse_args().revision
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(other), revision], check=True)
        try:
            files = _files(Path(folder))
            before, after = (_train(tree, files, Path(folder) / name) for tree, name in ((other, "a"), (HERE, "b")))
        finally:
            subprocess.run([*git, "remove", "--force", str(other)], check=True)
    differ = sorted(run for run in before.keys() & after.keys() if before[run] != after[run])
    lost, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    print(
        f"{len(before)} runs under {revision}, {len(after)} here: {len(before) - len(lost) - len(differ)} equal in every bit"
    )
    for what, runs in (("other weights or outputs", differ), ("no longer planned", lost), ("new", new)):
        if runs:
            print(f"{what}: {' '.join(runs)}")
    return int(bool(differ or lost or new))


if __name__ == "__main__":
    sys.exit(main())
