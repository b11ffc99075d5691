"""Published networks judged by people: do scores on labels order them as their distance to human votes does?"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from goodteacher.base.errors import DataError
from goodteacher.base.stats import Estimate, spearman
from goodteacher.diagnose.distance import distance_to_votes
from goodteacher.diagnose.ranking import example_scores
from goodteacher.maps.temperature import fit_temperature
from goodteacher.report.charts import chart, free, points, spec
from goodteacher.report.tables import Grid, correlation, each, grid

VOTED, LOGITS = "cifar10.npz", "test_logits_8models.npz"
# A score on labels and the distance to people that it should order networks by.
SCORED = (
    ("brier", "mse to humans, raw"),
    ("calibrated_brier", "mse to humans, calibrated"),
    ("nll", "kl to humans, raw"),
    ("calibrated_nll", "kl to humans, calibrated"),
    ("error", "mse to humans, raw"),
    ("error", "mse to humans, calibrated"),
)


def read_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return arrays of an .npz file; nothing in it is unpickled.

    Args:
        path: of the file.
        names: of the arrays; all of them if not given.

    Raises:
        DataError: if the file is missing, damaged, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in names or file.files}
    except FileNotFoundError:
        raise DataError(f"'{path}'", rule="must be an .npz file", received="no such file") from None
    except KeyError as error:
        raise DataError(f"'{path}'", rule=f"must hold {', '.join(names or ())}", received=str(error)) from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}'", rule="must be an .npz file of plain arrays", received=str(error)) from error
    return found


def judged(logits: Tensor, labels: Tensor, votes: Tensor) -> dict[str, float]:
    """Return one network's scores on labels and distances to people.

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)``.
        votes: ``(N, C)`` counts.

    Returns:
        Means over examples; ``temperature`` is nearest to the labels by Brier score, ``temperature of people`` to the votes.
    """
    scores, temperature = example_scores(logits, labels)
    row = {("error" if q == "accuracy" else q): float(v.mean()) for q, v in scores.items()}
    row["temperature"] = temperature
    # Each distance is held against the score of its own kind, calibrated by that score.
    best = {"mse": fit_temperature(logits, labels), "kl": fit_temperature(logits, labels, score="nll")}
    for title, at in (("raw", dict.fromkeys(best, 1.0)), ("calibrated", best), ("T=4", dict.fromkeys(best, 4.0))):
        for q, t in at.items():
            row[f"{q} to humans, {title}"] = float(distance_to_votes(logits, votes, temperature=t)[q].mean())

    def away(log_t: float) -> float:
        return float(distance_to_votes(logits, votes, temperature=float(np.exp(log_t)))["mse"].mean())

    found = minimize_scalar(away, bounds=(np.log(0.2), np.log(20.0)), method="bounded", options={"xatol": 1e-3})
    return {**row, "temperature of people": float(np.exp(found.x))}


def published_networks(root: Path) -> tuple[dict[str, dict[str, float]], int]:
    """Return the published networks' scores by name, and the number of pictures.

    Args:
        root: folder of ``cifar10.npz`` (``y_test``, ``votes_test``) and ``test_logits_8models.npz`` (``(N, C)`` per network).

    Raises:
        DataError: if a file is missing, or no network answers for the voted pictures.
    """
    arrays = read_arrays(root / VOTED, ("y_test", "votes_test"))
    labels, votes = (
        torch.from_numpy(arrays["y_test"].astype("int64")),
        torch.from_numpy(arrays["votes_test"].astype("float32")),
    )
    tables = {name: torch.from_numpy(table.astype("float32")) for name, table in read_arrays(root / LOGITS).items()}
    rows = {name: judged(logits, labels, votes) for name, logits in tables.items() if logits.shape == votes.shape}
    if not rows:
        rule = f"must hold logits of the {len(votes)} voted pictures and {votes.shape[1]} classes"
        raise DataError(f"'{root / LOGITS}'", rule=rule, received=str({n: tuple(t.shape) for n, t in tables.items()}))
    return rows, len(labels)


def agreement(rows: Mapping[str, Mapping[str, float]]) -> dict[str, Estimate]:
    """Return the rank correlation over networks of each score with the distance it should stand for."""
    found = {}
    for score, distance in SCORED:
        pair = [[row[q] for row in rows.values()] for q in (score, distance)]
        found[f"{score} ~ {distance}"] = spearman(*pair)
    return found


def network_grids(
    rows: Mapping[str, Mapping[str, float]], found: Mapping[str, Estimate], pictures: int
) -> tuple[Grid, Grid]:
    """Return the networks, nearest to people first, and how their scores agree with the distances."""
    shown = (
        "brier", "mse to humans, raw", "calibrated_brier", "mse to humans, calibrated", "nll", "kl to humans, raw", "error",
    )  # fmt: skip
    temperatures = {"T nearest labels": "temperature", "T nearest people": "temperature of people"}
    columns: dict[str, Callable[[str], str]] = {
        "network": str,
        **each({q.replace("_", " "): q for q in shown}, lambda name, q: f"{rows[name][q]:.4f}"),
        **each(temperatures, lambda name, q: f"{rows[name][q]:.2f}"),
    }
    note = (
        "Brier score, NLL and error are against one label; MSE (the votes' own scatter taken off) and KL are against people's "
        "votes, on the same pictures. Calibrated: at the T of least Brier score for MSE, of least NLL for KL."
    )
    nearest = sorted(rows, key=lambda name: rows[name]["mse to humans, raw"])
    title = f"Do labels order networks as people do? (n = {len(rows)} networks, {pictures} pictures)"
    pairs = {name.replace("_", " "): e for name, e in found.items()}
    return (
        grid(f"Published networks against labels and people (n = {pictures} pictures)", nearest, columns, note),
        correlation_grid(title, pairs, ("score ~ distance", "n"), "[95% bootstrap interval over networks]"),
    )


def correlation_grid(title: str, found: Mapping[str, Estimate], ends: tuple[str, str], note: str) -> Grid:
    """Return rank correlations as a table; ``ends`` are the headings of the first and the last column."""
    columns: dict[str, Callable[[tuple[str, Estimate]], str]] = {
        ends[0]: lambda row: row[0], "Spearman": lambda row: correlation(row[1]), ends[1]: lambda row: str(row[1].n),
    }  # fmt: skip
    return grid(title, found.items(), columns, note)


def network_chart(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return Brier score on labels against squared distance to people, one point per network, raw and calibrated."""
    rows_drawn = [
        {"network": name, "brier": row[score], "distance": row[f"mse to humans, {title}"], "answers": title}
        for name, row in rows.items()
        for score, title in (("brier", "raw"), ("calibrated_brier", "calibrated"))
    ]
    x, y = free("brier", "Brier score on labels"), free("distance", "squared distance to people")
    dots = points(x, y, color="answers:N", tooltip=["network", "brier", "distance"])
    return spec(chart(rows_drawn, dots, size=(320, 240)))
