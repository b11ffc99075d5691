"""A method and an objective of your own in a study: a function, a class, and their names."""

import tempfile

import torch
from torch import nn

import goodteacher as gt
from goodteacher.base.types import Loss


def centred_cosine(student_logits: torch.Tensor, teacher_logits: torch.Tensor, *, power: float = 1.0) -> torch.Tensor:
    """One minus the correlation of an example's logits between student and teacher, mean over the batch."""
    student, teacher = (z - z.mean(dim=1, keepdim=True) for z in (student_logits, teacher_logits.detach()))
    return (1 - nn.functional.cosine_similarity(student, teacher, dim=1)).pow(power).mean()


class Tempered(Loss):
    """Cross-entropy at a temperature that is learnt: what has parameters, memory or a schedule is a subclass of Loss."""

    def __init__(self, *, start: float = 1.0):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(start))

    def forward(self, network, teacher, batch, progress):
        """Return named scalars, whose sum is minimised."""
        return {"tempered": nn.functional.cross_entropy(network.logits / self.temperature, batch.labels)}


def main() -> None:
    # Worker processes and later sessions import what a name stands for: keep yours in a module of its own, "my_losses:Tempered".
    method, objective = f"{__name__}:centred_cosine", f"{__name__}:Tempered"
    small = {"mlp": {"widths": [12]}}
    study = {
        "problem": {"name": "digits", "noise": 0.3},
        "recipe": {"epochs": 8, "batch_size": 64},
        "teachers": {"early": {"model": "mlp", "keep": "best_brier", "objective": {objective: {"start": 2.0}}}},
        "students": {
            "kd": {"model": small, "method": "kd"},
            "own": {"model": small, "method": {method: {"weight": 2.0}}},
            "both": {"model": small, "method": f"{method} + kd"},
        },
        "seeds": 2,
    }
    with tempfile.TemporaryDirectory() as out:
        for row in gt.run_study(study, out=out).results.students:
            print(f"{row.student:16} {row.accuracy.mean:.1%} (n = {row.accuracy.n})")


if __name__ == "__main__":
    main()
