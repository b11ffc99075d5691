"""The whole logit table of a split; scores are computed from it later, by whoever wants them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from goodteacher.base.input_spec import InputSpec
from goodteacher.base.probability import brier_score, log_soften, nll
from goodteacher.data.loader import plain_batches
from goodteacher.data.problem import Problem, SplitName
from goodteacher.models.adapt import seen_by
from goodteacher.models.taps import TappedModel
from goodteacher.train.precision import Precision, autocast


@torch.no_grad()
def predict(
    model: nn.Module,
    problem: Problem,
    split: SplitName,
    *,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
    spec: InputSpec | None = None,
) -> Tensor:
    """Return a network's logits for a split, in order, without augmentation.

    Args:
        model: in any mode; it is left in the mode it came in.
        problem: where the split comes from.
        split: its name.
        precision: of the forward pass.
        device: where the network is.
        spec: what the network expects to see; by default what the problem makes.

    Returns:
        ``(N, C)`` float32 on the CPU.
    """
    was_training = model.training
    model.eval()
    tapped = TappedModel(model)
    try:
        with autocast(device, precision):
            batches = plain_batches(problem, split, device=device)
            parts = [tapped(seen_by(batch, spec).inputs).logits.float().cpu() for batch in batches]
    finally:
        model.train(was_training)
    return torch.cat(parts)


def quick_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy, NLL (nats) and Brier score of a logit table: what checkpoints are chosen by."""
    log_p = log_soften(logits.double())
    return {
        "accuracy": float((logits.argmax(dim=1) == labels).double().mean()),
        "nll": float(nll(log_p, labels).mean()),
        "brier": float(brier_score(log_p.exp(), labels).mean()),
    }
