import pytest
import torch

from goodteacher.base.errors import ConfigError, ShapeError
from goodteacher.base.types import Batch, Output, Progress, Setting
from goodteacher.objectives import scores
from goodteacher.objectives.scores import Brier, brier, brier_logits, cross_entropy, focal
from goodteacher.objectives.table import build_objective
from goodteacher.objectives.terms import negative_entropy


def gradient(loss, logits, label, **options):
    z = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
    loss(z, torch.tensor([label]), **options).backward()
    return z.grad[0]


def test_brier_gradient_against_its_closed_form():
    z = [1.5, -0.3, 0.2, 2.0]
    p = torch.tensor(z, dtype=torch.float64).softmax(0)
    d = p - torch.tensor([0.0, 0, 1, 0])
    torch.testing.assert_close(gradient(brier, z, 2), 2 * p * (d - (p * d).sum()))
    torch.testing.assert_close(gradient(brier, z, 2, per_class="mean"), p * (d - (p * d).sum()) / 2)


def test_brier_gradient_at_the_start_of_a_hundred_classes():
    g = gradient(brier, [0.0] * 100, 7)
    others = torch.cat([g[:7], g[8:]])
    assert g[7].item() == pytest.approx(-0.0198, rel=1e-12)
    assert others.tolist() == pytest.approx([0.0002] * 99, rel=1e-12)


def test_brier_gradient_of_two_classes():
    z = [0.8, -0.4]
    p = torch.tensor(z, dtype=torch.float64).softmax(0)
    want = 4 * p[0] * p[1] * (p - torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(gradient(brier, z, 1), want)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_brier_starts_two_over_c_times_slower_than_cross_entropy(classes):
    z = [0.0] * classes
    ratio = gradient(brier, z, 0) / gradient(cross_entropy, z, 0)
    torch.testing.assert_close(ratio, torch.full((classes,), 2 / classes, dtype=torch.float64))
    ratio = gradient(brier, z, 0, per_class="mean") / gradient(cross_entropy, z, 0)
    torch.testing.assert_close(ratio, torch.full((classes,), 2 / classes**2, dtype=torch.float64))


def test_brier_does_not_see_an_example_that_is_surely_wrong():
    assert gradient(brier, [40.0, 0.0], 1).abs().max() < 1e-15
    assert gradient(cross_entropy, [40.0, 0.0], 1).abs().min() == pytest.approx(1)


def test_brier_bounds():
    z = torch.tensor([[50.0, -50.0]])
    assert brier(z, torch.tensor([0])).item() == 0 and brier(z, torch.tensor([1])).item() == 2


def test_cross_entropy_is_pytorchs_own_with_smoothing_over_all_classes():
    z, y = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 4, 0])
    for eps in (0.0, 0.1, 0.9):
        want = torch.nn.functional.cross_entropy(z, y, label_smoothing=eps)
        torch.testing.assert_close(cross_entropy(z, y, smoothing=eps), want)


def test_smoothing_gives_every_class_its_share_the_true_one_too():
    g = gradient(cross_entropy, [0.0] * 4, 1, smoothing=0.2)
    torch.testing.assert_close(g, 0.25 - torch.tensor([0.05, 0.85, 0.05, 0.05], dtype=torch.float64))


def test_brier_logits_is_least_squares_of_the_logits():
    assert gradient(brier_logits, [1.0, 0.0, 0.0], 0).tolist() == [0, 0, 0]
    g = gradient(brier_logits, [2.0, 1.0], 0, target=4.0, true_weight=3.0, per_class="sum")
    assert g.tolist() == [2 * 3 * (2 - 4), 2.0]
    z, y = torch.tensor([[2.0, 1.0]]), torch.tensor([0])
    assert brier_logits(z, y, per_class="sum").item() == 2 * brier_logits(z, y).item() == 2


def test_focal_without_focus_is_cross_entropy():
    z, y = torch.tensor([[1.0, 0.0, -2.0], [0.0, 3.0, 0.0]]), torch.tensor([2, 1])
    torch.testing.assert_close(focal(z, y, gamma=0.0), cross_entropy(z, y))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_gradient_is_finite_where_the_answer_is_sure(gamma):
    z = torch.tensor([[200.0, 0.0]], requires_grad=True)
    focal(z, torch.tensor([0]), gamma=gamma).backward()
    assert torch.isfinite(z.grad).all() and z.grad.abs().max() == 0


def test_expected_scores_are_least_at_the_truth_except_the_focal():
    truth = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    y = torch.arange(3)

    def minimiser(loss):
        z = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        solver = torch.optim.LBFGS([z], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

        def closure():
            solver.zero_grad()
            value = (truth * loss(z.expand(3, 3), y, reduction="none")).sum()
            value.backward()
            return value

        solver.step(closure)
        return z.detach().softmax(0)

    for loss in (cross_entropy, brier):
        torch.testing.assert_close(minimiser(loss), truth, atol=1e-4, rtol=0)
    assert minimiser(focal)[0] < 0.65


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda z, y: brier(z[0], y), ShapeError, r"logits: must have shape \(N, C\)"),
        (lambda z, y: focal(z, y[:1]), ShapeError, r"labels: must be an int64 tensor of shape \(2,\)"),
        (lambda z, y: cross_entropy(z, y + 2), ShapeError, r"labels: must lie in \[0, 2\]"),
        (lambda z, y: brier_logits(z / 0, y), ShapeError, "logits: must be finite"),
        (lambda z, y: brier(z, y, per_class="max"), ConfigError, "per_class: must be a known name, got 'max'"),
        (lambda z, y: brier_logits(z, y, per_class="max"), ConfigError, "per_class"),
        (lambda z, y: cross_entropy(z, y, smoothing=1.0), ConfigError, r"smoothing: must be a number in \[0, 1\)"),
        (lambda z, y: focal(z, y, gamma=-1.0), ConfigError, "gamma"),
        (lambda z, y: brier_logits(z, y, target=0.0), ConfigError, "target"),
        (lambda z, y: brier_logits(z, y, true_weight=0.0), ConfigError, "true_weight"),
    ],
)
def test_mistakes(call, kind, text):
    with pytest.raises(kind, match=text):
        call(torch.zeros(2, 3), torch.tensor([0, 1]))


Z = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


Y = torch.arange(8) % 5


BATCH = Batch(torch.zeros(8, 1), Y, torch.arange(8))


CE, SCORE = scores.cross_entropy(Z, Y), scores.brier(Z, Y)


SETTING = Setting(classes=5)


def terms(objective, step=0, epochs=10):
    found = objective(Output(Z), None, BATCH, Progress(step, steps_per_epoch=10, epochs=epochs))
    return {name: float(value) for name, value in found.items()}


def near(**values):
    return {name: pytest.approx(float(value), rel=1e-12, abs=1e-15) for name, value in values.items()}


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ("cross_entropy", {"cross_entropy": CE}),
        ({"label_smoothing": {"smoothing": 0.3}}, {"label_smoothing": scores.cross_entropy(Z, Y, smoothing=0.3)}),
        ({"confidence_penalty": {"beta": 0.2}}, {"cross_entropy": CE, "negative_entropy": 0.2 * negative_entropy(Z)}),
        ({"focal": {"gamma": 1.5}}, {"focal": scores.focal(Z, Y, gamma=1.5)}),
        ("brier_logits", {"brier_logits": scores.brier_logits(Z, Y)}),
        (
            {"brier_logits": {"target": 3.0, "true_weight": 2.0, "per_class": "sum"}},
            {"brier_logits": scores.brier_logits(Z, Y, target=3.0, true_weight=2.0, per_class="sum")},
        ),
    ],
)
def test_terms_are_the_weighted_scores(spec, want):
    objective = build_objective(spec, SETTING)
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
    for objective in (
        build_objective("cross_entropy", SETTING),
        Brier(warmup=0.0),
        Brier(warmup=0.0, per_class="mean"),
    ):
        total = sum(objective(Output(logits), None, BATCH, Progress(0, 10, 10)).values())
        sizes.append(float(torch.autograd.grad(total, logits)[0].norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=1e-5) and sizes[2] == pytest.approx(sizes[0], rel=1e-5)


def test_objectives_that_can_stall_say_what_to_do():
    assert "warmup" in Brier.advice and "per_class" in build_objective("brier_logits", SETTING).advice


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Brier(scale=0.0), r"scale: must be a number in \(0, inf\], got 0.0"),
        (lambda: Brier(warmup=1.1), r"warmup: must be a number in \[0, 1\], got 1.1"),
        (lambda: Brier(warmup=-0.1), "warmup"),
        (lambda: build_objective({"label_smoothing": {"smoothing": 1.0}}, SETTING), "smoothing"),
        (lambda: build_objective({"confidence_penalty": {"beta": -0.1}}, SETTING), "beta"),
        (lambda: build_objective({"focal": {"gamma": -0.1}}, SETTING), "gamma"),
        (lambda: build_objective({"brier_logits": {"target": 0.0}}, SETTING), "target"),
        (lambda: build_objective({"brier_logits": {"true_weight": -1.0}}, SETTING), "true_weight"),
    ],
)
def test_options_out_of_range_are_refused_when_built(build, text):
    with pytest.raises(ConfigError, match=text):
        build()
