"""A method of your own in a study, without touching the loop: a function, an object with needs, a row."""

import tempfile
from dataclasses import dataclass
from typing import ClassVar

import torch

import goodteacher as gt
from goodteacher.base.types import Needs
from goodteacher.methods.table import METHODS, MethodRow


def centred_cosine(student_logits: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
    """One minus the correlation of an example's logits between student and teacher, mean over the batch."""
    student, teacher = (z - z.mean(dim=1, keepdim=True) for z in (student_logits, teacher_logits.detach()))
    return (1 - torch.nn.functional.cosine_similarity(student, teacher, dim=1)).mean()


@dataclass(frozen=True)
class CentredCosine:
    """What a study names: its fields are its options, `needs` says what the loop must serve."""

    alpha: float = 2.0
    needs: ClassVar[Needs] = Needs(uses_teacher=True)

    def __call__(self, network, teacher, batch, progress):
        """Return named, weighted terms."""
        return {"centred_cosine": self.alpha * centred_cosine(network.logits, teacher.logits)}


def main() -> None:
    METHODS["centred_cosine"] = MethodRow(CentredCosine, "this example")
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
