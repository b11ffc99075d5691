"""A method of your own in a study, without touching the loop: a function and a row."""

import tempfile

import torch

import goodteacher as gt
from goodteacher.base.weighted import weighted
from goodteacher.methods.table import METHODS, MethodRow


def centred_cosine(student_logits: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
    """One minus the correlation of an example's logits between student and teacher, mean over the batch."""
    student, teacher = (z - z.mean(dim=1, keepdim=True) for z in (student_logits, teacher_logits.detach()))
    return (1 - torch.nn.functional.cosine_similarity(student, teacher, dim=1)).mean()


def main() -> None:
    METHODS["centred_cosine"] = MethodRow(weighted(centred_cosine, alpha=2.0), "this example")
    small = {"mlp": {"widths": [12]}}
    study = {
        "problem": {"name": "digits", "noise": 0.3},
        "recipe": {"epochs": 8, "batch_size": 64},
        "teachers": {"early": {"model": "mlp", "keep": "best_brier"}},
        "students": {m: {"model": small, "method": m} for m in ("kd", "centred_cosine", "centred_cosine + kd")},
        "seeds": 2,
    }
    study["students"]["both"] = study["students"].pop("centred_cosine + kd")
    with tempfile.TemporaryDirectory() as out:
        for row in gt.run_study(study, out=out).results.students:
            print(f"{row.student:16} {row.accuracy.mean:.1%} (n = {row.accuracy.n})")
    del METHODS["centred_cosine"]


if __name__ == "__main__":
    main()
