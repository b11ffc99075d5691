"""What this machine is, how fast it trains, and whether a problem is sound."""

from __future__ import annotations

import importlib
import shutil
from importlib.metadata import PackageNotFoundError, version

import torch

from goodteacher.data.problem import Problem
from goodteacher.study.cost import time_model
from goodteacher.study.machine import environment

# Times as many examples of one class as of another, from which accuracy says little about the rare one.
UNBALANCED = 3
OPTIONAL = ("torchvision", "timm", "transformers", "ray", "onnx", "onnxruntime")


def examine() -> dict[str, str]:
    """Return findings on machine and packages, by name."""
    findings = dict(environment())
    findings["threads"] = str(torch.get_num_threads())
    findings["free disk"] = f"{shutil.disk_usage('.').free / 1e9:.1f} GB"
    for name in OPTIONAL:
        findings[name] = _found(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision, seconds, examples = time_model({"resnet8": {}}, 10, (3, 32, 32), device)
    speeds = ", ".join(f"{name} {examples / s:.0f}/s" for name, s in seconds.items())
    findings["resnet8, 32x32"] = f"{speeds}: precision auto takes {precision}"
    return findings


def _found(name: str) -> str:
    """Return a package's version; one that is there and does not import is worse than none, and is said with the reason."""
    try:
        known = version(name)
    except PackageNotFoundError:
        return "not installed (optional)"
    try:
        importlib.import_module(name)
    except Exception as error:  # a torchvision beside another torch raises a RuntimeError, others what they like
        return f"{known} ! does not import: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return known


def examine_problem(problem: Problem) -> dict[str, str]:
    """Return findings on a problem: sizes, balance, duplicates between splits, range of inputs, cautions."""
    counts = torch.bincount(problem.train.labels, minlength=problem.classes)
    low, high = int(counts.argmin()), int(counts.argmax())
    findings = {"problem": problem.describe()}
    fewest, most = (f"'{problem.class_names[c]}' ({int(counts[c])})" for c in (low, high))
    findings["classes"] = f"fewest {fewest}, most {most} in training"
    if UNBALANCED * counts[low] < counts[high]:
        findings["classes"] += (
            " ! unbalanced: judge by balanced accuracy, and see sampling: balanced and class_weights: balanced"
        )
    for name in ("validation", "test"):
        again = torch.isin(problem.hashes[name], problem.hashes["train"])
        leak = " ! leak" if bool(again.any()) else ""
        findings[f"{name} seen in training"] = f"{int(again.sum())} of {len(again)} examples{leak}"
    mean, std = problem.statistics
    hardly = problem.hardly_varying
    varying = std.where(~hardly, 0).sum() / (~hardly).sum().clamp_min(1)
    findings["inputs"] = (
        f"mean {mean.mean():.3f}, standard deviation {varying:.3f}, constant features {int(hardly.sum())}"
    )
    # Two standard errors of the difference between two accuracies near one half, on unpaired examples.
    findings["smallest difference"] = f"test can show about {200 * (0.5 / len(problem.test)) ** 0.5:.1f} points"
    for i, note in enumerate(problem.notes, start=1):
        findings[f"note {i}"] = note
    for i, caution in enumerate(problem.cautions, start=1):
        findings[f"caution {i}"] = f"! {caution}"
    return findings
