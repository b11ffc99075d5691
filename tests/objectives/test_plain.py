import pytest
import torch

from goodteacher.base.errors import ConfigError
from goodteacher.base.types import Batch, Output, Progress
from goodteacher.objectives import scores
from goodteacher.objectives.penalties import negative_entropy
from goodteacher.objectives.plain import Brier, BrierLogits, ConfidencePenalty, CrossEntropy, Focal, LabelSmoothing

Z = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(8) % 5
BATCH = Batch(torch.zeros(8, 1), Y, torch.arange(8))
CE, SCORE = scores.cross_entropy(Z, Y), scores.brier(Z, Y)


def terms(objective, step=0, epochs=10):
    found = objective(Output(Z), None, BATCH, Progress(step, steps_per_epoch=10, epochs=epochs))
    return {name: float(value) for name, value in found.items()}


def near(**values):
    return {name: pytest.approx(float(value), rel=1e-12, abs=1e-15) for name, value in values.items()}


@pytest.mark.parametrize(
    ("objective", "want"),
    [
        (CrossEntropy(), {"cross_entropy": CE}),
        (LabelSmoothing(0.3), {"label_smoothing": scores.cross_entropy(Z, Y, smoothing=0.3)}),
        (ConfidencePenalty(0.2), {"cross_entropy": CE, "negative_entropy": 0.2 * negative_entropy(Z)}),
        (Focal(1.5), {"focal": scores.focal(Z, Y, gamma=1.5)}),
        (BrierLogits(), {"brier_logits": scores.brier_logits(Z, Y)}),
        (
            BrierLogits(3.0, 2.0, "sum"),
            {"brier_logits": scores.brier_logits(Z, Y, target=3.0, true_weight=2.0, per_class="sum")},
        ),
    ],
)
def test_terms_are_the_weighted_scores(objective, want):
    assert terms(objective, step=37) == near(**want)
    assert objective.needs.uses_teacher is False and not objective.needs.network


def test_brier_starts_as_cross_entropy():
    assert terms(Brier(), 0) == near(brier=0.0, cross_entropy=CE)


def test_brier_fades_in_linearly():
    objective = Brier(scale=4.0, warmup=0.5)
    for step, share in ((10, 0.2), (25, 0.5), (49, 0.98)):
        assert terms(objective, step) == near(brier=share * 4 * SCORE, cross_entropy=(1 - share) * CE)


@pytest.mark.parametrize("step", [30, 31, 99])
def test_brier_is_the_scaled_score_alone_after_its_warmup(step):
    assert terms(Brier(scale=4.0, warmup=0.3), step) == near(brier=4 * SCORE)


def test_brier_warmup_is_a_share_of_training_whatever_its_length():
    objective = Brier(scale=2.0, warmup=0.5)
    assert terms(objective, 25, epochs=10) == terms(objective, 50, epochs=20)


def test_brier_without_warmup_and_with_warmup_to_the_end():
    assert terms(Brier(scale=2.0, warmup=0.0), 0) == near(brier=2 * SCORE)
    assert terms(Brier(scale=2.0, warmup=1.0), 99) == near(brier=0.99 * 2 * SCORE, cross_entropy=0.01 * CE)


def test_brier_per_class_mean_divides_by_c():
    mean = Brier(scale=2.0, warmup=0.0, per_class="mean")
    assert terms(mean) == near(brier=2 * SCORE / 5)


def test_automatic_scale_gives_the_gradient_of_cross_entropys_size():
    logits = Z.clone().requires_grad_(True)
    sizes = []
    for objective in (CrossEntropy(), Brier(warmup=0.0), Brier(warmup=0.0, per_class="mean")):
        total = sum(objective(Output(logits), None, BATCH, Progress(0, 10, 10)).values())
        sizes.append(float(torch.autograd.grad(total, logits)[0].norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=1e-5) and sizes[2] == pytest.approx(sizes[0], rel=1e-5)


def test_objectives_that_can_stall_say_what_to_do():
    assert "warmup" in Brier.stall_advice and "per_class" in BrierLogits.stall_advice


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Brier(scale=0.0), r"scale: must be a number in \(0, inf\], got 0.0"),
        (lambda: Brier(warmup=1.1), r"warmup: must be a number in \[0, 1\], got 1.1"),
        (lambda: Brier(warmup=-0.1), "warmup"),
        (lambda: LabelSmoothing(1.0), "smoothing"),
        (lambda: ConfidencePenalty(-0.1), "beta"),
        (lambda: Focal(-0.1), "gamma"),
        (lambda: BrierLogits(target=0.0), "target"),
        (lambda: BrierLogits(true_weight=-1.0), "true_weight"),
    ],
)
def test_options_out_of_range_are_refused_when_built(build, text):
    with pytest.raises(ConfigError, match=text):
        build()
