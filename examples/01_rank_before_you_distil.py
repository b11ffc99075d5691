"""Train three teachers, rank them on held-out data, and distil a student from the best."""

import tempfile

import goodteacher as gt


def main() -> None:
    problem = gt.load("digits", noise=0.3)
    with tempfile.TemporaryDirectory() as out:
        teachers = {
            objective: gt.teach(
                "mlp", problem, objective=objective, keep="best_brier", epochs=10, batch_size=64, out=out
            )
            for objective in ("cross_entropy", "brier", "label_smoothing")
        }
        ranked = gt.rank(teachers)
        for place in ranked:
            tied = " (tied with the best)" if place.tied and place is not ranked[0] else ""
            print(f"{place.name:16} calibrated Brier {place.scores['calibrated_brier']:.4f}{tied}")
        small = {"mlp": {"widths": [12]}}
        student = gt.distill(
            small, problem, teachers[ranked[0].name], method={"kd": {"temperature": 1.0}}, epochs=10, out=out
        )
        logits, labels = student.outputs("test"), student.targets["test.labels"]
        print(f"student: {(logits.argmax(dim=1) == labels).float().mean():.1%} of {len(labels)} test digits")


if __name__ == "__main__":
    main()
