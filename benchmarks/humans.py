"""Does a held-out score order networks as their distance to human label distributions does?

    python benchmarks/humans.py --logits test_logits_8models.npz --votes cifar10h_counts.npz --labels test_labels.npy --out FILE

Eight published CIFAR-10 networks, scored against the labels and against CIFAR-10H's votes on the same 10,000 test pictures.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from goodteacher.diagnose.distance import distance_to_votes
from goodteacher.diagnose.ranking import example_scores
from goodteacher.study.stats import spearman
from goodteacher.teachers.targets import fit_temperature


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("logits", "votes", "labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    tables = np.load(args.logits)
    votes = torch.from_numpy(np.load(args.votes)["counts"].astype("float32"))
    labels = torch.from_numpy(np.load(args.labels).astype("int64"))
    rows = {}
    for name in tables.files:
        logits = torch.from_numpy(tables[name].astype("float32"))
        if logits.shape != votes.shape:
            continue
        scores, temperature = example_scores(logits, labels)
        row = {key: float(value.mean()) for key, value in scores.items()}
        row["temperature"] = temperature
        for title, t in (("raw", 1.0), ("calibrated", fit_temperature(logits, labels)), ("T=4", 4.0)):
            distance = distance_to_votes(logits, votes, temperature=t)
            row |= {
                f"mse to humans, {title}": float(distance["mse"].mean()),
                f"kl to humans, {title}": float(distance["kl"].mean()),
            }
        rows[name] = row
    pairs = [
        ("brier", "mse to humans, raw"),
        ("calibrated_brier", "mse to humans, calibrated"),
        ("nll", "kl to humans, raw"),
        ("calibrated_nll", "kl to humans, calibrated"),
        ("accuracy", "mse to humans, raw"),
        ("accuracy", "mse to humans, calibrated"),
    ]
    agreement = {}
    for score, distance in pairs:
        e = spearman([r[score] for r in rows.values()], [r[distance] for r in rows.values()])
        agreement[f"{score} ~ {distance}"] = {"spearman": e.mean, "n": e.n}
        print(f"{score:18} {distance:28} rho {e.mean:+.3f} (n = {e.n} networks, {len(labels)} pictures)")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({"networks": rows, "agreement": agreement, "pictures": len(labels)}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
